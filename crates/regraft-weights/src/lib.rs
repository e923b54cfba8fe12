//! This crate reads, writes, matches and fetches model weights. [`Checkpoint`] opens safetensors and PyTorch files
//! lazily and never runs what a pickle asks for.
//!
//! ```
//! use std::collections::BTreeMap;
//! use regraft_weights::{Checkpoint, LoadOptions, TensorData, TensorView, write_safetensors};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("model.safetensors");
//! let weight = TensorView { name: "fc.weight", shape: &[2, 3], data: TensorData::F32(&[1.0; 6]) };
//! write_safetensors(&path, [weight], &BTreeMap::new())?;
//!
//! let checkpoint = Checkpoint::open(&path)?;
//! let report = checkpoint.match_parameters([("fc.weight", &[2, 3][..])], &LoadOptions::default())?;
//! assert_eq!(checkpoint.read_f32(&report.loaded[0].tensor)?, [1.0; 6]);
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

mod atomic_file;
mod checkpoint;
mod dtype;
mod error;
mod folder;
mod load_report;
mod mapped_file;
mod safetensors_file;
mod torch;

pub use checkpoint::{Checkpoint, Format, TensorInfo};
pub use dtype::DType;
pub use error::{DoesNotFit, Mismatch, WeightsError};
pub use folder::CHECKPOINT_NAMES;
pub use load_report::{LoadOptions, LoadReport, Rename, Source};
pub use safetensors_file::{TensorData, TensorView, write_safetensors};
pub use torch::WRAPPERS;
