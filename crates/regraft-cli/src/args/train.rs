//! `regraft train`.

use clap::Args;
use regraft::train::config::{BatchNormMode, FolderOrFraction, OptimizerName, PrecisionName};
use regraft::train::{Strategy, TrainConfig, TrainError};
use std::path::PathBuf;
use std::str::FromStr;

/// Train a classifier on a folder of photos
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regraft train photos                           default model, a new head on frozen features
  regraft train photos --model resnet50 --strategy last:2 --augment
  regraft train photos --weights hub:timm/resnet18.a1_in1k --model resnet18
  regraft train photos --strategy full --lr 1e-4 --epochs 10 --val 0.1 --output runs/full
  regraft train --config runs/full/config.toml --seed 1 --output runs/full-1

DATA holds one sub-folder of images for each class, or `train` and `val` that do.
PATTERN is a path (`layer1`), a glob (`layer[12].*.bn?`) or a regular expression (`/^layer[12]/`);
several are joined by commas. What a flag says counts more than what FILE says.")]
pub(crate) struct TrainArgs {
    /// Folder of the photos
    #[arg(required_unless_present = "config")]
    data: Option<PathBuf>,

    /// Settings, as a run folder keeps them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for the results, new or empty [default: the next of runs/train, runs/train2, ...]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Name of the model; `regraft models` lists them
    #[arg(long, help_heading = "Model")]
    model: Option<String>,
    /// Weights to start from: a file, `hub:ID` or `none` [default: the model's published ones]
    #[arg(long, help_heading = "Model")]
    weights: Option<String>,
    /// What is trained: `probe` (the new head), `full` (everything) or `last:N` (N stages) [default: probe]
    #[arg(long, value_parser = strategy, help_heading = "Model")]
    strategy: Option<Strategy>,
    /// Freeze these parameters besides
    #[arg(long, value_name = "PATTERN", help_heading = "Model")]
    freeze: Option<String>,
    /// Train these parameters besides
    #[arg(long, value_name = "PATTERN", help_heading = "Model")]
    unfreeze: Option<String>,
    /// Batch norms: `keep` their statistics, or `train` them [default: keep, without weights train]
    #[arg(long, value_name = "MODE", value_parser = setting::<BatchNormMode>, help_heading = "Model")]
    batch_norm: Option<BatchNormMode>,

    /// Validation images: a folder, or a share of the training images [default: the folder in DATA, else 0.2]
    #[arg(long, value_name = "DIR|FRACTION", help_heading = "Data")]
    val: Option<String>,
    /// Height and width of the images [default: the model's]
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    image_size: Option<usize>,
    /// Crop and mirror training images at random
    #[arg(long, help_heading = "Data")]
    augment: bool,
    /// Leave images out that cannot be read, instead of stopping
    #[arg(long, help_heading = "Data")]
    skip_bad_images: bool,

    /// Passes over the training images [default: 25, or 10 where more than the head is trained]
    #[arg(long, value_name = "N", help_heading = "Training")]
    epochs: Option<usize>,
    /// Images in a step [default: 32]
    #[arg(long, value_name = "N", help_heading = "Training")]
    batch_size: Option<usize>,
    /// Learning rate [default: 1e-3, sgd 1e-2; 1 % of that where more than the head is trained]
    #[arg(long, value_name = "X", help_heading = "Training")]
    lr: Option<f64>,
    /// Learning rate of the new head, where more is trained [default: 1e-3, sgd 1e-2]
    #[arg(long, value_name = "X", help_heading = "Training")]
    head_lr: Option<f64>,
    /// `adam`, `adamw` or `sgd` [default: adam]
    #[arg(long, value_parser = setting::<OptimizerName>, help_heading = "Training")]
    optimizer: Option<OptimizerName>,
    /// Weight decay, of weights only [default: 0, adamw 0.01]
    #[arg(long, value_name = "X", help_heading = "Training")]
    weight_decay: Option<f64>,
    /// Momentum of sgd [default: 0.9]
    #[arg(long, value_name = "X", help_heading = "Training")]
    momentum: Option<f64>,
    /// Label smoothing [default: 0]
    #[arg(long, value_name = "X", help_heading = "Training")]
    label_smoothing: Option<f64>,
    /// Decides the new head, the order of images, augmentation and an automatic split [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    seed: Option<u64>,

    /// Number format of the computation: `f32` [default: f32]
    #[arg(long, value_parser = setting::<PrecisionName>, help_heading = "Computation")]
    precision: Option<PrecisionName>,
    /// What to compute on: `auto` or `cpu`
    #[arg(long, default_value = "auto", value_parser = device, help_heading = "Computation")]
    pub(crate) device: Device,
    /// Do not keep features of the frozen part on disk
    #[arg(long, help_heading = "Computation")]
    no_cache: bool,
}

/// What a command computes on. `auto` is the best device that is there, and so far the CPU is the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    Cpu,
}

/// Reads a device.
pub(super) fn device(text: &str) -> Result<Device, String> {
    match text {
        "auto" | "cpu" => Ok(Device::Cpu),
        "cuda" => Err("this version computes on the CPU only: expected `auto` or `cpu`".to_owned()),
        _ => Err("expected `auto` or `cpu`".to_owned()),
    }
}

impl TrainArgs {
    /// The settings that the flags make up, completed by those of the file.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub(crate) fn into_config(self, threads: Option<usize>) -> Result<TrainConfig, TrainError> {
        let flag = |given: bool| given.then_some(true);
        let flags = TrainConfig {
            data: self.data,
            model: self.model,
            weights: self.weights,
            strategy: self.strategy,
            freeze: self.freeze,
            unfreeze: self.unfreeze,
            batch_norm: self.batch_norm,
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer,
            lr: self.lr,
            head_lr: self.head_lr,
            weight_decay: self.weight_decay,
            momentum: self.momentum,
            label_smoothing: self.label_smoothing,
            val: self.val.as_deref().map(FolderOrFraction::from),
            image_size: self.image_size,
            augment: flag(self.augment),
            skip_bad_images: flag(self.skip_bad_images),
            seed: self.seed,
            threads,
            precision: self.precision,
            cache: self.no_cache.then_some(false),
            output: self.output,
        };
        match self.config {
            Some(path) => Ok(flags.or(TrainConfig::read(&path)?)),
            None => Ok(flags),
        }
    }
}

/// Reads a strategy; the message of an error goes behind clap's, which names flag and value.
pub(super) fn strategy(text: &str) -> Result<Strategy, String> {
    setting(text)
}

/// Reads a setting by its library's rules.
pub(super) fn setting<T: FromStr<Err = TrainError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| match error {
        TrainError::InvalidSetting { expected, .. } => format!("expected {expected}"),
        error => error.to_string(),
    })
}
