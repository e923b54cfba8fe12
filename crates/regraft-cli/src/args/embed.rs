//! `regraft embed`.

use clap::Args;
use std::path::PathBuf;

/// Write feature vectors of photos to a file, one row for each
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regraft embed resnet18 photos -o features.safetensors
  regraft embed runs/train photos --layer layer3 -o layer3.npy
  regraft embed squeezenet1_1 --weights squeezenet.safetensors photos --layer logits -o logits.npy

The tensor is called `embeddings`. The list of files is in the metadata of a safetensors file
under `files` (a JSON array), beside an `.npy` in FILE.files.txt, one a line.
Where the layer is a map, a row is channels, height and width.")]
pub(crate) struct EmbedArgs {
    /// A run folder, or a model with its published weights
    #[arg(value_name = "MODEL|RUN")]
    pub(crate) subject: String,
    /// Image files, folders of them, or `-` for a list on standard input, one a line
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Weights of a model: a file or `hub:ID` [default: the published ones]
    #[arg(long)]
    pub(crate) weights: Option<String>,
    /// `logits`, `features` (what the classifier sees) or a layer that `regraft inspect` lists
    #[arg(long, default_value = "features")]
    pub(crate) layer: String,
    /// File to write: `.safetensors` or `.npy`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Images in a step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) batch_size: usize,
}
