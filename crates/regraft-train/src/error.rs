//! What can go wrong while training.

use std::ops::Range;
use std::path::PathBuf;

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
    /// A configuration file that cannot be understood.
    #[error("`{}` is not a valid configuration", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// Everything is frozen.
    #[error(
        "nothing is left to train: `--freeze {freeze}` covers everything that the strategy trains"
    )]
    NothingToTrain {
        /// The user's pattern.
        freeze: String,
    },
    /// The model cannot be built.
    #[error(transparent)]
    Model(#[from] regraft_models::ModelError),
    /// The graph cannot be changed as asked.
    #[error(transparent)]
    Graph(#[from] regraft_graph::GraphError),
    /// The data set cannot be used.
    #[error(transparent)]
    Data(#[from] regraft_data::DataError),
    /// The weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] regraft_weights::WeightsError),
    /// The engine cannot run the model.
    #[error(transparent)]
    Engine(#[from] regraft_engine::EngineError),
    /// A file or folder that cannot be read or written.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// What was tried, for example `create the folder`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Features that are not one row a key.
    #[error("rows of {expected} values are to be stored, got {got}")]
    RowLength {
        /// Values of all rows.
        expected: usize,
        /// Values that were given.
        got: usize,
    },
    /// Features that are stored without room having been reserved for them, or after a failure to store some.
    #[error("the feature cache has no room reserved")]
    CacheNotReserved,
    /// Features that do not fit the feature cache, even if everything else is evicted.
    #[error(
        "the features need {needed} bytes, the feature cache may grow by {room} (limit {limit}); \
         a smaller `--image-size` or a later cut needs less"
    )]
    CacheTooSmall {
        /// Bytes of the rows to be stored.
        needed: u64,
        /// Bytes that are free or not in use.
        room: u64,
        /// Bytes that the cache may hold.
        limit: u64,
    },
}

impl TrainError {
    /// Wraps an I/O error with what was tried on which path.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
