//! What can go wrong while training.

use std::ops::Range;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Parameter groups that do not partition a prefix of the block.
    #[error("a parameter group covers {range:?}, which is not within {after}..{len}")]
    ParamGroups {
        /// The group's range.
        range: Range<usize>,
        /// Where the group before it ends.
        after: usize,
        /// Elements of the block.
        len: usize,
    },
    /// A block of values or gradients that is not the optimizer's.
    #[error("the optimizer updates {expected} values, got {got}")]
    BlockLength {
        /// Elements that the optimizer was made for.
        expected: usize,
        /// Elements of the slice.
        got: usize,
    },
    /// Logits that are not one row of all classes for each label.
    #[error("{labels} labels of {num_classes} classes need {} logits, got {got}", labels * num_classes)]
    LogitCount {
        /// Number of labels.
        labels: usize,
        /// Number of classes.
        num_classes: usize,
        /// Number of logits.
        got: usize,
    },
    /// A label beyond the classes.
    #[error("label {label} is not one of {num_classes} classes")]
    LabelOutOfRange {
        /// The label.
        label: usize,
        /// Number of classes.
        num_classes: usize,
    },
    /// A setting with a value that makes no sense.
    #[error("`{setting}` is `{value}`, expected {expected}")]
    InvalidSetting {
        /// Name of the setting, as in `config.toml`.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        expected: String,
    },
}
