//! `regraft predict`.

use clap::Args;
use std::path::PathBuf;

/// Classify photos
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regraft predict runs/train photo.jpg
  regraft predict runs/train holiday --top 3     all images in a folder
  find . -name '*.png' | regraft predict runs/train - --output-format json
  regraft predict resnet18 --labels imagenet.txt photo.jpg")]
pub(crate) struct PredictArgs {
    /// A run folder, or a model with its published weights
    #[arg(value_name = "RUN|MODEL")]
    pub(crate) subject: String,
    /// Image files, folders of them, or `-` for a list on standard input, one a line
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Weights of a model: a file or `hub:ID` [default: the published ones]
    #[arg(long)]
    pub(crate) weights: Option<String>,
    /// How many of the best classes to show
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub(crate) top: usize,
    /// Class names of a model, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Images in a step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) batch_size: usize,
}
