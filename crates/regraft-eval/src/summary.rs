//! The results of an evaluation, with the field names of `regraft evaluate --output-format json`.

use serde::{Deserialize, Serialize};

use crate::calibration::Calibration;
use crate::confusion::ConfusionMatrix;
use crate::interval::{Interval, wilson_interval};

/// What a classifier scored on a set of labelled samples.
///
/// Macro averages and balanced accuracy are over the classes that could be measured, as
/// scikit-learn takes them when no labels are named: the former over classes that occur among
/// labels or predictions, the latter over classes that occur among labels. A class that is in
/// neither does not pull an average to zero. Micro-averaged F1 is [`accuracy`](Self::accuracy):
/// they are the same number when each sample has one label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationSummary {
    /// Fraction of samples whose best-scored class is their label.
    pub accuracy: f64,
    /// 95 % Wilson interval of the accuracy.
    pub accuracy_interval: Interval,
    /// Fraction of samples whose label is among the five best-scored classes, or among all of
    /// them when there are fewer.
    pub top5_accuracy: f64,
    /// Mean cross entropy per sample, in nats.
    pub loss: f64,
    /// Number of samples.
    pub count: u64,
    /// Unweighted mean of the precision of the classes.
    pub macro_precision: f64,
    /// Unweighted mean of the recall of the classes.
    pub macro_recall: f64,
    /// Unweighted mean of the F1 of the classes.
    pub macro_f1: f64,
    /// Precision of the classes weighted by their support.
    pub weighted_precision: f64,
    /// Recall of the classes weighted by their support.
    pub weighted_recall: f64,
    /// F1 of the classes weighted by their support.
    pub weighted_f1: f64,
    /// F1 over all decisions together.
    pub micro_f1: f64,
    /// Unweighted mean of the recall of the classes that have samples.
    pub balanced_accuracy: f64,
    /// Matthews correlation coefficient, from -1 to 1.
    pub matthews_correlation: f64,
    /// Whether confidence can be trusted.
    pub calibration: Calibration,
    /// Scores of each class, in the order of the model's outputs.
    pub per_class: Vec<ClassScores>,
    /// Counts by true class (row) and predicted class (column).
    pub confusion_matrix: ConfusionMatrix,
}

/// Scores of one class; 0 where the denominator is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Name of the class.
    pub label: String,
    /// Fraction of the samples predicted as this class that belong to it.
    pub precision: f64,
    /// Fraction of the samples of this class that were predicted as it.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Number of samples of this class.
    pub support: u64,
}

/// A mistake that was made, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfusedPair {
    /// The true class.
    pub label: String,
    /// The class that it was taken for.
    pub predicted: String,
    /// How often.
    pub count: u64,
    /// Fraction of the samples of `label`.
    pub rate: f64,
}

/// Sums over all samples that the confusion matrix does not hold.
pub(crate) struct Totals {
    pub(crate) count: u64,
    pub(crate) topk_correct: u64,
    pub(crate) loss_sum: f64,
}

impl ClassificationSummary {
    /// Derives all scores; `totals.count` is not zero.
    pub(crate) fn new(
        classes: &[String],
        confusion: &ConfusionMatrix,
        totals: &Totals,
        calibration: Calibration,
    ) -> Self {
        let supports = confusion.supports();
        let predictions = confusion.predictions();
        let per_class: Vec<ClassScores> = classes
            .iter()
            .enumerate()
            .map(|(class, label)| {
                let correct = confusion.count(class, class);
                ClassScores {
                    label: label.clone(),
                    precision: ratio(correct, predictions[class]),
                    recall: ratio(correct, supports[class]),
                    f1: ratio(2 * correct, supports[class] + predictions[class]),
                    support: supports[class],
                }
            })
            .collect();

        let occurs = |class: &usize| supports[*class] + predictions[*class] > 0;
        let occurring: Vec<&ClassScores> = (0..classes.len())
            .filter(occurs)
            .map(|class| &per_class[class])
            .collect();
        let labelled: Vec<&ClassScores> =
            per_class.iter().filter(|class| class.support > 0).collect();
        let accuracy = ratio(confusion.correct(), totals.count);
        Self {
            accuracy,
            accuracy_interval: wilson_interval(confusion.correct(), totals.count),
            top5_accuracy: ratio(totals.topk_correct, totals.count),
            loss: totals.loss_sum / totals.count as f64,
            count: totals.count,
            macro_precision: mean(&occurring, |class| class.precision),
            macro_recall: mean(&occurring, |class| class.recall),
            macro_f1: mean(&occurring, |class| class.f1),
            weighted_precision: weighted_mean(&labelled, |class| class.precision),
            weighted_recall: weighted_mean(&labelled, |class| class.recall),
            weighted_f1: weighted_mean(&labelled, |class| class.f1),
            micro_f1: accuracy,
            balanced_accuracy: mean(&labelled, |class| class.recall),
            matthews_correlation: confusion.matthews_correlation(),
            calibration,
            per_class,
            confusion_matrix: confusion.clone(),
        }
    }

    /// The `limit` most frequent mistakes, most frequent first, then in the order of the classes.
    pub fn most_confused(&self, limit: usize) -> Vec<ConfusedPair> {
        let mut mistakes: Vec<(usize, usize, u64)> = Vec::new();
        for (label, row) in self.confusion_matrix.rows().enumerate() {
            for (predicted, &count) in row.iter().enumerate() {
                if predicted != label && count > 0 {
                    mistakes.push((label, predicted, count));
                }
            }
        }
        mistakes.sort_by_key(|&(_, _, count)| std::cmp::Reverse(count));
        let name = |class: usize| {
            self.per_class
                .get(class)
                .map_or_else(|| class.to_string(), |scores| scores.label.clone())
        };
        mistakes
            .into_iter()
            .take(limit)
            .map(|(label, predicted, count)| ConfusedPair {
                label: name(label),
                predicted: name(predicted),
                count,
                rate: self
                    .per_class
                    .get(label)
                    .map_or(0.0, |scores| ratio(count, scores.support)),
            })
            .collect()
    }
}

/// A quotient that is 0 where it is undefined, scikit-learn's `zero_division=0`.
fn ratio(numerator: u64, denominator: u64) -> f64 {
    if denominator == 0 {
        0.0
    } else {
        numerator as f64 / denominator as f64
    }
}

fn mean(classes: &[&ClassScores], score: impl Fn(&ClassScores) -> f64) -> f64 {
    classes.iter().map(|class| score(class)).sum::<f64>() / classes.len() as f64
}

fn weighted_mean(classes: &[&ClassScores], score: impl Fn(&ClassScores) -> f64) -> f64 {
    let weights: u64 = classes.iter().map(|class| class.support).sum();
    let sum: f64 = classes
        .iter()
        .map(|class| score(class) * class.support as f64)
        .sum();
    sum / weights as f64
}
