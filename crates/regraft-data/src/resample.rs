//! Resizes RGB images with exactly Pillow's numbers, and only the part of the result that is asked for.
//!
//! Follows `ImagingResample` of Pillow's `Resample.c` (and `ImagingScaleAffine` of `Geometry.c` for nearest): the filter
//! is stretched by the scale when shrinking, weights are rounded to 22 fractional bits, rows are resized first and
//! rounded to 8 bits, then columns. A centre crop after a resize costs only the crop.

#[cfg(target_arch = "x86_64")]
mod avx2;

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How pixels between pixels are made. Shrinking is antialiased, except by `Nearest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The nearest pixel, not antialiased.
    Nearest,
    /// A triangle over two pixels: torchvision's default.
    #[default]
    Bilinear,
    /// A cubic over four pixels, a = -0.5.
    Bicubic,
    /// A windowed sinc over six pixels.
    Lanczos,
}

impl Interpolation {
    /// The name used in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Interpolation::Nearest => "nearest",
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
            Interpolation::Lanczos => "lanczos",
        }
    }

    /// How many pixels the filter reaches to each side when it does not shrink.
    fn support(self) -> f64 {
        match self {
            Interpolation::Nearest => 0.5,
            Interpolation::Bilinear => 1.0,
            Interpolation::Bicubic => 2.0,
            Interpolation::Lanczos => 3.0,
        }
    }

    fn filter(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Interpolation::Nearest => f64::from(x <= 0.5),
            Interpolation::Bilinear => (1.0 - x).max(0.0),
            Interpolation::Bicubic => {
                const A: f64 = -0.5;
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
            Interpolation::Lanczos => {
                if x < 3.0 {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// Part of an image: `height` rows of `width` RGB pixels, each row `stride` bytes after the one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) stride: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// What to make: the image resized to `width` x `height`, of which only `columns` and `rows` are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) columns: Range<usize>,
    pub(crate) rows: Range<usize>,
    pub(crate) interpolation: Interpolation,
}

/// Fractional bits of a weight: a product with 8 bits and the sum over a filter still fit 32 bits.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// The source pixels that make each wanted pixel along one axis.
#[derive(Debug, Default)]
struct Axis {
    /// First source pixel and number of source pixels, for each wanted pixel.
    taps: Vec<(usize, usize)>,
    /// `taps_max` weights for each wanted pixel.
    weights: Vec<i32>,
    /// An even number; the weights past the taps of a pixel are 0.
    taps_max: usize,
    /// The same weights, two by two, in the form that [`avx2`] takes them.
    #[cfg(target_arch = "x86_64")]
    pairs: Vec<avx2::Pair>,
}

impl Axis {
    /// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`.
    fn compute(&mut self, from: usize, to: usize, wanted: Range<usize>, filter: Interpolation) {
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let support = filter.support() * filter_scale;
        self.taps_max = (support.ceil() as usize * 2 + 1).next_multiple_of(2);
        self.taps.clear();
        self.weights.clear();
        let mut window = Vec::with_capacity(self.taps_max);
        for index in wanted {
            let center = (index as f64 + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            window.clear();
            window.extend((start..end).map(|position| {
                filter.filter((position as f64 - center + 0.5) * (1.0 / filter_scale))
            }));
            let sum: f64 = window.iter().sum();
            self.taps.push((start, window.len()));
            let rounded = window.iter().map(|weight| {
                let weight = if sum == 0.0 { *weight } else { weight / sum };
                (weight * f64::from(1 << PRECISION_BITS) + 0.5f64.copysign(weight)) as i32
            });
            self.weights.extend(rounded);
            self.weights.resize(self.taps.len() * self.taps_max, 0);
        }
        #[cfg(target_arch = "x86_64")]
        {
            let (pairs, _) = self.weights.as_chunks::<2>();
            self.pairs.clear();
            self.pairs
                .extend(pairs.iter().copied().map(avx2::Pair::new));
        }
    }

    /// First source pixel and weights, for each wanted pixel.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.taps
            .iter()
            .zip(self.weights.chunks_exact(self.taps_max.max(1)))
            .map(|(&(start, len), weights)| (start, weights.get(..len).unwrap_or_default()))
    }

    /// The source pixels that any wanted pixel is made of.
    fn source(&self) -> Range<usize> {
        let start = self.taps.first().map_or(0, |&(start, _)| start);
        start..self.taps.last().map_or(start, |&(last, len)| last + len)
    }
}

/// Resizes images, with memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Resampler {
    horizontal: Axis,
    vertical: Axis,
    /// Rows after the first of the two passes.
    between: Vec<u8>,
    row: Vec<u8>,
    sums: Vec<i32>,
}

impl Resampler {
    /// Resizes `view` and calls `emit` with the index (from 0) and the samples of each wanted row.
    pub(crate) fn resize(&mut self, view: View, target: &Target, emit: impl FnMut(usize, &[u8])) {
        if target.interpolation == Interpolation::Nearest {
            self.nearest(view, target, emit);
            return;
        }
        let filter = target.interpolation;
        self.horizontal
            .compute(view.width, target.width, target.columns.clone(), filter);
        self.vertical
            .compute(view.height, target.height, target.rows.clone(), filter);
        // The order decides which sums are rounded to 8 bits. This is Pillow's rule since 13.0; before, rows were always
        // first, which differs by one level on some samples of images twice as high as wide.
        let fewer_rows = view.height as i128 - target.height as i128;
        let fewer_columns = view.width as i128 - target.width as i128;
        if fewer_rows > 0 && fewer_rows > 2 * fewer_columns {
            self.columns_first(view, target, emit);
        } else {
            self.rows_first(view, target, emit);
        }
    }

    fn rows_first(&mut self, view: View, target: &Target, mut emit: impl FnMut(usize, &[u8])) {
        let needed = self.vertical.source();
        let stride = target.columns.len() * 3;
        self.between.resize(needed.len() * stride, 0);
        self.row.resize(stride, 0);
        self.sums.resize(stride, 0);
        let source = view
            .data
            .get(needed.start * view.stride..)
            .unwrap_or_default();
        for (row, out) in self.between.chunks_exact_mut(stride).enumerate() {
            let source = source.get(row * view.stride..).unwrap_or_default();
            resize_row(source, 0, &self.horizontal, out);
        }
        for (index, (start, weights)) in self.vertical.iter().enumerate() {
            let rows = self
                .between
                .get((start - needed.start) * stride..)
                .unwrap_or_default();
            blend_rows(rows, stride, weights, &mut self.sums, &mut self.row);
            emit(index, &self.row);
        }
    }

    fn columns_first(&mut self, view: View, target: &Target, mut emit: impl FnMut(usize, &[u8])) {
        let needed = self.horizontal.source();
        self.between.resize(needed.len() * 3, 0);
        self.sums.resize(needed.len() * 3, 0);
        self.row.resize(target.columns.len() * 3, 0);
        for (index, (start, weights)) in self.vertical.iter().enumerate() {
            let first = start * view.stride + needed.start * 3;
            let rows = view.data.get(first..).unwrap_or_default();
            blend_rows(
                rows,
                view.stride,
                weights,
                &mut self.sums,
                &mut self.between,
            );
            resize_row(&self.between, needed.start, &self.horizontal, &mut self.row);
            emit(index, &self.row);
        }
    }

    fn nearest(&mut self, view: View, target: &Target, mut emit: impl FnMut(usize, &[u8])) {
        let columns = nearest_positions(view.width, target.width, &target.columns);
        let rows = nearest_positions(view.height, target.height, &target.rows);
        for (index, y) in rows.into_iter().enumerate() {
            let source = view.data.get(y * view.stride..).unwrap_or_default();
            let pixels = source.as_chunks::<3>().0;
            self.row.clear();
            self.row.extend(
                columns
                    .iter()
                    .flat_map(|&x| pixels.get(x).copied().unwrap_or_default()),
            );
            emit(index, &self.row);
        }
    }
}

/// The source positions of wanted pixels. Positions are summed up one by one, as Pillow does, for the same rounding.
fn nearest_positions(from: usize, to: usize, wanted: &Range<usize>) -> Vec<usize> {
    let scale = from as f64 / to as f64;
    let mut position = scale * 0.5;
    let mut positions = Vec::with_capacity(wanted.len());
    for index in 0..wanted.end {
        if index >= wanted.start {
            positions.push((position as usize).min(from.saturating_sub(1)));
        }
        position += scale;
    }
    positions
}

#[inline]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Resizes one row. `source` begins at the pixel `first`; what follows the row in it is not used.
fn resize_row(source: &[u8], first: usize, axis: &Axis, out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if avx2::resize_row(source, first, axis, out) {
        return;
    }
    resize_row_portable(source, first, axis, out);
}

fn resize_row_portable(source: &[u8], first: usize, axis: &Axis, out: &mut [u8]) {
    let pixels = source.as_chunks::<3>().0;
    for ((start, weights), out) in axis.iter().zip(out.as_chunks_mut::<3>().0) {
        let pixels = pixels.get(start - first..).unwrap_or_default();
        let mut sums = [HALF; 3];
        for (pixel, weight) in pixels.iter().zip(weights) {
            for (sum, sample) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*sample) * weight;
            }
        }
        *out = sums.map(clip);
    }
}

/// The weighted sum of rows, each `stride` bytes after the one before. `sums` is scratch memory.
fn blend_rows(rows: &[u8], stride: usize, weights: &[i32], sums: &mut [i32], out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if avx2::blend_rows(rows, stride, weights, sums, out) {
        return;
    }
    blend_rows_portable(rows, stride, weights, sums, out);
}

#[expect(
    clippy::inline_always,
    reason = "must become part of its caller, to be compiled for the caller's processor"
)]
#[inline(always)]
fn blend_rows_portable(
    rows: &[u8],
    stride: usize,
    weights: &[i32],
    sums: &mut [i32],
    out: &mut [u8],
) {
    sums.fill(HALF);
    // The last row may be shorter than the stride.
    for (row, weight) in rows.chunks(stride).zip(weights) {
        for (sum, sample) in sums.iter_mut().zip(row) {
            *sum += i32::from(*sample) * weight;
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = clip(*sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fast and portable kernels agree on every shape, up to the last pixels of an image.
    #[test]
    fn kernels_agree_to_the_last_bit() {
        let mut rng = crate::SampleRng::new(5, 0, 0);
        for filter in [
            Interpolation::Bilinear,
            Interpolation::Bicubic,
            Interpolation::Lanczos,
        ] {
            for (from, to) in [
                (1, 1),
                (1, 9),
                (2, 1),
                (7, 7),
                (9, 4),
                (31, 30),
                (100, 3),
                (10, 100),
            ] {
                let source: Vec<u8> = (0..from * 3).map(|_| rng.next_u64() as u8).collect();
                let mut axis = Axis::default();
                axis.compute(from, to, 0..to, filter);
                let mut fast = vec![0; to * 3];
                let mut portable = vec![1; to * 3];
                resize_row(&source, 0, &axis, &mut fast);
                resize_row_portable(&source, 0, &axis, &mut portable);
                assert_eq!(fast, portable, "{filter:?} {from} to {to}");

                let rows: Vec<u8> = (0..from * 37).map(|_| rng.next_u64() as u8).collect();
                let mut sums = vec![0; 37];
                let mut fast = vec![0; 37];
                let mut portable = vec![1; 37];
                for (start, weights) in axis.iter() {
                    blend_rows(&rows[start * 37..], 37, weights, &mut sums, &mut fast);
                    blend_rows_portable(&rows[start * 37..], 37, weights, &mut sums, &mut portable);
                    assert_eq!(fast, portable, "{filter:?} {from} to {to}");
                }
            }
        }
    }
}
