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

mod address;
mod atomic_file;
mod checkpoint;
mod download;
mod dtype;
mod environment;
mod error;
mod folder;
mod hub;
mod hub_id;
mod load_report;
mod mapped_file;
mod partial_file;
mod safetensors_file;
mod torch;
mod wheel;

pub use checkpoint::{Checkpoint, Format, TensorInfo};
pub use download::{Download, Downloader, DownloaderConfig, Progress, Silent};
pub use dtype::DType;
pub use environment::cache_folder;
pub use error::{DoesNotFit, Mismatch, WeightsError};
pub use folder::CHECKPOINT_NAMES;
pub use hub::{Hub, HubConfig};
pub use hub_id::HubId;
pub use load_report::{LoadOptions, LoadReport, Rename, Source};
pub use partial_file::sha256_of_file;
pub use safetensors_file::{TensorData, TensorView, write_safetensors};
pub use torch::WRAPPERS;
pub use wheel::{WheelConfig, WheelSource, WheelStore};
