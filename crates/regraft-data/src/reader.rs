//! One image file to one network input.

use std::path::Path;

use crate::decode::{DecodeOptions, ImageInfo, RgbImage, decode_into, read_file};
use crate::error::{DataError, Result};
use crate::random::SampleRng;
use crate::transform::Transform;
use crate::transformer::Transformer;

/// Reads, decodes and transforms image files, with memory that is used again: one per thread.
#[derive(Debug)]
pub struct ImageReader {
    bytes: Vec<u8>,
    image: RgbImage,
    options: DecodeOptions,
    transformer: Transformer,
}

impl ImageReader {
    /// A reader that applies `transform` and refuses images of more than `max_pixels`.
    ///
    /// # Errors
    /// [`DataError::InvalidConfig`] when the transform makes no sense.
    pub fn new(transform: Transform, max_pixels: u64) -> Result<Self> {
        Ok(Self {
            bytes: Vec::new(),
            image: RgbImage::default(),
            options: DecodeOptions {
                exif: transform.exif,
                max_pixels,
            },
            transformer: Transformer::new(transform)?,
        })
    }

    /// Fills `out` (height x width x 3) with the input made of the file at `path`. What is random is drawn from `rng`.
    ///
    /// # Errors
    /// [`DataError::Io`] or [`DataError::Decode`] naming the file; [`DataError::BufferSize`].
    pub fn load_into(
        &mut self,
        path: &Path,
        rng: &mut SampleRng,
        out: &mut [f32],
    ) -> Result<ImageInfo> {
        read_file(path, &mut self.bytes)?;
        let info = decode_into(&self.bytes, &self.options, &mut self.image).map_err(|source| {
            DataError::Decode {
                path: path.to_path_buf(),
                source,
            }
        })?;
        self.transformer.apply(&self.image, rng, out)?;
        Ok(info)
    }
}
