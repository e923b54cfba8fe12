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
    /// A run folder that would be overwritten.
    #[error(
        "the folder `{}` is not empty; runs are never overwritten: choose another `--output` or remove it",
        .path.display()
    )]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that is not one of a run.
    #[error("`{}` is not a run folder: it has no `{missing}`", .path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// Name of the file that a run has.
        missing: String,
    },
    /// A `model.json` that cannot be understood.
    #[error("`{}` is not a model card", .path.display())]
    Card {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A `model.json` of another version.
    #[error(
        "`{}` has format {got}, this version of regraft reads format {expected}",
        .path.display()
    )]
    CardFormat {
        /// The file.
        path: PathBuf,
        /// The format that is understood.
        expected: u32,
        /// The format of the file.
        got: u32,
    },
    /// No weights were named, and the zoo knows none.
    #[error(
        "no weights are published for `{model}`; give a file with `--weights FILE`, or start afresh with `--weights none`"
    )]
    NoPublishedWeights {
        /// Name of the model.
        model: &'static str,
    },
    /// Classes are asked of weights that have no classifier.
    #[error(
        "the weights have no classifier (`{head}`) for `{model}`: train one first, or embed another layer"
    )]
    NoHead {
        /// Name of the model.
        model: &'static str,
        /// Name of the missing node.
        head: &'static str,
    },
    /// Published weights in a place that this version cannot reach.
    #[error("the weights `{tag}` are in a place that this version cannot download from")]
    UnknownSource {
        /// Their tag.
        tag: &'static str,
    },
    /// Downloaded weights that are not the published ones.
    #[error(
        "`{}` is not the published file of `{tag}`: its SHA-256 is {got}, expected {expected}...; remove it to download it again",
        .path.display()
    )]
    WrongDigest {
        /// Tag of the weights.
        tag: &'static str,
        /// The file.
        path: PathBuf,
        /// The published first digits.
        expected: String,
        /// The digest of the file.
        got: String,
    },
    /// The run was stopped before its first step.
    #[error(
        "stopped before training began; features that were computed until then are kept in the feature cache"
    )]
    Stopped,
    /// The loss is not a number any more.
    #[error(
        "the loss is {loss} in epoch {epoch}, step {step}: training has diverged; a learning rate below {lr} may help"
    )]
    LossNotFinite {
        /// The epoch, from 1.
        epoch: usize,
        /// The step in it, from 1.
        step: usize,
        /// The mean loss of the batch.
        loss: f64,
        /// The learning rate.
        lr: f64,
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
    /// A model that does not read images alone.
    #[error("a model must have one input, this one has {inputs}")]
    OneInput {
        /// Number of its inputs.
        inputs: usize,
    },
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
