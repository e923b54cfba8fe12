//! One row of scores: softmax, the best `k` classes, cross entropy, the rank of a label.
//!
//! Ties go to the lower class index everywhere, as `numpy.argmax` decides them, so that the
//! prediction, top-k accuracy and [`topk`] never contradict each other.

use std::cmp::Ordering;

use crate::error::EvalError;

/// A class and its score, as [`topk`] ranks them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Index of the class.
    pub class: usize,
    /// The score as it stood in the row.
    pub score: f32,
}

/// Turns a row of logits into probabilities that sum to 1.
///
/// Computed in `f64` after subtracting the maximum, so no finite row overflows.
///
/// # Errors
/// [`EvalError::NoClasses`] for an empty row, [`EvalError::NotFinite`] for NaN or infinity.
pub fn softmax(logits: &[f32]) -> Result<Vec<f32>, EvalError> {
    check_finite(logits)?;
    let normalised = LogSoftmax::new(logits);
    Ok(logits
        .iter()
        .map(|&logit| normalised.log_probability(logit).exp() as f32)
        .collect())
}

/// The `k` highest scores of a row, best first; all of them when `k` exceeds the row.
///
/// # Errors
/// [`EvalError::NoClasses`] for an empty row, [`EvalError::NotFinite`] for NaN or infinity.
pub fn topk(row: &[f32], k: usize) -> Result<Vec<Scored>, EvalError> {
    check_finite(row)?;
    let mut ranked: Vec<Scored> = row
        .iter()
        .enumerate()
        .map(|(class, &score)| Scored { class, score })
        .collect();
    let best_first = |a: &Scored, b: &Scored| {
        b.score
            .partial_cmp(&a.score)
            .unwrap_or(Ordering::Equal)
            .then(a.class.cmp(&b.class))
    };
    if k < ranked.len() && k > 0 {
        ranked.select_nth_unstable_by(k - 1, best_first);
    }
    ranked.truncate(k);
    ranked.sort_unstable_by(best_first);
    Ok(ranked)
}

/// Refuses an empty row and a row with NaN or an infinity.
pub(crate) fn check_finite(row: &[f32]) -> Result<(), EvalError> {
    if row.is_empty() {
        return Err(EvalError::NoClasses);
    }
    match row.iter().position(|score| !score.is_finite()) {
        Some(index) => Err(EvalError::NotFinite {
            index,
            value: row[index],
        }),
        None => Ok(()),
    }
}

/// The normalisation of one finite, non-empty row of logits.
///
/// The maximum and the logarithm of the sum stay apart: added up, the latter would drown in a
/// maximum above 1e16.
pub(crate) struct LogSoftmax {
    max: f64,
    log_sum: f64,
}

impl LogSoftmax {
    pub(crate) fn new(logits: &[f32]) -> Self {
        let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits
            .iter()
            .map(|&logit| (f64::from(logit) - max).exp())
            .sum();
        Self {
            max,
            log_sum: sum.ln(),
        }
    }

    /// Natural logarithm of the probability of a logit of the row, at most 0.
    pub(crate) fn log_probability(&self, logit: f32) -> f64 {
        f64::from(logit) - self.max - self.log_sum
    }
}

/// Index of the highest score of a finite row.
pub(crate) fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, &score) in row.iter().enumerate() {
        if score > row[best] {
            best = class;
        }
    }
    best
}

/// How many classes of a finite row rank before `class`.
pub(crate) fn rank(row: &[f32], class: usize) -> usize {
    row.iter()
        .enumerate()
        .filter(|&(other, score)| match score.partial_cmp(&row[class]) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => other < class,
            _ => false,
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(ranked: &[Scored]) -> Vec<usize> {
        ranked.iter().map(|scored| scored.class).collect()
    }

    #[test]
    fn softmax_survives_huge_logits() {
        assert_eq!(softmax(&[3e38, -3e38]).unwrap(), [1.0, 0.0]);
        assert_eq!(softmax(&[-3e38, -3e38]).unwrap(), [0.5, 0.5]);
        assert_eq!(softmax(&[7.0]).unwrap(), [1.0]);
    }

    #[test]
    fn topk_ranks_ties_by_index() {
        let row = [0.5, 2.0, 0.5, 2.0, -1.0];
        assert_eq!(classes(&topk(&row, 3).unwrap()), [1, 3, 0]);
        assert_eq!(classes(&topk(&row, 99).unwrap()), [1, 3, 0, 2, 4]);
        assert!(topk(&row, 0).unwrap().is_empty());
    }

    #[test]
    fn rank_counts_zero_and_negative_zero_as_a_tie() {
        let row = [0.0, -0.0, 1.0];
        assert_eq!(argmax(&row[..2]), 0);
        assert_eq!(rank(&row, 0), 1);
        assert_eq!(rank(&row, 1), 2);
    }

    #[test]
    fn scores_that_are_no_numbers_are_refused() {
        assert_eq!(softmax(&[]), Err(EvalError::NoClasses));
        assert_eq!(
            topk(&[0.0, f32::INFINITY], 1),
            Err(EvalError::NotFinite {
                index: 1,
                value: f32::INFINITY
            })
        );
        assert!(matches!(
            softmax(&[f32::NAN]),
            Err(EvalError::NotFinite { index: 0, .. })
        ));
    }
}
