//! Dropout from a counter-based generator: the mask is a function of seed, stream and element, so backward draws it
//! again instead of keeping it, and it does not depend on the number of threads. Stochastic depth draws once a sample.

use super::simd::{self, CHUNK};
use super::{Bind, CpuKernel, EMPTY, Prototype, Run};
use crate::program::{Program, ValueId};
use regraft_onednn::{OnednnError, Region, Storage, for_each_chunk_mut};

pub(super) struct Dropout {
    p: f32,
    stream: u32,
    x: ValueId,
    y: ValueId,
}

impl Dropout {
    pub(super) fn new(p: f32, stream: u32, x: ValueId, y: ValueId) -> Self {
        Self { p, stream, x, y }
    }
}

impl Prototype for Dropout {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let (x, y) = (bind.region(self.x), bind.region(self.y));
        Ok(Box::new(Bound {
            p: self.p,
            stream: self.stream,
            x,
            y,
        }))
    }
}

struct Bound {
    p: f32,
    stream: u32,
    x: Region,
    y: Region,
}

impl CpuKernel for Bound {
    fn run(&self, storage: &mut Storage, run: &Run<'_>) -> Result<(), OnednnError> {
        let ([x], [y]) = storage.operands([self.x], [self.y])?;
        let key = stream_key(run.seed, self.stream);
        let (threshold, factor) = threshold_and_factor(self.p);
        for_each_chunk_mut([(y, CHUNK)], |i, [y]| {
            let first = i * CHUNK;
            // More than 2^32 elements would repeat the mask; the upper bits of the index change the key instead.
            let key = key ^ (first >> 32) as u32;
            simd::drop_out(
                &x[first..first + y.len()],
                y,
                first as u32,
                key,
                threshold,
                factor,
            );
        });
        Ok(())
    }
}

/// Whole samples dropped, and a residual added.
pub(super) struct StochasticDepth {
    p: f32,
    stream: u32,
    x: ValueId,
    residual: Option<ValueId>,
    y: ValueId,
    sample_len: usize,
}

impl StochasticDepth {
    pub(super) fn new(
        program: &Program,
        (p, stream): (f32, u32),
        [x, y]: [ValueId; 2],
        residual: Option<ValueId>,
    ) -> Self {
        Self {
            p,
            stream,
            x,
            residual,
            y,
            sample_len: program.value(y).dims[1..].iter().product(),
        }
    }
}

impl Prototype for StochasticDepth {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let (x, y) = (bind.region(self.x), bind.region(self.y));
        Ok(Box::new(BoundDepth {
            p: self.p,
            stream: self.stream,
            x: if x == y { EMPTY } else { x },
            residual: bind.optional(self.residual),
            y,
            sample_len: self.sample_len,
        }))
    }
}

struct BoundDepth {
    p: f32,
    stream: u32,
    /// Empty where the result takes its place.
    x: Region,
    residual: Region,
    y: Region,
    sample_len: usize,
}

impl CpuKernel for BoundDepth {
    fn run(&self, storage: &mut Storage, run: &Run<'_>) -> Result<(), OnednnError> {
        let ([x, residual], [y]) = storage.operands([self.x, self.residual], [self.y])?;
        let key = stream_key(run.seed, self.stream);
        let (threshold, factor) = threshold_and_factor(self.p);
        for_each_chunk_mut([(y, self.sample_len)], |sample, [y]| {
            let range = sample * self.sample_len..sample * self.sample_len + y.len();
            let kept = simd::draw(sample as u32, key) >= threshold;
            let factor = if kept { factor } else { 0.0 };
            if !x.is_empty() {
                y.copy_from_slice(&x[range.clone()]);
            }
            if residual.is_empty() {
                simd::scale(y, factor);
            } else {
                simd::scale_and_add(y, factor, &residual[range]);
            }
        });
        Ok(())
    }
}

/// What a draw must reach for an element to be kept, and what it is scaled by then.
fn threshold_and_factor(p: f32) -> (u32, f32) {
    let threshold = (f64::from(p) * 4_294_967_296.0) as u32;
    (threshold, 1.0 / (1.0 - p))
}

/// SplitMix64's finaliser over seed and stream (Steele et al. 2014).
fn stream_key(seed: u64, stream: u32) -> u32 {
    let mut z = seed.wrapping_add((u64::from(stream) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as u32
}
