//! This crate reads and writes model weights. [`Checkpoint`] opens safetensors and PyTorch files
//! lazily and never runs what a pickle asks for.
//!
//! ```
//! use std::collections::BTreeMap;
//! use regraft_weights::{Checkpoint, TensorData, TensorView, write_safetensors};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("model.safetensors");
//! let weight = TensorView { name: "fc.weight", shape: &[2, 3], data: TensorData::F32(&[1.0; 6]) };
//! write_safetensors(&path, [weight], &BTreeMap::new())?;
//!
//! let checkpoint = Checkpoint::open(&path)?;
//! assert_eq!(checkpoint.read_f32("fc.weight")?, [1.0; 6]);
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

mod atomic_file;
mod checkpoint;
mod dtype;
mod error;
mod folder;
mod mapped_file;
mod safetensors_file;
mod torch;

pub use checkpoint::{Checkpoint, Format, TensorInfo};
pub use dtype::DType;
pub use error::{DoesNotFit, Mismatch, WeightsError};
pub use folder::CHECKPOINT_NAMES;
pub use safetensors_file::{TensorData, TensorView, write_safetensors};
pub use torch::WRAPPERS;
