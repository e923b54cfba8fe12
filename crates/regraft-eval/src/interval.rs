//! The Wilson score interval: how far an accuracy measured on few samples can be trusted.
//!
//! Wilson, "Probable inference, the law of succession, and statistical inference" (1927). Unlike
//! the normal approximation it stays inside 0 to 1 and has a width at 0 % and 100 %.

use serde::{Deserialize, Serialize};

/// The 0.975 quantile of the normal distribution, for a two-sided 95 % interval.
const Z_95: f64 = 1.959_963_984_540_054;

/// A range that covers the true value in 95 of 100 repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// The 95 % Wilson interval of a proportion of `successes` among `count`.
///
/// Nothing is known without a sample, so a `count` of 0 gives the whole range from 0 to 1.
pub fn wilson_interval(successes: u64, count: u64) -> Interval {
    if count == 0 {
        return Interval {
            low: 0.0,
            high: 1.0,
        };
    }
    let n = count as f64;
    let proportion = successes.min(count) as f64 / n;
    let z_squared_over_n = Z_95 * Z_95 / n;
    let center = proportion + z_squared_over_n / 2.0;
    let margin = Z_95 * (proportion * (1.0 - proportion) / n + z_squared_over_n / (4.0 * n)).sqrt();
    let scale = 1.0 + z_squared_over_n;
    // Rounding would put the bounds of 0 % and 100 % a few ulps outside the measured proportion.
    Interval {
        low: ((center - margin) / scale).clamp(0.0, proportion),
        high: ((center + margin) / scale).clamp(proportion, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_has_a_width_even_when_all_or_none_are_right() {
        let none = wilson_interval(0, 10);
        assert!(none.low.abs() < 1e-15 && (none.high - 0.277_532_8).abs() < 1e-6);
        let all = wilson_interval(10, 10);
        assert!((all.high - 1.0).abs() < 1e-15 && (all.low - 0.722_467_2).abs() < 1e-6);
    }

    #[test]
    fn interval_of_nothing_is_everything() {
        let nothing = wilson_interval(0, 0);
        assert!(nothing.low.abs() < 1e-15 && (nothing.high - 1.0).abs() < 1e-15);
    }
}
