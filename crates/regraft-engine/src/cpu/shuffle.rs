//! Channels joined and taken apart again.

use super::{Bind, CpuKernel, Prototype, Run};
use crate::program::{Program, ValueId};
use regraft_onednn::{OnednnError, Region, Storage, for_each_chunk_mut};

/// Rows (positions of all images) that one task copies.
const ROWS: usize = 256;

/// Elements of a row: channels of a channels-last image, or features.
fn channels(program: &Program, id: ValueId) -> usize {
    program.value(id).dims[1]
}

pub(super) struct Concat {
    /// Inputs with their channels.
    inputs: Vec<(ValueId, usize)>,
    y: ValueId,
    channels: usize,
}

impl Concat {
    pub(super) fn new(program: &Program, inputs: &[ValueId], y: ValueId) -> Self {
        let inputs = inputs
            .iter()
            .map(|id| (*id, channels(program, *id)))
            .collect();
        Self {
            inputs,
            y,
            channels: channels(program, y),
        }
    }
}

impl Prototype for Concat {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let mut first = 0;
        let inputs = self
            .inputs
            .iter()
            .map(|(id, channels)| {
                first += channels;
                (bind.region(*id), first - channels, *channels)
            })
            .collect();
        Ok(Box::new(BoundConcat {
            inputs,
            y: bind.region(self.y),
            channels: self.channels,
        }))
    }
}

struct BoundConcat {
    /// Region, first channel and number of channels of each input.
    inputs: Vec<(Region, usize, usize)>,
    y: Region,
    channels: usize,
}

impl CpuKernel for BoundConcat {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        for (region, first, count) in &self.inputs {
            let ([x], [y]) = storage.operands([*region], [self.y])?;
            for_each_chunk_mut([(y, ROWS * self.channels)], |i, [y]| {
                let rows = x[i * ROWS * count..]
                    .chunks(*count)
                    .zip(y.chunks_mut(self.channels));
                for (x, y) in rows {
                    y[*first..first + count].copy_from_slice(x);
                }
            });
        }
        Ok(())
    }
}

pub(super) struct Slice {
    first: usize,
    dy: (ValueId, usize),
    dx: (ValueId, usize),
}

impl Slice {
    pub(super) fn new(program: &Program, first: usize, dy: ValueId, dx: ValueId) -> Self {
        Self {
            first,
            dy: (dy, channels(program, dy)),
            dx: (dx, channels(program, dx)),
        }
    }
}

impl Prototype for Slice {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let (dy, dx) = (
            (bind.region(self.dy.0), self.dy.1),
            (bind.region(self.dx.0), self.dx.1),
        );
        Ok(Box::new(BoundSlice {
            first: self.first,
            dy,
            dx,
        }))
    }
}

struct BoundSlice {
    first: usize,
    dy: (Region, usize),
    dx: (Region, usize),
}

impl CpuKernel for BoundSlice {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([dy], [dx]) = storage.operands([self.dy.0], [self.dx.0])?;
        let (from, to) = (self.dy.1, self.dx.1);
        for_each_chunk_mut([(dx, ROWS * to)], |i, [dx]| {
            for (dy, dx) in dy[i * ROWS * from..].chunks(from).zip(dx.chunks_mut(to)) {
                dx.copy_from_slice(&dy[self.first..self.first + to]);
            }
        });
        Ok(())
    }
}
