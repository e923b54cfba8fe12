//! `regraft benchmark`.

use super::train::{Device, device, setting};
use clap::{Args, ValueEnum};
use regraft::train::config::PrecisionName;

/// Measure how fast a model runs here, with random weights and images
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regraft benchmark resnet50
  regraft benchmark resnet18 --mode train --batch-size 64 --threads 4
  regraft benchmark resnet18 --mode train --freeze conv1,bn1,layer1,layer2,layer3

`forward` folds batch norm, as evaluation does. `train` is forward, loss, backward and a step of Adam;
what is frozen is computed in every step, as without a feature cache.")]
pub(crate) struct BenchmarkArgs {
    /// Name of the model; `regraft models` lists them
    pub(crate) model: String,
    /// What to measure
    #[arg(long, value_enum, default_value = "forward")]
    pub(crate) mode: ModeArg,
    /// Freeze these parameters, with `--mode train`
    #[arg(long, value_name = "PATTERN")]
    pub(crate) freeze: Option<String>,
    /// Images in a step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) batch_size: usize,
    /// Steps to measure, after two to warm up
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) steps: usize,
    /// Height and width of the images [default: the model's]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) image_size: Option<usize>,
    /// Number format of the computation: `f32`
    #[arg(long, default_value = "f32", value_parser = setting::<PrecisionName>)]
    pub(crate) precision: PrecisionName,
    /// What to compute on: `auto` or `cpu`
    #[arg(long, default_value = "auto", value_parser = device)]
    pub(crate) device: Device,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    Forward,
    Train,
}
