//! Batch norm with the residual sum and the activation behind it, in as few passes over memory as there can be:
//! statistics (one read), normalise (read, read residual, write); backward: sums (one read of everything), input
//! gradient (read, write in place). Statistics are exact per chunk and combined in double precision (Chan et al. 1979).

use super::simd::{self, CHUNK, Clamp};
use super::{Bind, CpuKernel, EMPTY, Prototype, Run};
use crate::program::{Kernel, NormMask, Program, Statistics, ValueId};
use regraft_graph::Activation;
use regraft_onednn::{OnednnError, Region, Storage, for_each_chunk_mut};

/// `[rows, channels]` cut into chunks of whole, repeated rows.
#[derive(Debug, Clone, Copy)]
struct Rows {
    count: usize,
    channels: usize,
    /// Elements of a repeated row: a multiple of `channels`.
    width: usize,
    /// Elements of a chunk: a multiple of `width`.
    chunk: usize,
}

impl Rows {
    fn of(program: &Program, x: ValueId) -> Self {
        let dims = &program.value(x).dims;
        let channels = dims[1];
        let rows = program.value(x).len() / channels;
        let width = channels * simd::repeats(channels).min(rows);
        Self {
            count: rows,
            channels,
            width,
            chunk: width * (CHUNK / width).max(1),
        }
    }

    fn chunks(self) -> usize {
        (self.count * self.channels).div_ceil(self.chunk)
    }

    fn repeats(self) -> usize {
        self.width / self.channels
    }

    fn rows_of(self, chunk_len: usize) -> usize {
        chunk_len / self.channels
    }
}

/// The function behind a norm.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Function {
    Clamp(Clamp),
    Silu,
    HardSwish,
}

impl Function {
    fn of(activation: Option<Activation>) -> Self {
        match activation {
            Some(Activation::Silu) => Self::Silu,
            Some(Activation::HardSwish) => Self::HardSwish,
            other => Self::Clamp(Clamp::of(other)),
        }
    }

    /// `y = function(x * scale + shift)`
    fn apply(self, x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
        match self {
            Self::Clamp(clamp) => simd::scale_rows(x, scale, shift, clamp, y),
            Self::Silu => simd::silu_rows(x, scale, shift, y),
            Self::HardSwish => simd::hard_swish_rows(x, scale, shift, y),
        }
    }

    /// `g` times the derivative at `x * scale + shift`.
    fn differentiate(self, g: &mut [f32], x: &[f32], scale: &[f32], shift: &[f32]) {
        match self {
            Self::Clamp(clamp) => simd::mask_by_input(g, x, scale, shift, clamp),
            Self::Silu => simd::silu_gradient(g, x, scale, shift),
            Self::HardSwish => simd::hard_swish_gradient(g, x, scale, shift),
        }
    }
}

pub(super) struct Forward {
    rows: Rows,
    kernel: Kernel,
}

impl Forward {
    pub(super) fn new(program: &Program, kernel: &Kernel) -> Self {
        let Kernel::BatchNorm { x, .. } = kernel else {
            unreachable!("called for this kernel only")
        };
        Self {
            rows: Rows::of(program, *x),
            kernel: kernel.clone(),
        }
    }
}

impl Prototype for Forward {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        // Partial means and squared distances of each chunk; scale and shift as repeated rows.
        Ok(vec![
            self.rows.chunks() * 2 * self.rows.width * 4,
            2 * self.rows.width * 4,
        ])
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        temporaries: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let Kernel::BatchNorm {
            x,
            params,
            residual,
            activation,
            y,
            scale_shift,
        } = self.kernel
        else {
            unreachable!("made of this kernel only");
        };
        Ok(Box::new(BoundForward {
            rows: self.rows,
            function: Function::of(activation),
            clamp: Clamp::of(activation),
            eps: params.eps,
            statistics: params.statistics,
            x: bind.region(x),
            affine: [bind.region(params.weight), bind.region(params.bias)],
            running: [
                bind.region(params.running_mean),
                bind.region(params.running_var),
            ],
            residual: residual.map(|r| bind.region(r)),
            y: bind.region(y),
            scale_shift: bind.region(scale_shift),
            partials: temporaries[0],
            repeated: temporaries[1],
        }))
    }
}

struct BoundForward {
    rows: Rows,
    function: Function,
    /// The function where there is a residual: fusion lets only clamps through.
    clamp: Clamp,
    eps: f32,
    statistics: Statistics,
    x: Region,
    affine: [Region; 2],
    running: [Region; 2],
    residual: Option<Region>,
    y: Region,
    scale_shift: Region,
    partials: Region,
    repeated: Region,
}

impl BoundForward {
    /// Mean and biased variance of each chunk, then of all.
    fn batch_statistics(&self, storage: &mut Storage, momentum: f32) -> Result<(), OnednnError> {
        let rows = self.rows;
        let ([x], [partials, scale_shift, running_mean, running_var]) = storage.operands(
            [self.x],
            [
                self.partials,
                self.scale_shift,
                self.running[0],
                self.running[1],
            ],
        )?;
        let c = rows.channels;
        for_each_chunk_mut([(&mut *partials, 2 * rows.width)], |i, [partial]| {
            let x = &x[i * rows.chunk..x.len().min((i + 1) * rows.chunk)];
            let (mean, squares) = partial.split_at_mut(rows.width);
            mean.fill(0.0);
            squares.fill(0.0);
            simd::add_rows(x, mean);
            let (first, others) = mean.split_at_mut(c);
            for other in others.chunks(c) {
                simd::add_assign(first, other);
            }
            simd::scale(first, 1.0 / rows.rows_of(x.len()) as f32);
            for other in others.chunks_mut(c) {
                other.copy_from_slice(first);
            }
            simd::add_squared_distances(x, mean, squares);
            let (first, others) = squares.split_at_mut(c);
            for other in others.chunks(c) {
                simd::add_assign(first, other);
            }
        });
        let count = rows.count as f64;
        let chunk_rows = |i: usize| {
            let len = (rows.count * c - i * rows.chunk).min(rows.chunk);
            rows.rows_of(len) as f64
        };
        let (means, deviations) = scale_shift.split_at_mut(c);
        for channel in 0..c {
            let parts = || partials.chunks(2 * rows.width).enumerate();
            let mean: f64 = parts()
                .map(|(i, p)| chunk_rows(i) * f64::from(p[channel]))
                .sum::<f64>()
                / count;
            let squares: f64 = parts()
                .map(|(i, p)| {
                    let distance = f64::from(p[channel]) - mean;
                    f64::from(p[rows.width + channel]) + chunk_rows(i) * distance * distance
                })
                .sum();
            let variance = squares / count;
            means[channel] = mean as f32;
            deviations[channel] = (1.0 / (variance + f64::from(self.eps)).sqrt()) as f32;
            let keep = 1.0 - momentum;
            running_mean[channel] = keep * running_mean[channel] + momentum * mean as f32;
            let unbiased = (squares / (count - 1.0)) as f32;
            running_var[channel] = keep * running_var[channel] + momentum * unbiased;
        }
        Ok(())
    }

    fn running_statistics(&self, storage: &mut Storage) -> Result<(), OnednnError> {
        let ([mean, var], [scale_shift]) = storage.operands(self.running, [self.scale_shift])?;
        let (means, deviations) = scale_shift.split_at_mut(self.rows.channels);
        means.copy_from_slice(mean);
        for (d, v) in deviations.iter_mut().zip(var) {
            *d = 1.0 / (v + self.eps).sqrt();
        }
        Ok(())
    }

    fn scale_and_shift(&self, storage: &mut Storage) -> Result<(), OnednnError> {
        let c = self.rows.channels;
        let ([weight, bias], [scale_shift, repeated]) =
            storage.operands(self.affine, [self.scale_shift, self.repeated])?;
        let (statistics, affine) = scale_shift.split_at_mut(2 * c);
        let (scale, shift) = affine.split_at_mut(c);
        for i in 0..c {
            scale[i] = weight[i] * statistics[c + i];
            shift[i] = bias[i] - statistics[i] * scale[i];
        }
        let (scales, shifts) = repeated.split_at_mut(self.rows.width);
        simd::repeat(scale, self.rows.repeats(), scales);
        simd::repeat(shift, self.rows.repeats(), shifts);
        Ok(())
    }
}

impl CpuKernel for BoundForward {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        match self.statistics {
            Statistics::Batch { momentum } => self.batch_statistics(storage, momentum)?,
            Statistics::Running => self.running_statistics(storage)?,
        }
        self.scale_and_shift(storage)?;
        let residual = self.residual.unwrap_or(EMPTY);
        let ([x, residual, repeated], [y]) =
            storage.operands([self.x, residual, self.repeated], [self.y])?;
        let (scale, shift) = repeated.split_at(self.rows.width);
        for_each_chunk_mut([(y, self.rows.chunk)], |i, [y]| {
            let range = i * self.rows.chunk..i * self.rows.chunk + y.len();
            if residual.is_empty() {
                self.function.apply(&x[range], scale, shift, y);
            } else {
                simd::scale_rows_add(
                    &x[range.clone()],
                    &residual[range],
                    scale,
                    shift,
                    self.clamp,
                    y,
                );
            }
        });
        Ok(())
    }
}

pub(super) struct Backward {
    rows: Rows,
    kernel: Kernel,
}

impl Backward {
    pub(super) fn new(program: &Program, kernel: &Kernel) -> Self {
        let Kernel::BatchNormBackward { x, .. } = kernel else {
            unreachable!("called for this kernel only")
        };
        Self {
            rows: Rows::of(program, *x),
            kernel: kernel.clone(),
        }
    }
}

impl Prototype for Backward {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        let width = self.rows.width * 4;
        // Partial sums and a row of the gradient for each chunk; six repeated rows of per-channel values.
        Ok(vec![self.rows.chunks() * 3 * width, 6 * width])
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        temporaries: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let Kernel::BatchNormBackward {
            x,
            statistics,
            mask,
            scale_shift,
            dy,
            g,
            dx,
            dweight,
            dbias,
        } = self.kernel
        else {
            unreachable!("made of this kernel only");
        };
        let (activation, output) = match mask {
            NormMask::None => (None, None),
            NormMask::FromInput(activation) => (Some(activation), None),
            NormMask::FromOutput(activation, y) => (Some(activation), Some(bind.region(y))),
        };
        let [first, second] = dy;
        Ok(Box::new(BoundBackward {
            rows: self.rows,
            function: Function::of(activation),
            clamp: Clamp::of(activation),
            masked: mask != NormMask::None,
            batch_statistics: matches!(statistics, Statistics::Batch { .. }),
            x: bind.region(x),
            output,
            dy: [bind.optional(first), bind.optional(second)],
            g: g.map(|g| bind.region(g)),
            dx: dx.map(|dx| bind.region(dx)),
            scale_shift: bind.region(scale_shift),
            dweight: bind.optional(dweight),
            dbias: bind.optional(dbias),
            partials: temporaries[0],
            repeated: temporaries[1],
        }))
    }
}

struct BoundBackward {
    rows: Rows,
    function: Function,
    /// The function where its derivative is read off its output.
    clamp: Clamp,
    masked: bool,
    batch_statistics: bool,
    x: Region,
    output: Option<Region>,
    dy: [Region; 2],
    g: Option<Region>,
    dx: Option<Region>,
    scale_shift: Region,
    dweight: Region,
    dbias: Region,
    partials: Region,
    repeated: Region,
}

/// Rows of repeated per-channel values in the second temporary.
const MEAN: usize = 0;
const DEVIATION: usize = 1;
const SCALE: usize = 2;
const SHIFT: usize = 3;
const MEAN_G: usize = 4;
const SLOPE: usize = 5;

/// What the gradient of one row is made of.
struct Sources<'a> {
    x: &'a [f32],
    output: &'a [f32],
    dy: [&'a [f32]; 2],
    repeated: &'a [f32],
}

impl BoundBackward {
    fn row<'a>(&self, repeated: &'a [f32], index: usize, len: usize) -> &'a [f32] {
        &repeated[index * self.rows.width..index * self.rows.width + len]
    }

    /// Writes the gradient before the activation, of the elements from `first` on, to `g`. Where `g` is the memory of a
    /// term, that term's slice is empty and `g` holds it already.
    fn gradient(&self, sources: &Sources<'_>, first: usize, g: &mut [f32]) {
        let part = first..first + g.len();
        match sources.dy {
            [[], []] => {}
            [a, []] | [[], a] if self.g_is_term() => simd::add_assign(g, &a[part.clone()]),
            [a, []] | [[], a] => g.copy_from_slice(&a[part.clone()]),
            [a, b] => simd::add(g, &a[part.clone()], &b[part.clone()]),
        }
        if self.masked {
            if sources.output.is_empty() {
                let (scale, shift) = (
                    self.row(sources.repeated, SCALE, g.len()),
                    self.row(sources.repeated, SHIFT, g.len()),
                );
                self.function
                    .differentiate(g, &sources.x[part], scale, shift);
            } else {
                simd::mask_by_output(g, &sources.output[part], self.clamp);
            }
        }
    }

    fn g_is_term(&self) -> bool {
        self.g.is_some_and(|g| self.dy.contains(&g))
    }

    /// The terms that are not the memory of `g`.
    fn other_terms(&self) -> [Region; 2] {
        self.dy
            .map(|dy| if Some(dy) == self.g { EMPTY } else { dy })
    }

    fn repeat_saved(&self, storage: &mut Storage) -> Result<(), OnednnError> {
        let ([saved], [repeated]) = storage.operands([self.scale_shift], [self.repeated])?;
        for (channel, row) in saved
            .chunks(self.rows.channels)
            .zip(repeated.chunks_mut(self.rows.width))
        {
            simd::repeat(channel, self.rows.repeats(), row);
        }
        Ok(())
    }

    /// The first pass: the gradient before the activation, if it is kept, and the two sums of each chunk.
    fn sums(&self, storage: &mut Storage) -> Result<(), OnednnError> {
        let rows = self.rows;
        let width = rows.width;
        let [first, second] = self.other_terms();
        let reads = [
            self.x,
            self.output.unwrap_or(EMPTY),
            first,
            second,
            self.repeated,
        ];
        let sums = |sources: &Sources<'_>, first: usize, g: &[f32], partial: &mut [f32]| {
            let (sum_g, rest) = partial.split_at_mut(width);
            simd::add_norm_sums(
                g,
                &sources.x[first..first + g.len()],
                self.row(sources.repeated, MEAN, g.len()),
                self.row(sources.repeated, DEVIATION, g.len()),
                sum_g,
                &mut rest[..width],
            );
        };
        if let Some(g) = self.g {
            let ([x, output, a, b, repeated], [g, partials]) =
                storage.operands(reads, [g, self.partials])?;
            let sources = Sources {
                x,
                output,
                dy: [a, b],
                repeated,
            };
            for_each_chunk_mut(
                [(g, rows.chunk), (partials, 3 * width)],
                |i, [g, partial]| {
                    partial.fill(0.0);
                    for (k, g) in g.chunks_mut(width).enumerate() {
                        let first = i * rows.chunk + k * width;
                        self.gradient(&sources, first, g);
                        sums(&sources, first, g, partial);
                    }
                },
            );
        } else {
            let ([x, output, a, b, repeated], [partials]) =
                storage.operands(reads, [self.partials])?;
            let sources = Sources {
                x,
                output,
                dy: [a, b],
                repeated,
            };
            for_each_chunk_mut([(partials, 3 * width)], |i, [partial]| {
                partial.fill(0.0);
                let (partial, g) = partial.split_at_mut(2 * width);
                let end = sources.x.len().min((i + 1) * rows.chunk);
                let mut first = i * rows.chunk;
                while first < end {
                    let g = &mut g[..width.min(end - first)];
                    self.gradient(&sources, first, g);
                    sums(&sources, first, g, partial);
                    first += width;
                }
            });
        }
        Ok(())
    }

    /// Adds the chunks up: the gradients of the affine parameters, and what the second pass needs.
    fn combine(&self, storage: &mut Storage) -> Result<(), OnednnError> {
        let rows = self.rows;
        let c = rows.channels;
        let ([partials], [repeated, dweight, dbias]) =
            storage.operands([self.partials], [self.repeated, self.dweight, self.dbias])?;
        for channel in 0..c {
            let total = |offset: usize| -> f64 {
                partials
                    .chunks(3 * rows.width)
                    .flat_map(|p| {
                        p[offset..offset + rows.width]
                            .iter()
                            .skip(channel)
                            .step_by(c)
                    })
                    .map(|v| f64::from(*v))
                    .sum()
            };
            let (sum_g, sum_gx) = (total(0), total(rows.width));
            if let Some(d) = dweight.get_mut(channel) {
                *d = sum_gx as f32;
            }
            if let Some(d) = dbias.get_mut(channel) {
                *d = sum_g as f32;
            }
            let count = rows.count as f64;
            let deviation = f64::from(repeated[DEVIATION * rows.width + channel]);
            let (mean_g, slope) = if self.batch_statistics {
                (sum_g / count, deviation * sum_gx / count)
            } else {
                (0.0, 0.0)
            };
            for repeat in 0..rows.repeats() {
                repeated[MEAN_G * rows.width + repeat * c + channel] = mean_g as f32;
                repeated[SLOPE * rows.width + repeat * c + channel] = slope as f32;
            }
        }
        Ok(())
    }

    /// The second pass: the gradient of the input.
    fn input_gradient(&self, storage: &mut Storage, dx: Region) -> Result<(), OnednnError> {
        let rows = self.rows;
        let width = rows.width;
        let in_place = dx == self.x;
        let x_region = if in_place { EMPTY } else { self.x };
        let apply = |dx: &mut [f32], g: &[f32], repeated: &[f32]| {
            let n = dx.len();
            simd::norm_input_gradient(
                dx,
                g,
                self.row(repeated, SCALE, n),
                self.row(repeated, MEAN_G, n),
                self.row(repeated, MEAN, n),
                self.row(repeated, SLOPE, n),
            );
        };
        // With `g` kept, or a single term that nothing masks, the gradient is there already.
        let ready = self
            .g
            .or((!self.masked && self.dy[1] == EMPTY).then_some(self.dy[0]));
        if let Some(g) = ready {
            let ([x, g, repeated], [dx]) = storage.operands([x_region, g, self.repeated], [dx])?;
            for_each_chunk_mut([(dx, rows.chunk)], |i, [dx]| {
                for (k, dx) in dx.chunks_mut(width).enumerate() {
                    let first = i * rows.chunk + k * width;
                    if !in_place {
                        dx.copy_from_slice(&x[first..first + dx.len()]);
                    }
                    apply(dx, &g[first..first + dx.len()], repeated);
                }
            });
            return Ok(());
        }
        let reads = [
            x_region,
            self.output.unwrap_or(EMPTY),
            self.dy[0],
            self.dy[1],
            self.repeated,
        ];
        let ([x, output, a, b, repeated], [dx, partials]) =
            storage.operands(reads, [dx, self.partials])?;
        for_each_chunk_mut(
            [(dx, rows.chunk), (partials, 3 * width)],
            |i, [dx, scratch]| {
                for (k, dx) in dx.chunks_mut(width).enumerate() {
                    let first = i * rows.chunk + k * width;
                    let part = first..first + dx.len();
                    if !in_place {
                        dx.copy_from_slice(&x[part.clone()]);
                    }
                    let cut = |s: &[f32]| -> std::ops::Range<usize> {
                        if s.is_empty() { 0..0 } else { part.clone() }
                    };
                    let sources = Sources {
                        x: dx,
                        output: &output[cut(output)],
                        dy: [&a[cut(a)], &b[cut(b)]],
                        repeated,
                    };
                    let g = &mut scratch[..part.len()];
                    self.gradient(&sources, 0, g);
                    apply(dx, g, repeated);
                }
            },
        );
        Ok(())
    }
}

impl CpuKernel for BoundBackward {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        self.repeat_saved(storage)?;
        self.sums(storage)?;
        self.combine(storage)?;
        self.dx
            .map_or(Ok(()), |dx| self.input_gradient(storage, dx))
    }
}
