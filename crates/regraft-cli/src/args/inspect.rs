//! `regraft inspect`.

use super::train::{setting, strategy};
use clap::Args;
use regraft::train::Strategy;
use regraft::train::config::BatchNormMode;

/// Show the layers of a model, what is trained and where the frozen part ends
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regraft inspect resnet18 --strategy probe --num-classes 3
  regraft inspect resnet50 --freeze 'conv1,bn1,layer[12]'
  regraft inspect weights.pth                    the tensors in a file
  regraft inspect runs/train")]
pub(crate) struct InspectArgs {
    /// A model, a checkpoint file or a run folder
    #[arg(value_name = "MODEL|FILE|RUN")]
    pub(crate) subject: String,
    /// Which part is trained: `probe`, `full` or `last:N` [default: full]
    #[arg(long, value_parser = strategy)]
    pub(crate) strategy: Option<Strategy>,
    /// Freeze these parameters besides
    #[arg(long, value_name = "PATTERN")]
    pub(crate) freeze: Option<String>,
    /// Train these parameters besides
    #[arg(long, value_name = "PATTERN")]
    pub(crate) unfreeze: Option<String>,
    /// Batch norms: `keep` their statistics, or `train` them [default: keep, without a strategy train]
    #[arg(long, value_name = "MODE", value_parser = setting::<BatchNormMode>)]
    pub(crate) batch_norm: Option<BatchNormMode>,
    /// Compare the model with these weights: a file, `hub:ID` or `none`
    #[arg(long, value_name = "WEIGHTS")]
    pub(crate) weights: Option<String>,
    /// Give the model a new head
    #[arg(long, value_name = "N")]
    pub(crate) num_classes: Option<usize>,
    /// Height and width of the images [default: the model's]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) image_size: Option<usize>,
}
