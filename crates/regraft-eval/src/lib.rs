//! This crate measures classifiers: [`ClassificationMetrics`] takes one row of logits and one
//! label at a time and gives a [`ClassificationSummary`] with accuracy, F1, calibration and the
//! confusion matrix.
//!
//! It never keeps the rows, so memory does not grow with the data set, and accumulators of
//! several threads [merge](ClassificationMetrics::merge). It does not know models or data sets,
//! and it does not train. Definitions are scikit-learn's with `zero_division=0`.
//!
//! ```
//! use regraft_eval::ClassificationMetrics;
//!
//! let mut metrics = ClassificationMetrics::new(["ants", "bees"])?;
//! metrics.update(&[2.0, -1.0], 0)?;
//! metrics.update(&[0.3, 0.1], 1)?;
//! let summary = metrics.summary()?;
//! assert_eq!(summary.accuracy, 0.5);
//! assert_eq!(summary.most_confused(1)[0].predicted, "ants");
//! println!("{}", summary.report());
//! # Ok::<(), regraft_eval::EvalError>(())
//! ```
#![warn(missing_docs)]

mod accumulator;
mod calibration;
mod confusion;
mod error;
mod interval;
mod report;
mod scores;
mod summary;

pub use accumulator::{ClassificationMetrics, MAX_CLASSES};
pub use calibration::{CALIBRATION_BINS, Calibration, ReliabilityBin};
pub use confusion::ConfusionMatrix;
pub use error::EvalError;
pub use interval::{Interval, wilson_interval};
pub use scores::{Scored, softmax, topk};
pub use summary::{ClassScores, ClassificationSummary, ConfusedPair};
