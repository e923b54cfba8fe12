//! Pooling: oneDNN's over windows, loops of ours over whole images.

use super::primitives::Single;
use super::simd;
use super::{Bind, CpuKernel, Prototype, Run};
use crate::program::{Kernel, PoolKind, PoolShape, ValueId};
use regraft_onednn::{
    Arg, DataType, OnednnError, Pooling, PoolingKind, Region, Storage, for_each_chunk_mut,
};

fn pooling(shape: &PoolShape) -> Pooling {
    // In ceil mode the last window may reach beyond the padding.
    let end = |axis: usize| {
        ((shape.dst[axis + 2] - 1) * shape.stride + shape.kernel)
            .saturating_sub(shape.src[axis + 2] + shape.padding)
    };
    Pooling {
        kind: match shape.kind {
            PoolKind::Max => PoolingKind::Max,
            PoolKind::AverageIncludePadding => PoolingKind::AverageIncludePadding,
            PoolKind::AverageExcludePadding => PoolingKind::AverageExcludePadding,
        },
        src: shape.src,
        dst: shape.dst,
        kernel: [shape.kernel; 2],
        stride: [shape.stride; 2],
        padding_begin: [shape.padding; 2],
        padding_end: [end(0), end(1)],
        data_type: DataType::F32,
    }
}

pub(super) fn prototype(kernel: &Kernel) -> Result<Single, OnednnError> {
    let (desc, mut args, workspace) = match kernel {
        Kernel::Pool {
            shape,
            x,
            y,
            workspace,
        } => (
            pooling(shape).forward(workspace.is_some())?,
            vec![(Arg::Src, *x), (Arg::Dst, *y)],
            workspace,
        ),
        Kernel::PoolBackward {
            shape,
            dy,
            dx,
            workspace,
        } => (
            pooling(shape).backward()?,
            vec![(Arg::DiffDst, *dy), (Arg::DiffSrc, *dx)],
            workspace,
        ),
        _ => unreachable!("called for poolings only"),
    };
    args.extend(workspace.map(|w| (Arg::Workspace, w)));
    Ok(Single { desc, args })
}

/// Mean over height and width of `[batch, channels, height, width]`.
pub(super) struct GlobalMean {
    positions: usize,
    channels: usize,
    x: ValueId,
    y: ValueId,
}

impl GlobalMean {
    pub(super) fn new(dims: &[usize], x: ValueId, y: ValueId) -> Self {
        Self {
            positions: dims[2] * dims[3],
            channels: dims[1],
            x,
            y,
        }
    }
}

impl Prototype for GlobalMean {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let (x, y) = (bind.region(self.x), bind.region(self.y));
        Ok(Box::new(BoundMean {
            positions: self.positions,
            channels: self.channels,
            x,
            y,
        }))
    }
}

struct BoundMean {
    positions: usize,
    channels: usize,
    x: Region,
    y: Region,
}

impl CpuKernel for BoundMean {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([x], [y]) = storage.operands([self.x], [self.y])?;
        let image = self.positions * self.channels;
        for_each_chunk_mut([(y, self.channels)], |i, [y]| {
            y.fill(0.0);
            simd::add_rows(&x[i * image..(i + 1) * image], y);
            simd::scale(y, 1.0 / self.positions as f32);
        });
        Ok(())
    }
}

/// The gradient of the mean: the same share for every position.
pub(super) struct GlobalMeanBackward {
    positions: usize,
    channels: usize,
    dy: ValueId,
    dx: ValueId,
}

impl GlobalMeanBackward {
    pub(super) fn new(dims: &[usize], dy: ValueId, dx: ValueId) -> Self {
        Self {
            positions: dims[2] * dims[3],
            channels: dims[1],
            dy,
            dx,
        }
    }
}

impl Prototype for GlobalMeanBackward {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let (dy, dx) = (bind.region(self.dy), bind.region(self.dx));
        Ok(Box::new(BoundMeanBackward {
            positions: self.positions,
            channels: self.channels,
            dy,
            dx,
        }))
    }
}

struct BoundMeanBackward {
    positions: usize,
    channels: usize,
    dy: Region,
    dx: Region,
}

impl CpuKernel for BoundMeanBackward {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([dy], [dx]) = storage.operands([self.dy], [self.dx])?;
        let (c, share) = (self.channels, 1.0 / self.positions as f32);
        for_each_chunk_mut([(dx, self.positions * c)], |i, [dx]| {
            let (first, others) = dx.split_at_mut(c);
            first.copy_from_slice(&dy[i * c..(i + 1) * c]);
            simd::scale(first, share);
            for other in others.chunks_mut(c) {
                other.copy_from_slice(first);
            }
        });
        Ok(())
    }
}
