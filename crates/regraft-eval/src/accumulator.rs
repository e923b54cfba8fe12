//! The streaming accumulator: sums and counts, never the rows themselves.

use std::collections::HashMap;

use crate::calibration::CalibrationSums;
use crate::confusion::ConfusionMatrix;
use crate::error::EvalError;
use crate::scores::{LogSoftmax, argmax, check_finite, rank};
use crate::summary::{ClassificationSummary, Totals};

/// The most classes that metrics are kept for: the confusion matrix is dense, 800 MB at this size.
pub const MAX_CLASSES: usize = 10_000;

/// Top-5 accuracy, or top-k of all classes when there are fewer.
const TOP_K: usize = 5;

/// How far the sum of a row of `f32` probabilities may be from 1.
const PROBABILITY_SUM_TOLERANCE: f64 = 1e-3;

/// Metrics of a classifier, fed one row of scores and one label at a time.
///
/// Memory depends on the number of classes alone. A row that is refused changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassificationMetrics {
    classes: Vec<String>,
    confusion: ConfusionMatrix,
    calibration: CalibrationSums,
    loss_sum: f64,
    topk_correct: u64,
    count: u64,
}

impl ClassificationMetrics {
    /// Metrics over the classes with these names, in the order of the scores in a row.
    ///
    /// # Errors
    /// [`EvalError::NoClasses`], [`EvalError::TooManyClasses`] above [`MAX_CLASSES`], and
    /// [`EvalError::DuplicateClass`] when a name occurs twice.
    pub fn new<I>(classes: I) -> Result<Self, EvalError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        if classes.is_empty() {
            return Err(EvalError::NoClasses);
        }
        if classes.len() > MAX_CLASSES {
            return Err(EvalError::TooManyClasses {
                got: classes.len(),
                max: MAX_CLASSES,
            });
        }
        let mut seen = HashMap::with_capacity(classes.len());
        for (second, name) in classes.iter().enumerate() {
            if let Some(first) = seen.insert(name.as_str(), second) {
                return Err(EvalError::DuplicateClass {
                    name: name.clone(),
                    first,
                    second,
                });
            }
        }
        Ok(Self {
            confusion: ConfusionMatrix::new(classes.len()),
            calibration: CalibrationSums::default(),
            loss_sum: 0.0,
            topk_correct: 0,
            count: 0,
            classes,
        })
    }

    /// Names of the classes, in the order of the scores in a row.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Number of samples taken so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes the logits of one sample, shape `[classes]`, and its label.
    ///
    /// # Errors
    /// [`EvalError::RowLength`], [`EvalError::LabelOutOfRange`] and [`EvalError::NotFinite`].
    pub fn update(&mut self, logits: &[f32], label: usize) -> Result<(), EvalError> {
        self.check(logits, label)?;
        self.record_logits(logits, label);
        Ok(())
    }

    /// Takes the logits of a batch, shape `[labels, classes]` in row-major order, and its labels.
    ///
    /// The whole batch is checked before any of it is counted.
    ///
    /// # Errors
    /// [`EvalError::BatchLength`] and those of [`update`](Self::update).
    pub fn update_batch(&mut self, logits: &[f32], labels: &[usize]) -> Result<(), EvalError> {
        let classes = self.classes.len();
        if logits.len() != labels.len() * classes {
            return Err(EvalError::BatchLength {
                expected: labels.len() * classes,
                got: logits.len(),
                labels: labels.len(),
                classes,
            });
        }
        for (row, &label) in logits.chunks_exact(classes).zip(labels) {
            self.check(row, label)?;
        }
        for (row, &label) in logits.chunks_exact(classes).zip(labels) {
            self.record_logits(row, label);
        }
        Ok(())
    }

    /// Takes the probabilities of one sample, shape `[classes]`, and its label.
    ///
    /// Give logits to [`update`](Self::update) where there are any: the loss of a probability
    /// that was rounded to 0 is lost. It is counted as `f32::EPSILON`, as scikit-learn's
    /// `log_loss` does.
    ///
    /// # Errors
    /// Those of [`update`](Self::update), and [`EvalError::NotProbabilities`] for a negative
    /// value or a sum that is not 1.
    pub fn update_probabilities(
        &mut self,
        probabilities: &[f32],
        label: usize,
    ) -> Result<(), EvalError> {
        self.check(probabilities, label)?;
        let lowest = probabilities.iter().copied().fold(f32::INFINITY, f32::min);
        let sum: f64 = probabilities.iter().copied().map(f64::from).sum();
        if lowest < 0.0 || (sum - 1.0).abs() > PROBABILITY_SUM_TOLERANCE {
            return Err(EvalError::NotProbabilities { lowest, sum });
        }
        let predicted = argmax(probabilities);
        let confidence = f64::from(probabilities[predicted]).min(1.0);
        let loss = -f64::from(probabilities[label].clamp(f32::EPSILON, 1.0)).ln();
        self.record(probabilities, label, loss, confidence);
        Ok(())
    }

    /// Adds the samples of another accumulator over the same classes.
    ///
    /// Counts are exact in any order; the loss is a sum of `f64`, so merge in a fixed order where
    /// its last bits matter.
    ///
    /// # Errors
    /// [`EvalError::ClassesDiffer`].
    pub fn merge(&mut self, other: &Self) -> Result<(), EvalError> {
        if self.classes != other.classes {
            let same = self.classes.iter().zip(&other.classes);
            let index = same.take_while(|(left, right)| left == right).count();
            let name = |classes: &[String]| classes.get(index).cloned().unwrap_or_default();
            return Err(EvalError::ClassesDiffer {
                index,
                left: name(&self.classes),
                right: name(&other.classes),
            });
        }
        self.confusion.add(&other.confusion);
        self.calibration.add(&other.calibration);
        self.loss_sum += other.loss_sum;
        self.topk_correct += other.topk_correct;
        self.count += other.count;
        Ok(())
    }

    /// The results over all samples taken so far.
    ///
    /// # Errors
    /// [`EvalError::Empty`] before the first sample.
    pub fn summary(&self) -> Result<ClassificationSummary, EvalError> {
        if self.count == 0 {
            return Err(EvalError::Empty);
        }
        Ok(ClassificationSummary::new(
            &self.classes,
            &self.confusion,
            &Totals {
                count: self.count,
                topk_correct: self.topk_correct,
                loss_sum: self.loss_sum,
            },
            self.calibration.calibration(),
        ))
    }

    fn check(&self, row: &[f32], label: usize) -> Result<(), EvalError> {
        let classes = self.classes.len();
        if row.len() != classes {
            return Err(EvalError::RowLength {
                expected: classes,
                got: row.len(),
            });
        }
        if label >= classes {
            return Err(EvalError::LabelOutOfRange { label, classes });
        }
        check_finite(row)
    }

    fn record_logits(&mut self, logits: &[f32], label: usize) {
        let normalised = LogSoftmax::new(logits);
        let loss = -normalised.log_probability(logits[label]);
        let confidence = normalised.log_probability(logits[argmax(logits)]).exp();
        self.record(logits, label, loss, confidence);
    }

    /// Counts a row that was checked.
    fn record(&mut self, row: &[f32], label: usize, loss: f64, confidence: f64) {
        let predicted = argmax(row);
        self.confusion.record(label, predicted);
        self.calibration.record(confidence, predicted == label);
        self.topk_correct += u64::from(rank(row, label) < TOP_K);
        self.loss_sum += loss;
        self.count += 1;
    }
}
