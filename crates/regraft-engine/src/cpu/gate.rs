//! Channels scaled by one factor for each image, as squeeze-and-excitation does, and what its backward pass needs.

use super::simd::{self, CHUNK};
use super::{Bind, CpuKernel, EMPTY, Prototype, Run};
use crate::program::{Program, ValueId};
use regraft_onednn::{OnednnError, Region, Storage, for_each_chunk_mut};

/// `[batch, channels, height, width]` in channels-last memory.
#[derive(Debug, Clone, Copy)]
struct Images {
    positions: usize,
    channels: usize,
}

impl Images {
    fn of(program: &Program, id: ValueId) -> Self {
        let dims = &program.value(id).dims;
        Self {
            positions: dims[2..].iter().product(),
            channels: dims[1],
        }
    }

    fn len(self) -> usize {
        self.positions * self.channels
    }

    /// Elements of whole rows that one task works on.
    fn chunk(self) -> usize {
        self.channels * (CHUNK / self.channels).max(1)
    }

    /// Cuts the elements from `first` on, `len` of them, where an image ends. Gives the image and the elements, counted
    /// from `first`.
    fn parts(
        self,
        first: usize,
        len: usize,
    ) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        (first / self.len()..=(first + len - 1) / self.len()).map(move |image| {
            let start = (image * self.len()).max(first) - first;
            let end = ((image + 1) * self.len()).min(first + len) - first;
            (image, start..end)
        })
    }
}

/// `y = x * gate + mean / positions`.
pub(super) struct ScaleChannels {
    images: Images,
    x: ValueId,
    gate: Option<ValueId>,
    mean: Option<ValueId>,
    y: ValueId,
}

impl ScaleChannels {
    pub(super) fn new(
        program: &Program,
        [x, y]: [ValueId; 2],
        gate: Option<ValueId>,
        mean: Option<ValueId>,
    ) -> Self {
        Self {
            images: Images::of(program, y),
            x,
            gate,
            mean,
            y,
        }
    }
}

impl Prototype for ScaleChannels {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let (x, y) = (bind.region(self.x), bind.region(self.y));
        Ok(Box::new(BoundScale {
            images: self.images,
            x: if x == y { EMPTY } else { x },
            gate: bind.optional(self.gate),
            mean: bind.optional(self.mean),
            y,
        }))
    }
}

struct BoundScale {
    images: Images,
    /// Empty where the result takes its place.
    x: Region,
    gate: Region,
    mean: Region,
    y: Region,
}

impl CpuKernel for BoundScale {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([x, gate, mean], [y]) = storage.operands([self.x, self.gate, self.mean], [self.y])?;
        let (images, c) = (self.images, self.images.channels);
        let share = 1.0 / images.positions as f32;
        let of = |values: &'_ [f32], image: usize| -> std::ops::Range<usize> {
            if values.is_empty() {
                0..0
            } else {
                image * c..(image + 1) * c
            }
        };
        for_each_chunk_mut([(y, images.chunk())], |i, [y]| {
            let first = i * images.chunk();
            for (image, part) in images.parts(first, y.len()) {
                let y = &mut y[part.clone()];
                let (gate, mean) = (&gate[of(gate, image)], &mean[of(mean, image)]);
                if !x.is_empty() {
                    let x = &x[first + part.start..first + part.end];
                    if mean.is_empty() {
                        simd::scale_channels_of(x, gate, y);
                        continue;
                    }
                    y.copy_from_slice(x);
                }
                match (gate, mean) {
                    (gate, []) => simd::scale_channels(y, gate),
                    ([], mean) => simd::add_channels(y, mean, share),
                    (gate, mean) => simd::scale_and_add_channels(y, gate, mean, share),
                }
            }
        });
        Ok(())
    }
}

/// `dgate`: the sum of `x * dy` over each image.
pub(super) struct GateGradient {
    images: Images,
    x: ValueId,
    dy: ValueId,
    dgate: ValueId,
}

impl GateGradient {
    pub(super) fn new(program: &Program, x: ValueId, dy: ValueId, dgate: ValueId) -> Self {
        Self {
            images: Images::of(program, x),
            x,
            dy,
            dgate,
        }
    }
}

impl Prototype for GateGradient {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        Ok(Box::new(BoundGateGradient {
            images: self.images,
            x: bind.region(self.x),
            dy: bind.region(self.dy),
            dgate: bind.region(self.dgate),
        }))
    }
}

struct BoundGateGradient {
    images: Images,
    x: Region,
    dy: Region,
    dgate: Region,
}

impl CpuKernel for BoundGateGradient {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([x, dy], [dgate]) = storage.operands([self.x, self.dy], [self.dgate])?;
        let len = self.images.len();
        for_each_chunk_mut([(dgate, self.images.channels)], |i, [dgate]| {
            let image = i * len..(i + 1) * len;
            dgate.fill(0.0);
            simd::add_products(&x[image.clone()], &dy[image], dgate);
        });
        Ok(())
    }
}

/// The element-wise product of two values.
pub(super) struct Product {
    a: ValueId,
    b: ValueId,
    y: ValueId,
}

impl Product {
    pub(super) fn new(a: ValueId, b: ValueId, y: ValueId) -> Self {
        Self { a, b, y }
    }
}

impl Prototype for Product {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        Ok(Box::new(BoundProduct {
            a: bind.region(self.a),
            b: bind.region(self.b),
            y: bind.region(self.y),
        }))
    }
}

struct BoundProduct {
    a: Region,
    b: Region,
    y: Region,
}

impl CpuKernel for BoundProduct {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([a, b], [y]) = storage.operands([self.a, self.b], [self.y])?;
        for_each_chunk_mut([(y, CHUNK)], |i, [y]| {
            let range = i * CHUNK..i * CHUNK + y.len();
            simd::multiply(y, &a[range.clone()], &b[range]);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_cut_where_an_image_ends() {
        let images = Images {
            positions: 3,
            channels: 2,
        };
        let parts: Vec<_> = images.parts(4, 10).collect();
        assert_eq!(parts, [(0, 0..2), (1, 2..8), (2, 8..10)]);
        assert_eq!(images.parts(6, 6).collect::<Vec<_>>(), [(1, 0..6)]);
    }
}
