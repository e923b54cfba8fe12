//! Dropout from a counter-based generator: the mask is a function of seed, stream and element, so backward draws it
//! again instead of keeping it, and it does not depend on the number of threads.

use super::simd::{self, CHUNK};
use super::{Bind, CpuKernel, Prototype, Run};
use crate::program::ValueId;
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
        let threshold = (f64::from(self.p) * 4_294_967_296.0) as u32;
        let factor = 1.0 / (1.0 - self.p);
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

/// SplitMix64's finaliser over seed and stream (Steele et al. 2014).
fn stream_key(seed: u64, stream: u32) -> u32 {
    let mut z = seed.wrapping_add((u64::from(stream) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as u32
}
