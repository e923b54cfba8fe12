//! The settings of a training run: what the user wrote, and what that comes to.
//!
//! A [`TrainConfig`] is a `config.toml` or the flags of `regraft train`: everything may be left out. [`TrainConfig::check`]
//! fills in defaults and refuses what makes no sense; only the [`TrainSettings`] that it gives can be run. They are
//! written into the run folder, and that file is a valid `TrainConfig` again.

use crate::error::TrainError;
use crate::optimizer::{AdamConfig, SgdConfig, UpdateRule};
use crate::recipe::Recipe;
use crate::strategy::Strategy;
use regraft_data::Validation;
use regraft_graph::NamePattern;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What the user wrote. `None` means the default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Folder of the photos.
    pub data: Option<PathBuf>,
    /// Name of the model.
    pub model: Option<String>,
    /// Where its weights come from: a file, `hub:ID`, or `none` for fresh ones; the model's published weights if left out.
    pub weights: Option<String>,
    /// Which part is trained.
    pub strategy: Option<Strategy>,
    /// Parameters to freeze besides, as a name pattern.
    pub freeze: Option<String>,
    /// Parameters to train besides, as a name pattern; applied after `freeze`.
    pub unfreeze: Option<String>,
    /// Whether the batch norms of the trained part keep their pre-trained statistics.
    pub batch_norm: Option<BatchNormMode>,
    /// Passes over the training images.
    pub epochs: Option<usize>,
    /// Images per step.
    pub batch_size: Option<usize>,
    /// Update rule.
    pub optimizer: Option<OptimizerName>,
    /// Learning rate.
    pub lr: Option<f64>,
    /// Learning rate of parameters that start afresh, such as a new head.
    pub head_lr: Option<f64>,
    /// Weight decay, of weights only: biases and normalisations have none.
    pub weight_decay: Option<f64>,
    /// Momentum of SGD.
    pub momentum: Option<f64>,
    /// Label smoothing.
    pub label_smoothing: Option<f64>,
    /// Where validation images come from: a folder, or a share of the training images.
    pub val: Option<FolderOrFraction>,
    /// Height and width that images are cropped to, in pixels; the model's if left out.
    pub image_size: Option<usize>,
    /// Whether training images are cropped and mirrored at random. Frozen features cannot be cached then.
    pub augment: Option<bool>,
    /// Whether images that cannot be read are left out instead of stopping the run.
    pub skip_bad_images: Option<bool>,
    /// Decides the new head, the order of images, augmentation and an automatic split.
    pub seed: Option<u64>,
    /// Threads to compute with; one a core if left out.
    pub threads: Option<usize>,
    /// Number format of the computation.
    pub precision: Option<PrecisionName>,
    /// Whether features of the frozen part are kept on disk.
    pub cache: Option<bool>,
    /// The run folder; a new one below `runs` if left out.
    pub output: Option<PathBuf>,
}

/// Checked settings, with every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainSettings {
    /// See [`TrainConfig::data`].
    pub data: PathBuf,
    /// See [`TrainConfig::model`].
    pub model: String,
    /// See [`TrainConfig::weights`]; `None` are the model's published weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// See [`TrainConfig::strategy`].
    pub strategy: Strategy,
    /// See [`TrainConfig::freeze`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<String>,
    /// See [`TrainConfig::unfreeze`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfreeze: Option<String>,
    /// See [`TrainConfig::batch_norm`].
    pub batch_norm: BatchNormMode,
    /// See [`TrainConfig::epochs`].
    pub epochs: usize,
    /// See [`TrainConfig::batch_size`].
    pub batch_size: usize,
    /// See [`TrainConfig::optimizer`].
    pub optimizer: OptimizerName,
    /// See [`TrainConfig::lr`].
    pub lr: f64,
    /// See [`TrainConfig::head_lr`].
    pub head_lr: f64,
    /// See [`TrainConfig::weight_decay`].
    pub weight_decay: f64,
    /// See [`TrainConfig::momentum`].
    pub momentum: f64,
    /// See [`TrainConfig::label_smoothing`].
    pub label_smoothing: f64,
    /// See [`TrainConfig::val`]; `None` is the validation folder, else a fifth of the training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val: Option<FolderOrFraction>,
    /// See [`TrainConfig::image_size`]; `None` is the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// See [`TrainConfig::augment`].
    pub augment: bool,
    /// See [`TrainConfig::skip_bad_images`].
    pub skip_bad_images: bool,
    /// See [`TrainConfig::seed`].
    pub seed: u64,
    /// See [`TrainConfig::threads`].
    pub threads: usize,
    /// See [`TrainConfig::precision`].
    pub precision: PrecisionName,
    /// See [`TrainConfig::cache`].
    pub cache: bool,
    /// See [`TrainConfig::output`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
}

/// What happens to the batch norms of the trained part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNormMode {
    /// They keep their pre-trained statistics, scale and shift: the default with pre-trained weights, because statistics
    /// of a few small batches are worse than those of the millions of images before.
    Keep,
    /// They are trained and use the statistics of each batch, as in PyTorch's training mode: the default without
    /// pre-trained weights.
    Train,
}

/// An update rule by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Adam.
    #[default]
    Adam,
    /// AdamW.
    AdamW,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// A number format by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PrecisionName {
    /// IEEE single precision.
    #[default]
    F32,
}

/// A folder, or a share: what `--val` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FolderOrFraction {
    /// A share of the training images.
    Fraction(f64),
    /// A folder of class folders, or a share as text.
    Text(String),
}

impl TrainConfig {
    /// Reads a `config.toml`.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the file cannot be read, [`TrainError::Config`] if it is not TOML of this form.
    pub fn read(path: &std::path::Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
        toml::from_str(&text).map_err(|source| TrainError::Config {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// These settings, and where they say nothing, `others`: flags come before a file.
    pub fn or(self, others: Self) -> Self {
        Self {
            data: self.data.or(others.data),
            model: self.model.or(others.model),
            weights: self.weights.or(others.weights),
            strategy: self.strategy.or(others.strategy),
            freeze: self.freeze.or(others.freeze),
            unfreeze: self.unfreeze.or(others.unfreeze),
            batch_norm: self.batch_norm.or(others.batch_norm),
            epochs: self.epochs.or(others.epochs),
            batch_size: self.batch_size.or(others.batch_size),
            optimizer: self.optimizer.or(others.optimizer),
            lr: self.lr.or(others.lr),
            head_lr: self.head_lr.or(others.head_lr),
            weight_decay: self.weight_decay.or(others.weight_decay),
            momentum: self.momentum.or(others.momentum),
            label_smoothing: self.label_smoothing.or(others.label_smoothing),
            val: self.val.or(others.val),
            image_size: self.image_size.or(others.image_size),
            augment: self.augment.or(others.augment),
            skip_bad_images: self.skip_bad_images.or(others.skip_bad_images),
            seed: self.seed.or(others.seed),
            threads: self.threads.or(others.threads),
            precision: self.precision.or(others.precision),
            cache: self.cache.or(others.cache),
            output: self.output.or(others.output),
        }
    }

    /// Fills in defaults and checks every value on its own. Whether files and models exist shows when the run starts.
    ///
    /// # Errors
    /// [`TrainError::InvalidSetting`] for the first value that makes no sense, [`TrainError::Graph`] for a pattern that
    /// cannot be read, [`TrainError::Data`] for a fraction out of range.
    pub fn check(self) -> Result<TrainSettings, TrainError> {
        let strategy = self.strategy.unwrap_or_default();
        let optimizer = self.optimizer.unwrap_or_default();
        let lr = self.lr.unwrap_or_else(|| default_lr(strategy, optimizer));
        // Statistics that were never learned cannot be kept.
        let learned = match self.weights.as_deref() {
            Some("none") => BatchNormMode::Train,
            _ => BatchNormMode::Keep,
        };
        let batch_norm = self.batch_norm.unwrap_or(learned);
        let settings = TrainSettings {
            data: match self.data {
                Some(data) => data,
                None => return Err(invalid("data", "", "a folder of photos")),
            },
            model: self
                .model
                .unwrap_or_else(|| regraft_models::default_model().name.to_owned()),
            weights: self.weights,
            strategy,
            freeze: self.freeze,
            unfreeze: self.unfreeze,
            batch_norm,
            epochs: self.epochs.unwrap_or_else(|| default_epochs(strategy)),
            batch_size: self.batch_size.unwrap_or(32),
            optimizer,
            lr,
            head_lr: self.head_lr.unwrap_or(match strategy {
                Strategy::Probe => lr,
                Strategy::Full | Strategy::Last(_) => lr.max(new_head_lr(optimizer)),
            }),
            weight_decay: self.weight_decay.unwrap_or(match optimizer {
                OptimizerName::AdamW => 0.01,
                OptimizerName::Adam | OptimizerName::Sgd => 0.0,
            }),
            momentum: self.momentum.unwrap_or(0.9),
            label_smoothing: self.label_smoothing.unwrap_or(0.0),
            val: self.val,
            image_size: self.image_size,
            augment: self.augment.unwrap_or(false),
            skip_bad_images: self.skip_bad_images.unwrap_or(false),
            seed: self.seed.unwrap_or(0),
            threads: self.threads.unwrap_or_else(regraft_data::available_threads),
            precision: self.precision.unwrap_or_default(),
            cache: self.cache.unwrap_or(true),
            output: self.output,
        };
        settings.check()?;
        Ok(settings)
    }
}

/// A new head on frozen features settles within this many passes, which cost little; a whole network overfits before.
fn default_epochs(strategy: Strategy) -> usize {
    match strategy {
        Strategy::Probe => 25,
        Strategy::Full | Strategy::Last(_) => 10,
    }
}

/// A new head learns at the usual rate of its optimizer.
fn new_head_lr(optimizer: OptimizerName) -> f64 {
    match optimizer {
        OptimizerName::Adam | OptimizerName::AdamW => 1e-3,
        OptimizerName::Sgd => 1e-2,
    }
}

/// Pre-trained weights are to be changed a little.
fn default_lr(strategy: Strategy, optimizer: OptimizerName) -> f64 {
    match strategy {
        Strategy::Probe => new_head_lr(optimizer),
        Strategy::Full | Strategy::Last(_) => new_head_lr(optimizer) * FINE_TUNING_SHARE,
    }
}

/// How much slower than a new head pre-trained weights learn, as in Keras's guide to transfer learning.
const FINE_TUNING_SHARE: f64 = 0.01;

impl TrainSettings {
    fn check(&self) -> Result<(), TrainError> {
        for (setting, value, max) in [
            ("epochs", self.epochs, 1_000_000),
            ("batch_size", self.batch_size, 1 << 20),
            ("threads", self.threads, 4096),
            ("image_size", self.image_size.unwrap_or(1), 1 << 14),
        ] {
            if !(1..=max).contains(&value) {
                let expected = format!("a number from 1 to {max}");
                return Err(invalid(setting, &value.to_string(), &expected));
            }
        }
        for (setting, value, valid, expected) in [
            ("lr", self.lr, self.lr > 0.0, "a positive number"),
            (
                "head_lr",
                self.head_lr,
                self.head_lr > 0.0,
                "a positive number",
            ),
            (
                "weight_decay",
                self.weight_decay,
                self.weight_decay >= 0.0,
                "0 or a positive number",
            ),
            (
                "momentum",
                self.momentum,
                (0.0..1.0).contains(&self.momentum),
                "a number from 0 to less than 1",
            ),
            (
                "label_smoothing",
                self.label_smoothing,
                (0.0..1.0).contains(&self.label_smoothing),
                "a number from 0 to less than 1",
            ),
        ] {
            if !valid || !value.is_finite() {
                return Err(invalid(setting, &value.to_string(), expected));
            }
        }
        for pattern in [&self.freeze, &self.unfreeze].into_iter().flatten() {
            NamePattern::new(pattern)?;
        }
        self.validation()?;
        Ok(())
    }

    /// Where the validation images come from.
    ///
    /// # Errors
    /// [`TrainError::Data`] for a fraction that is not between 0 and 1; checked settings have none.
    pub fn validation(&self) -> Result<Validation, TrainError> {
        Ok(match &self.val {
            None => Validation::Automatic,
            Some(FolderOrFraction::Fraction(share)) => share.to_string().parse()?,
            Some(FolderOrFraction::Text(text)) => text.parse()?,
        })
    }

    /// Which parameters are trained.
    pub fn recipe(&self) -> Recipe<'_> {
        Recipe {
            strategy: self.strategy,
            batch_norm: self.batch_norm,
            freeze: self.freeze.as_deref(),
            unfreeze: self.unfreeze.as_deref(),
        }
    }

    /// The update rule with its constants.
    pub fn update_rule(&self) -> UpdateRule {
        match self.optimizer {
            OptimizerName::Adam => UpdateRule::Adam(AdamConfig::default()),
            OptimizerName::AdamW => UpdateRule::AdamW(AdamConfig::default()),
            OptimizerName::Sgd => UpdateRule::Sgd(SgdConfig {
                momentum: self.momentum,
                nesterov: false,
            }),
        }
    }
}

impl fmt::Display for FolderOrFraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(share) => write!(f, "{share}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<&str> for FolderOrFraction {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl FromStr for BatchNormMode {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        match text {
            "keep" => Ok(Self::Keep),
            "train" => Ok(Self::Train),
            _ => Err(invalid("batch_norm", text, "`keep` or `train`")),
        }
    }
}

impl FromStr for OptimizerName {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        match text {
            "adam" => Ok(Self::Adam),
            "adamw" => Ok(Self::AdamW),
            "sgd" => Ok(Self::Sgd),
            _ => Err(invalid("optimizer", text, "`adam`, `adamw` or `sgd`")),
        }
    }
}

impl FromStr for PrecisionName {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        match text {
            "f32" => Ok(Self::F32),
            _ => Err(invalid("precision", text, "`f32`")),
        }
    }
}

fn invalid(setting: &'static str, value: &str, expected: &str) -> TrainError {
    TrainError::InvalidSetting {
        setting,
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrainConfig {
        TrainConfig {
            data: Some("photos".into()),
            ..TrainConfig::default()
        }
    }

    #[test]
    fn only_the_data_must_be_named() {
        let settings = config().check().unwrap();
        assert_eq!(settings.strategy, Strategy::Probe);
        assert_eq!((settings.epochs, settings.batch_size), (25, 32));
        assert!(settings.cache);
        let error = TrainConfig::default().check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`data` is ``, expected a folder of photos"
        );
    }

    #[test]
    fn pre_trained_weights_take_a_smaller_rate_than_a_new_head() {
        let lr = |strategy| {
            let config = TrainConfig {
                strategy: Some(strategy),
                ..config()
            };
            config.check().unwrap().lr
        };
        assert!(lr(Strategy::Full) < lr(Strategy::Probe));
        assert!(lr(Strategy::Last(2)) < lr(Strategy::Probe));
    }

    #[test]
    fn checked_settings_are_a_config_again() {
        let original = TrainConfig {
            strategy: Some(Strategy::Last(3)),
            optimizer: Some(OptimizerName::AdamW),
            lr: Some(3e-5),
            freeze: Some("*.bias".to_owned()),
            val: Some(FolderOrFraction::Fraction(0.25)),
            threads: Some(3),
            output: Some("runs/mine".into()),
            ..config()
        };
        let settings = original.check().unwrap();
        let text = toml::to_string(&settings).unwrap();
        let again: TrainConfig = toml::from_str(&text).unwrap();
        assert_eq!(again.check().unwrap(), settings);
    }

    #[test]
    fn flags_come_before_the_file() {
        let file: TrainConfig = toml::from_str("epochs = 3\nlr = 0.1").unwrap();
        let flags = TrainConfig {
            lr: Some(0.2),
            ..config()
        };
        let settings = flags.or(file).check().unwrap();
        assert_eq!((settings.epochs, settings.lr), (3, 0.2));
    }

    #[test]
    fn values_that_make_no_sense_are_errors_that_name_the_setting() {
        for (text, setting) in [
            ("batch_size = 0", "batch_size"),
            ("epochs = 0", "epochs"),
            ("threads = 0", "threads"),
            ("image_size = 0", "image_size"),
            ("lr = 0.0", "lr"),
            ("lr = nan", "lr"),
            ("lr = inf", "lr"),
            ("weight_decay = -1.0", "weight_decay"),
            ("momentum = 1.0", "momentum"),
            ("label_smoothing = 1.5", "label_smoothing"),
        ] {
            let file: TrainConfig = toml::from_str(text).unwrap();
            let error = config().or(file).check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{setting}` is ")), "{error}");
        }
        for text in [
            "val = 1.5",
            "val = \"0\"",
            "freeze = \"layer[\"",
            "unfreeze = \"\"",
        ] {
            let file: TrainConfig = toml::from_str(text).unwrap();
            assert!(config().or(file).check().is_err(), "{text}");
        }
    }

    #[test]
    fn files_with_unknown_or_wrong_entries_are_errors_that_name_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        for (text, named) in [
            ("epoch = 3", "epoch"),
            ("strategy = \"lora\"", "lora"),
            ("optimizer = \"lion\"", "lion"),
            ("batch_size = -1", "-1"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = TrainConfig::read(&path).unwrap_err();
            assert!(error.to_string().contains("config.toml"), "{error}");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains(named), "{cause}");
        }
        let missing = TrainConfig::read(&folder.path().join("none.toml")).unwrap_err();
        assert!(matches!(missing, TrainError::Io { .. }));
    }
}
