//! This crate turns folders of photos into labelled batches of network inputs. It starts with [`ImageFolder`], which
//! finds the classes and splits of a data set as torchvision does, and ends with [`Loader`], whose threads decode,
//! resize and normalise with the numbers of Pillow and torchvision.
//!
//! It knows no tensors, no models and no network: inputs are `f32` slices, NHWC (batch, height, width, RGB).
//!
//! ```
//! use std::sync::Arc;
//! use regraft_data::{ImageFolder, Loader, LoaderConfig, Preprocessing, Transform, shuffled_indices};
//!
//! # fn main() -> regraft_data::Result<()> {
//! let dataset = ImageFolder::new("tests/fixtures/shapes").seed(1).load()?;
//! assert_eq!(dataset.classes, ["green", "red"]);
//! assert_eq!((dataset.train.len(), dataset.validation.len()), (6, 2));
//!
//! let preprocessing = Preprocessing::default().with_input_size([64, 64]);
//! let config = LoaderConfig { batch_size: 4, ..LoaderConfig::default() };
//! let train = Loader::new(Arc::new(dataset.train), Transform::training(&preprocessing), &config)?;
//!
//! let order = shuffled_indices(train.samples().len(), 1, 0);
//! let mut batches = train.epoch(0, order);
//! while let Some(batch) = batches.next_batch() {
//!     let batch = batch?;
//!     assert_eq!(batch.images.len(), batch.len() * 64 * 64 * 3);
//! }
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]
// Files are hostile input here: nothing is indexed on trust.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod crop;
pub mod decode;
mod digest;
pub mod doctor;
mod error;
mod format;
mod image_folder;
mod listing;
pub mod loader;
mod note;
mod parallel;
mod random;
mod reader;
mod resample;
mod samples;
mod split;
mod transform;
mod transformer;
mod verify;

pub use crop::{CropBox, random_resized_crop};
pub use decode::{DecodeError, DecodeOptions, Exif, ImageInfo, RgbImage, decode, decode_file};
pub use digest::{FileDigest, file_digest, file_digests};
pub use error::{BadImage, DataError, Result};
pub use format::Format;
pub use image_folder::{
    DEFAULT_VALIDATION_FRACTION, Dataset, EvaluationData, IMAGE_EXTENSIONS, ImageFolder, Validation,
};
pub use listing::IgnoredFiles;
pub use loader::{Batch, Batches, Loader, LoaderConfig};
pub use note::Note;
pub use parallel::available_threads;
pub use random::{SampleRng, shuffled_indices};
pub use reader::ImageReader;
pub use resample::Interpolation;
pub use samples::{Sample, Samples};
pub use split::{Split, stratified_split};
pub use transform::{Geometry, IMAGENET_MEAN, IMAGENET_STD, Preprocessing, Resize, Transform};
pub use transformer::Transformer;
pub use verify::{find_bad_images, skip_bad_images, verify};
