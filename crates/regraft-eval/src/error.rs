//! What a caller can get wrong when it measures a classifier.

/// Why a row, a label or a set of classes was refused. A refused row changes no metric.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Metrics need at least one class.
    #[error("a classifier needs at least one class, got none")]
    NoClasses,

    /// The confusion matrix would have too many cells.
    #[error("metrics are kept for at most {max} classes, got {got}")]
    TooManyClasses {
        /// Number of classes given.
        got: usize,
        /// Largest number accepted.
        max: usize,
    },

    /// Two classes have one name, so results by name would be ambiguous.
    #[error("class `{name}` is listed twice, at index {first} and {second}")]
    DuplicateClass {
        /// The name.
        name: String,
        /// Index of its first use.
        first: usize,
        /// Index of its second use.
        second: usize,
    },

    /// A row has another length than there are classes.
    #[error("a row of scores has {got} values, expected {expected}, one for each class")]
    RowLength {
        /// Number of classes.
        expected: usize,
        /// Length of the row.
        got: usize,
    },

    /// A batch of rows does not match its labels.
    #[error(
        "a batch has {got} scores, expected {expected}: {labels} labels with {classes} classes each"
    )]
    BatchLength {
        /// `labels * classes`.
        expected: usize,
        /// Length of the flat batch.
        got: usize,
        /// Number of labels.
        labels: usize,
        /// Number of classes.
        classes: usize,
    },

    /// A label is no index of a class.
    #[error("label {label} is out of range, expected 0 to {}", classes - 1)]
    LabelOutOfRange {
        /// The label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },

    /// A score is NaN or infinite.
    #[error(
        "score {index} of a row is `{value}`, expected a finite number: \
         the model diverged or its weights are damaged"
    )]
    NotFinite {
        /// Position in the row.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },

    /// A row that should hold probabilities does not.
    #[error(
        "a row of probabilities has the lowest value {lowest} and the sum {sum}, \
         expected values from 0 to 1 with sum 1: are these logits?"
    )]
    NotProbabilities {
        /// The lowest value of the row.
        lowest: f32,
        /// The sum of the row.
        sum: f64,
    },

    /// Two accumulators measure different classes.
    #[error(
        "accumulators of different classes cannot be merged: \
         class {index} is `{left}` here and `{right}` there"
    )]
    ClassesDiffer {
        /// First index at which they differ.
        index: usize,
        /// Name in the accumulator merged into, empty when it has no such class.
        left: String,
        /// Name in the accumulator merged from, empty when it has no such class.
        right: String,
    },

    /// A confusion matrix that was read has rows of another length.
    #[error(
        "row {row} of a confusion matrix with {expected} rows has {got} values, expected {expected}"
    )]
    NotSquare {
        /// The row.
        row: usize,
        /// Number of rows.
        expected: usize,
        /// Length of the row.
        got: usize,
    },

    /// There is nothing to summarise.
    #[error("no sample was evaluated, so there is no accuracy to report")]
    Empty,
}
