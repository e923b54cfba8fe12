//! Channels joined, taken apart again and dealt.

use super::simd;
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

/// Some of the channels.
pub(super) struct Slice {
    first: usize,
    x: (ValueId, usize),
    y: (ValueId, usize),
}

impl Slice {
    pub(super) fn new(program: &Program, first: usize, x: ValueId, y: ValueId) -> Self {
        Self {
            first,
            x: (x, channels(program, x)),
            y: (y, channels(program, y)),
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
        Ok(Box::new(BoundSlice {
            first: self.first,
            x: (bind.region(self.x.0), self.x.1),
            y: (bind.region(self.y.0), self.y.1),
        }))
    }
}

struct BoundSlice {
    first: usize,
    x: (Region, usize),
    y: (Region, usize),
}

impl CpuKernel for BoundSlice {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([x], [y]) = storage.operands([self.x.0], [self.y.0])?;
        let (from, to) = (self.x.1, self.y.1);
        for_each_chunk_mut([(y, ROWS * to)], |i, [y]| {
            for (x, y) in x[i * ROWS * from..].chunks(from).zip(y.chunks_mut(to)) {
                y.copy_from_slice(&x[self.first..self.first + to]);
            }
        });
        Ok(())
    }
}

/// Channels among zeros.
pub(super) struct Pad {
    first: usize,
    x: (ValueId, usize),
    y: (ValueId, usize),
}

impl Pad {
    pub(super) fn new(program: &Program, first: usize, x: ValueId, y: ValueId) -> Self {
        Self {
            first,
            x: (x, channels(program, x)),
            y: (y, channels(program, y)),
        }
    }
}

impl Prototype for Pad {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        Ok(Box::new(BoundPad {
            first: self.first,
            x: (bind.region(self.x.0), self.x.1),
            y: (bind.region(self.y.0), self.y.1),
        }))
    }
}

struct BoundPad {
    first: usize,
    x: (Region, usize),
    y: (Region, usize),
}

impl CpuKernel for BoundPad {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([x], [y]) = storage.operands([self.x.0], [self.y.0])?;
        let (from, to) = (self.x.1, self.y.1);
        for_each_chunk_mut([(y, ROWS * to)], |i, [y]| {
            y.fill(0.0);
            for (x, y) in x[i * ROWS * from..].chunks(from).zip(y.chunks_mut(to)) {
                y[self.first..self.first + from].copy_from_slice(x);
            }
        });
        Ok(())
    }
}

/// Channels dealt in turn from runs of them.
pub(super) struct Shuffle {
    groups: usize,
    channels: usize,
    x: ValueId,
    y: ValueId,
}

impl Shuffle {
    pub(super) fn new(program: &Program, groups: usize, x: ValueId, y: ValueId) -> Self {
        Self {
            groups,
            channels: channels(program, x),
            x,
            y,
        }
    }
}

impl Prototype for Shuffle {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        Ok(Box::new(BoundShuffle {
            groups: self.groups,
            channels: self.channels,
            x: bind.region(self.x),
            y: bind.region(self.y),
        }))
    }
}

struct BoundShuffle {
    groups: usize,
    channels: usize,
    x: Region,
    y: Region,
}

impl CpuKernel for BoundShuffle {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        let ([x], [y]) = storage.operands([self.x], [self.y])?;
        let (c, groups) = (self.channels, self.groups);
        for_each_chunk_mut([(y, ROWS * c)], |i, [y]| {
            let rows = x[i * ROWS * c..].chunks(c).zip(y.chunks_mut(c));
            for (x, y) in rows {
                simd::transpose(x, groups, y);
            }
        });
        Ok(())
    }
}
