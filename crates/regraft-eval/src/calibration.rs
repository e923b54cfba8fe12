//! Calibration: whether a confidence of 80 % is right 80 % of the time.
//!
//! Expected calibration error as in Guo et al., "On Calibration of Modern Neural Networks"
//! (2017): equal-width bins over the confidence of the predicted class.

use serde::{Deserialize, Serialize};

/// Number of reliability bins, the usual 15 of the literature.
pub const CALIBRATION_BINS: usize = 15;

/// How well confidence predicts accuracy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Mean distance between confidence and accuracy over the bins, weighted by their counts.
    pub expected_calibration_error: f64,
    /// The reliability diagram, from low confidence to high; empty bins are kept.
    pub bins: Vec<ReliabilityBin>,
}

/// The samples whose confidence lies in `(low, high]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Exclusive lower edge.
    pub low: f64,
    /// Inclusive upper edge.
    pub high: f64,
    /// Number of samples.
    pub count: u64,
    /// Fraction of them that was predicted right, 0 when there are none.
    pub accuracy: f64,
    /// Their mean confidence, 0 when there are none.
    pub mean_confidence: f64,
}

/// Streaming sums of the reliability bins.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct CalibrationSums {
    bins: [BinSums; CALIBRATION_BINS],
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct BinSums {
    count: u64,
    correct: u64,
    confidence_sum: f64,
}

impl CalibrationSums {
    /// Counts one prediction made with `confidence` (0 to 1).
    pub(crate) fn record(&mut self, confidence: f64, correct: bool) {
        let upper_edge_inclusive = (confidence * CALIBRATION_BINS as f64).ceil() as usize;
        let bin = &mut self.bins[upper_edge_inclusive.clamp(1, CALIBRATION_BINS) - 1];
        bin.count += 1;
        bin.correct += u64::from(correct);
        bin.confidence_sum += confidence;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            bin.count += more.count;
            bin.correct += more.correct;
            bin.confidence_sum += more.confidence_sum;
        }
    }

    pub(crate) fn calibration(&self) -> Calibration {
        let width = 1.0 / CALIBRATION_BINS as f64;
        let total: u64 = self.bins.iter().map(|bin| bin.count).sum();
        let bins: Vec<ReliabilityBin> = self
            .bins
            .iter()
            .enumerate()
            .map(|(index, bin)| {
                let mean = |sum: f64| {
                    if bin.count == 0 {
                        0.0
                    } else {
                        sum / bin.count as f64
                    }
                };
                ReliabilityBin {
                    low: index as f64 * width,
                    high: (index + 1) as f64 * width,
                    count: bin.count,
                    accuracy: mean(bin.correct as f64),
                    mean_confidence: mean(bin.confidence_sum),
                }
            })
            .collect();
        let expected_calibration_error = bins
            .iter()
            .filter(|bin| bin.count > 0)
            .map(|bin| (bin.accuracy - bin.mean_confidence).abs() * bin.count as f64 / total as f64)
            .sum();
        Calibration {
            expected_calibration_error,
            bins,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainty_falls_into_the_last_bin_and_edges_into_the_lower_one() {
        let mut sums = CalibrationSums::default();
        sums.record(1.0, true);
        sums.record(0.2, false);
        let calibration = sums.calibration();
        assert_eq!(calibration.bins[CALIBRATION_BINS - 1].count, 1);
        assert_eq!(calibration.bins[2].count, 1);
        assert!((calibration.expected_calibration_error - 0.1).abs() < 1e-12);
    }

    #[test]
    fn no_sample_has_no_error() {
        let calibration = CalibrationSums::default().calibration();
        assert!(calibration.expected_calibration_error.abs() < 1e-15);
        assert_eq!(calibration.bins.len(), CALIBRATION_BINS);
    }
}
