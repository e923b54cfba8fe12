//! `regraft evaluate`.

use clap::Args;
use std::path::PathBuf;

/// Measure a trained classifier on labelled photos
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regraft evaluate runs/train photos             its test or validation folder, else all of it
  regraft evaluate runs/train photos/val --output-format json")]
pub(crate) struct EvaluateArgs {
    /// Run folder of the classifier
    pub(crate) run: PathBuf,
    /// Folder with one sub-folder of images for each class
    pub(crate) data: PathBuf,
    /// Images in a step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) batch_size: usize,
    /// Leave images out that cannot be read, instead of stopping
    #[arg(long)]
    pub(crate) skip_bad_images: bool,
}
