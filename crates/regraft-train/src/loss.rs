//! Cross entropy with label smoothing, and its gradient (`torch.nn.functional.cross_entropy`).

use crate::error::TrainError;

/// Mean cross entropy of logits against class labels.
///
/// With smoothing `s` over `k` classes the target is `1 - s + s / k` for the label and `s / k` for every other class
/// (Szegedy et al. 2016).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossEntropy {
    num_classes: usize,
    label_smoothing: f64,
}

/// What a batch contributes to the loss and accuracy of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BatchLoss {
    /// Sum over the samples. Not finite as soon as one logit is not.
    pub loss_sum: f64,
    /// Samples whose largest logit is the label's; the first of equals counts as the largest.
    pub correct: usize,
    /// Number of samples.
    pub count: usize,
}

impl std::ops::AddAssign for BatchLoss {
    fn add_assign(&mut self, other: Self) {
        self.loss_sum += other.loss_sum;
        self.correct += other.correct;
        self.count += other.count;
    }
}

impl BatchLoss {
    /// Loss per sample.
    pub fn mean_loss(&self) -> f64 {
        self.loss_sum / self.count.max(1) as f64
    }

    /// Share of the samples that are classified correctly.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.count.max(1) as f64
    }
}

impl CrossEntropy {
    /// A loss over `num_classes` classes.
    ///
    /// # Errors
    /// [`TrainError::InvalidSetting`] if `label_smoothing` is not in `[0, 1]` or there are no classes.
    pub fn new(num_classes: usize, label_smoothing: f64) -> Result<Self, TrainError> {
        let invalid = |setting, value: String, expected: &str| TrainError::InvalidSetting {
            setting,
            value,
            expected: expected.to_owned(),
        };
        if num_classes == 0 {
            return Err(invalid("num_classes", "0".to_owned(), "at least 1"));
        }
        if !(0.0..=1.0).contains(&label_smoothing) {
            let value = label_smoothing.to_string();
            return Err(invalid("label_smoothing", value, "a number from 0 to 1"));
        }
        Ok(Self {
            num_classes,
            label_smoothing,
        })
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// The loss of a batch. `logits` is `[labels.len(), num_classes]`.
    ///
    /// # Errors
    /// [`TrainError::LogitCount`] and [`TrainError::LabelOutOfRange`].
    pub fn loss(&self, logits: &[f32], labels: &[usize]) -> Result<BatchLoss, TrainError> {
        self.rows(logits, labels)?
            .try_fold(BatchLoss::default(), |mut sum, (row, label)| {
                sum += self.row_loss(row, label, log_sum_exp(row))?;
                Ok(sum)
            })
    }

    /// The loss of a batch, and the gradient of its **mean** with respect to the logits written into `gradient`.
    ///
    /// # Shapes
    /// `logits` and `gradient` are `[labels.len(), num_classes]`.
    ///
    /// # Errors
    /// [`TrainError::LogitCount`] and [`TrainError::LabelOutOfRange`].
    pub fn loss_and_gradient(
        &self,
        logits: &[f32],
        labels: &[usize],
        gradient: &mut [f32],
    ) -> Result<BatchLoss, TrainError> {
        if gradient.len() != logits.len() {
            return Err(self.wrong_count(labels, gradient.len()));
        }
        let scale = 1.0 / labels.len().max(1) as f64;
        let others = self.label_smoothing / self.num_classes as f64;
        let mut sum = BatchLoss::default();
        let gradient_rows = gradient.chunks_mut(self.num_classes);
        for ((row, label), gradient) in self.rows(logits, labels)?.zip(gradient_rows) {
            let log_sum = log_sum_exp(row);
            sum += self.row_loss(row, label, log_sum)?;
            for (class, (g, logit)) in gradient.iter_mut().zip(row).enumerate() {
                let own = if class == label {
                    1.0 - self.label_smoothing
                } else {
                    0.0
                };
                let probability = (f64::from(*logit) - log_sum).exp();
                *g = ((probability - own - others) * scale) as f32;
            }
        }
        Ok(sum)
    }

    fn rows<'a>(
        &self,
        logits: &'a [f32],
        labels: &'a [usize],
    ) -> Result<impl Iterator<Item = (&'a [f32], usize)> + use<'a>, TrainError> {
        if logits.len() == labels.len() * self.num_classes {
            let rows = logits.chunks(self.num_classes);
            Ok(rows.zip(labels.iter().copied()))
        } else {
            Err(self.wrong_count(labels, logits.len()))
        }
    }

    fn row_loss(&self, row: &[f32], label: usize, log_sum: f64) -> Result<BatchLoss, TrainError> {
        let Some(own) = row.get(label) else {
            return Err(TrainError::LabelOutOfRange {
                label,
                num_classes: self.num_classes,
            });
        };
        let mut loss = (1.0 - self.label_smoothing) * (log_sum - f64::from(*own));
        if self.label_smoothing > 0.0 {
            let mean = row.iter().copied().map(f64::from).sum::<f64>() / self.num_classes as f64;
            loss += self.label_smoothing * (log_sum - mean);
        }
        let is_largest = row[..label].iter().all(|other| other < own)
            && row[label + 1..].iter().all(|other| other <= own);
        Ok(BatchLoss {
            loss_sum: loss,
            correct: usize::from(is_largest),
            count: 1,
        })
    }

    fn wrong_count(&self, labels: &[usize], got: usize) -> TrainError {
        TrainError::LogitCount {
            labels: labels.len(),
            num_classes: self.num_classes,
            got,
        }
    }
}

/// `ln(sum(exp(row)))` without overflow. NaN if any element is; not finite if any is infinite.
fn log_sum_exp(row: &[f32]) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = row.iter().map(|x| (f64::from(*x) - largest).exp()).sum();
    largest + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        num_classes: usize,
        label_smoothing: f64,
        logits: Vec<f32>,
        labels: Vec<usize>,
        loss: f64,
        gradient: Vec<f32>,
        correct: usize,
    }

    fn close(got: f64, expected: f64) -> bool {
        // PyTorch computes in single precision.
        (got - expected).abs() <= 1e-7 + 2e-6 * expected.abs()
    }

    #[test]
    fn loss_and_gradient_are_those_of_pytorch() {
        let text = include_str!("../tests/fixtures/cross_entropy.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        for case in cases {
            let loss = CrossEntropy::new(case.num_classes, case.label_smoothing).unwrap();
            let mut gradient = vec![f32::NAN; case.logits.len()];
            let got = loss
                .loss_and_gradient(&case.logits, &case.labels, &mut gradient)
                .unwrap();
            assert!(
                close(got.mean_loss(), case.loss),
                "{} is not {}",
                got.mean_loss(),
                case.loss
            );
            assert_eq!(got.correct, case.correct);
            assert_eq!(got.count, case.labels.len());
            for (got, expected) in gradient.iter().zip(&case.gradient) {
                assert!(
                    close((*got).into(), (*expected).into()),
                    "{got} is not {expected}"
                );
            }
            assert_eq!(loss.loss(&case.logits, &case.labels).unwrap(), got);
        }
    }

    #[test]
    fn one_bad_logit_makes_the_loss_not_finite() {
        let loss = CrossEntropy::new(2, 0.0).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for logits in [[bad, 0.0, 1.0, 1.0], [0.0, bad, 1.0, 1.0]] {
                // An infinitely unlikely wrong class is a finite loss, as in PyTorch.
                let finite = bad == f32::NEG_INFINITY && logits[0] == 0.0;
                let got = loss.loss(&logits, &[0, 1]).unwrap();
                assert_eq!(got.loss_sum.is_finite(), finite, "{logits:?}");
            }
        }
    }

    #[test]
    fn the_first_of_equal_logits_is_the_prediction() {
        let loss = CrossEntropy::new(3, 0.0).unwrap();
        assert_eq!(loss.loss(&[1.0, 1.0, 0.0], &[0]).unwrap().correct, 1);
        assert_eq!(loss.loss(&[1.0, 1.0, 0.0], &[1]).unwrap().correct, 0);
        assert_eq!(loss.loss(&[f32::NAN; 3], &[0]).unwrap().correct, 0);
    }

    #[test]
    fn labels_and_shapes_are_checked() {
        let loss = CrossEntropy::new(2, 0.1).unwrap();
        assert!(matches!(
            loss.loss(&[0.0; 2], &[2]),
            Err(TrainError::LabelOutOfRange {
                label: 2,
                num_classes: 2
            })
        ));
        assert!(matches!(
            loss.loss(&[0.0; 3], &[0]),
            Err(TrainError::LogitCount { got: 3, .. })
        ));
        assert!(matches!(
            loss.loss_and_gradient(&[0.0; 2], &[0], &mut [0.0; 4]),
            Err(TrainError::LogitCount { got: 4, .. })
        ));
        assert!(matches!(
            CrossEntropy::new(2, 1.5),
            Err(TrainError::InvalidSetting {
                setting: "label_smoothing",
                ..
            })
        ));
    }
}
