//! Means over as many parts of an image as the result has positions. The parts of neighbours may overlap.

use super::simd;
use super::{Bind, CpuKernel, Prototype, Run};
use crate::program::{Program, ValueId};
use regraft_graph::AdaptiveAvgPool2d;
use regraft_onednn::{OnednnError, Region, Storage, for_each_chunk_mut};

/// Extents of the large and the small image.
#[derive(Debug, Clone, Copy)]
struct Extents {
    channels: usize,
    input: [usize; 2],
    output: [usize; 2],
}

impl Extents {
    fn of(program: &Program, input: ValueId, output: ValueId) -> Self {
        let size = |id: ValueId| {
            // What is one position may be flat.
            let dims = &program.value(id).dims;
            [2, 3].map(|axis| dims.get(axis).copied().unwrap_or(1))
        };
        Self {
            channels: program.value(input).dims[1],
            input: size(input),
            output: size(output),
        }
    }

    fn input_len(self) -> usize {
        self.input[0] * self.input[1] * self.channels
    }

    fn output_len(self) -> usize {
        self.output[0] * self.output[1] * self.channels
    }

    /// For each position of the output: the number of positions that it is the mean of, and for each row of them the
    /// elements in an input image.
    fn windows(
        self,
    ) -> impl Iterator<Item = (usize, impl Iterator<Item = std::ops::Range<usize>>)> {
        let [width, c] = [self.input[1], self.channels];
        let window =
            move |axis: usize, i| AdaptiveAvgPool2d::window(i, self.input[axis], self.output[axis]);
        (0..self.output[0]).flat_map(move |oy| {
            (0..self.output[1]).map(move |ox| {
                let (rows, columns) = (window(0, oy), window(1, ox));
                let count = rows.len() * columns.len();
                let elements = rows
                    .map(move |y| (y * width + columns.start) * c..(y * width + columns.end) * c);
                (count, elements)
            })
        })
    }
}

/// The means.
pub(super) struct AdaptiveMean {
    extents: Extents,
    x: ValueId,
    y: ValueId,
}

impl AdaptiveMean {
    pub(super) fn new(program: &Program, x: ValueId, y: ValueId) -> Self {
        Self {
            extents: Extents::of(program, x, y),
            x,
            y,
        }
    }
}

impl Prototype for AdaptiveMean {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        Ok(Box::new(BoundMean {
            extents: self.extents,
            x: bind.region(self.x),
            y: bind.region(self.y),
        }))
    }
}

struct BoundMean {
    extents: Extents,
    x: Region,
    y: Region,
}

impl CpuKernel for BoundMean {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([x], [y]) = storage.operands([self.x], [self.y])?;
        let extents = self.extents;
        for_each_chunk_mut([(y, extents.output_len())], |i, [y]| {
            let x = &x[i * extents.input_len()..(i + 1) * extents.input_len()];
            for (y, (count, elements)) in y.chunks_mut(extents.channels).zip(extents.windows()) {
                y.fill(0.0);
                for row in elements {
                    simd::add_rows(&x[row], y);
                }
                simd::scale(y, 1.0 / count as f32);
            }
        });
        Ok(())
    }
}

/// Their gradient: the same share for every position of a window.
pub(super) struct AdaptiveMeanBackward {
    extents: Extents,
    dy: ValueId,
    dx: ValueId,
}

impl AdaptiveMeanBackward {
    pub(super) fn new(program: &Program, dy: ValueId, dx: ValueId) -> Self {
        Self {
            extents: Extents::of(program, dx, dy),
            dy,
            dx,
        }
    }
}

impl Prototype for AdaptiveMeanBackward {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        Ok(Box::new(BoundMeanBackward {
            extents: self.extents,
            dy: bind.region(self.dy),
            dx: bind.region(self.dx),
        }))
    }
}

struct BoundMeanBackward {
    extents: Extents,
    dy: Region,
    dx: Region,
}

impl CpuKernel for BoundMeanBackward {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([dy], [dx]) = storage.operands([self.dy], [self.dx])?;
        let extents = self.extents;
        for_each_chunk_mut([(dx, extents.input_len())], |i, [dx]| {
            let dy = &dy[i * extents.output_len()..(i + 1) * extents.output_len()];
            dx.fill(0.0);
            for (dy, (count, elements)) in dy.chunks(extents.channels).zip(extents.windows()) {
                let share = 1.0 / count as f32;
                for row in elements {
                    simd::add_channels(&mut dx[row], dy, share);
                }
            }
        });
        Ok(())
    }
}
