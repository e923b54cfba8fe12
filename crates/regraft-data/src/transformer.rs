//! Applies a [`Transform`] to decoded images.

use crate::crop::{CropBox, Placement, random_resized_crop};
use crate::decode::RgbImage;
use crate::error::{DataError, Result};
use crate::random::SampleRng;
use crate::resample::{Resampler, Target, View};
use crate::transform::{Geometry, Transform, require};

/// A validated [`Transform`] with the memory it works in: one per thread.
#[derive(Debug)]
pub struct Transformer {
    transform: Transform,
    /// The normalised value of each of the 256 levels of each channel.
    levels: [[f32; 256]; 3],
    resampler: Resampler,
}

impl Transformer {
    /// Prepares a transform.
    ///
    /// # Errors
    /// [`DataError::InvalidConfig`] when a value of the transform makes no sense.
    pub fn new(transform: Transform) -> Result<Self> {
        transform.validate()?;
        let mut levels = [[0.0; 256]; 3];
        for (channel, (mean, std)) in levels
            .iter_mut()
            .zip(transform.mean.iter().zip(&transform.std))
        {
            for (level, value) in channel.iter_mut().enumerate() {
                *value = (level as f32 / 255.0 - mean) / std;
            }
        }
        Ok(Self {
            transform,
            levels,
            resampler: Resampler::default(),
        })
    }

    /// The transform.
    pub fn transform(&self) -> &Transform {
        &self.transform
    }

    /// Transforms an image into `out`, which is height x width x 3. What is random is drawn from `rng`.
    ///
    /// # Errors
    /// [`DataError::BufferSize`] when `out` is not [`Transform::output_len`] long.
    pub fn apply(&mut self, image: &RgbImage, rng: &mut SampleRng, out: &mut [f32]) -> Result<()> {
        let (width, height) = (image.width(), image.height());
        match self.transform.geometry {
            Geometry::CenterCrop { resize, crop } => {
                let flip = self.draws_flip(rng);
                let whole = CropBox {
                    top: 0,
                    left: 0,
                    height,
                    width,
                };
                self.crop_resized(image, whole, resize.size(width, height), crop, flip, out)
            }
            Geometry::RandomResizedCrop { scale, ratio, .. } => {
                let part = random_resized_crop([height, width], scale, ratio, rng);
                let flip = self.draws_flip(rng);
                self.apply_box(image, part, flip, out)
            }
        }
    }

    /// Resizes `part` of the image to [`Transform::output_size`], mirrors it if asked, and normalises it: what
    /// [`apply`](Self::apply) does with the box it draws.
    ///
    /// # Errors
    /// [`DataError::BufferSize`] as in [`apply`](Self::apply); [`DataError::InvalidConfig`] when the box is empty or
    /// reaches outside the image.
    pub fn apply_box(
        &mut self,
        image: &RgbImage,
        part: CropBox,
        flip: bool,
        out: &mut [f32],
    ) -> Result<()> {
        let fits = |start: usize, len: usize, size: usize| {
            len > 0 && start.checked_add(len).is_some_and(|end| end <= size)
        };
        require(
            fits(part.top, part.height, image.height())
                && fits(part.left, part.width, image.width()),
            "box",
            || format!("{part:?}"),
            "a part of the image",
        )?;
        let size = self.transform.output_size();
        let [height, width] = size;
        self.crop_resized(image, part, (width, height), size, flip, out)
    }

    fn draws_flip(&self, rng: &mut SampleRng) -> bool {
        self.transform.horizontal_flip > 0.0 && rng.unit() < self.transform.horizontal_flip
    }

    /// Resizes `part` of the image to `resized` (width, height), of which only the centre `crop` is computed.
    fn crop_resized(
        &mut self,
        image: &RgbImage,
        part: CropBox,
        resized: (usize, usize),
        crop: [usize; 2],
        flip: bool,
        out: &mut [f32],
    ) -> Result<()> {
        let [crop_height, crop_width] = crop;
        let expected = crop_height * crop_width * 3;
        if out.len() != expected {
            return Err(DataError::BufferSize {
                expected,
                got: out.len(),
            });
        }
        let rows = Placement::new(resized.1, crop_height);
        let columns = Placement::new(resized.0, crop_width);
        let stride = image.width() * 3;
        let view = View {
            data: image
                .data()
                .get(part.top * stride + part.left * 3..)
                .unwrap_or_default(),
            stride,
            width: part.width,
            height: part.height,
        };
        let target = Target {
            width: resized.0,
            height: resized.1,
            columns: columns.source..columns.source + columns.len,
            rows: rows.source..rows.source + rows.len,
            interpolation: self.transform.interpolation,
        };
        let levels = &self.levels;
        if rows.len < crop_height || columns.len < crop_width {
            let [r, g, b] = levels;
            out.as_chunks_mut::<3>().0.fill([r[0], g[0], b[0]]);
        }
        let (out_rows, _) = out.as_chunks_mut::<3>();
        let mut out_rows = out_rows.chunks_exact_mut(crop_width).skip(rows.target);
        let left = if flip {
            crop_width - columns.target - columns.len
        } else {
            columns.target
        };
        self.resampler.resize(view, &target, |_, samples| {
            let Some(out) = out_rows
                .next()
                .and_then(|row| row.get_mut(left..left + columns.len))
            else {
                return;
            };
            let pixels = samples.as_chunks::<3>().0;
            if flip {
                normalise(pixels.iter().rev(), out, levels);
            } else {
                normalise(pixels.iter(), out, levels);
            }
        });
        Ok(())
    }
}

fn normalise<'a>(
    pixels: impl Iterator<Item = &'a [u8; 3]>,
    out: &mut [[f32; 3]],
    [red, green, blue]: &[[f32; 256]; 3],
) {
    #[expect(clippy::indexing_slicing, reason = "a byte is less than 256")]
    for (&[r, g, b], out) in pixels.zip(out) {
        *out = [
            red[usize::from(r)],
            green[usize::from(g)],
            blue[usize::from(b)],
        ];
    }
}
