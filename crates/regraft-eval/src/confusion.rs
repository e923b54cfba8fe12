//! The confusion matrix: how often each class was taken for each other.

use serde::{Deserialize, Serialize};

use crate::error::EvalError;

/// Counts of samples by true class (row) and predicted class (column).
///
/// Serialises as nested arrays, row by row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<u64>>", into = "Vec<Vec<u64>>")]
pub struct ConfusionMatrix {
    classes: usize,
    cells: Vec<u64>,
}

impl ConfusionMatrix {
    /// A matrix of zeros.
    pub(crate) fn new(classes: usize) -> Self {
        Self {
            classes,
            cells: vec![0; classes * classes],
        }
    }

    /// Number of classes, which is the number of rows and of columns.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many samples of class `label` were predicted as `predicted`; 0 outside the matrix.
    pub fn count(&self, label: usize, predicted: usize) -> u64 {
        if label < self.classes && predicted < self.classes {
            self.cells[label * self.classes + predicted]
        } else {
            0
        }
    }

    /// The rows, one for each true class.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u64]> {
        // A matrix is never built without classes, so the chunk size is not zero.
        self.cells.chunks_exact(self.classes.max(1))
    }

    /// Number of samples.
    pub fn total(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// Number of samples on the diagonal.
    pub fn correct(&self) -> u64 {
        (0..self.classes)
            .map(|class| self.count(class, class))
            .sum()
    }

    /// Samples of each true class (row sums).
    pub fn supports(&self) -> Vec<u64> {
        self.rows().map(|row| row.iter().sum()).collect()
    }

    /// Samples of each predicted class (column sums).
    pub fn predictions(&self) -> Vec<u64> {
        let mut sums = vec![0; self.classes];
        for row in self.rows() {
            for (sum, &count) in sums.iter_mut().zip(row) {
                *sum += count;
            }
        }
        sums
    }

    /// The multi-class Matthews correlation coefficient (Gorodkin's R_K), from -1 to 1.
    ///
    /// 0 when all labels or all predictions are of one class, as scikit-learn's.
    pub fn matthews_correlation(&self) -> f64 {
        let supports = self.supports();
        let predictions = self.predictions();
        let total = self.total() as f64;
        let dot = |a: &[u64], b: &[u64]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum()
        };
        let covariance = self.correct() as f64 * total - dot(&supports, &predictions);
        let label_variance = total * total - dot(&supports, &supports);
        let prediction_variance = total * total - dot(&predictions, &predictions);
        let scale = (label_variance * prediction_variance).sqrt();
        if scale == 0.0 {
            0.0
        } else {
            covariance / scale
        }
    }

    /// Counts one sample; both indices are below the number of classes.
    pub(crate) fn record(&mut self, label: usize, predicted: usize) {
        self.cells[label * self.classes + predicted] += 1;
    }

    /// Adds the counts of a matrix of the same size.
    pub(crate) fn add(&mut self, other: &Self) {
        for (cell, &count) in self.cells.iter_mut().zip(&other.cells) {
            *cell += count;
        }
    }
}

impl TryFrom<Vec<Vec<u64>>> for ConfusionMatrix {
    type Error = EvalError;

    fn try_from(rows: Vec<Vec<u64>>) -> Result<Self, EvalError> {
        let classes = rows.len();
        if classes == 0 {
            return Err(EvalError::NoClasses);
        }
        if let Some(row) = rows.iter().position(|row| row.len() != classes) {
            return Err(EvalError::NotSquare {
                row,
                expected: classes,
                got: rows[row].len(),
            });
        }
        Ok(Self {
            classes,
            cells: rows.concat(),
        })
    }
}

impl From<ConfusionMatrix> for Vec<Vec<u64>> {
    fn from(matrix: ConfusionMatrix) -> Self {
        matrix.rows().map(<[u64]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_follow_rows_and_columns() {
        let matrix = ConfusionMatrix::try_from(vec![vec![3, 1], vec![0, 2]]).unwrap();
        assert_eq!(matrix.supports(), [4, 2]);
        assert_eq!(matrix.predictions(), [3, 3]);
        assert_eq!((matrix.total(), matrix.correct()), (6, 5));
        assert_eq!((matrix.count(0, 1), matrix.count(2, 0)), (1, 0));
    }

    #[test]
    fn one_sided_predictions_correlate_with_nothing() {
        let matrix = ConfusionMatrix::try_from(vec![vec![3, 0], vec![2, 0]]).unwrap();
        assert!(matrix.matthews_correlation().abs() < 1e-15);
    }

    #[test]
    fn a_ragged_matrix_is_refused() {
        let ragged = ConfusionMatrix::try_from(vec![vec![1, 2], vec![3]]);
        assert_eq!(
            ragged,
            Err(EvalError::NotSquare {
                row: 1,
                expected: 2,
                got: 1
            })
        );
        assert_eq!(ConfusionMatrix::try_from(vec![]), Err(EvalError::NoClasses));
    }
}
