//! Sums of values of one shape.

use super::simd::{self, CHUNK};
use super::{Bind, CpuKernel, Prototype, Run};
use crate::program::ValueId;
use regraft_onednn::{OnednnError, Region, Storage, for_each_chunk_mut};

pub(super) struct Sum {
    terms: Vec<ValueId>,
    y: ValueId,
}

impl Sum {
    pub(super) fn new(terms: &[ValueId], y: ValueId) -> Self {
        Self {
            terms: terms.to_vec(),
            y,
        }
    }
}

impl Prototype for Sum {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(Vec::new())
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        _: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let y = bind.region(self.y);
        let terms: Vec<_> = self.terms.iter().map(|t| bind.region(*t)).collect();
        Ok(Box::new(Bound {
            in_place: terms.first() == Some(&y),
            terms,
            y,
        }))
    }
}

struct Bound {
    terms: Vec<Region>,
    y: Region,
    in_place: bool,
}

impl CpuKernel for Bound {
    fn run(&self, storage: &mut Storage, _: &Run<'_>) -> Result<(), OnednnError> {
        // The first two terms in one pass; a third is rare.
        let rest = match self.terms.as_slice() {
            [a, b, rest @ ..] if !self.in_place => {
                let ([a, b], [y]) = storage.operands([*a, *b], [self.y])?;
                for_each_chunk_mut([(y, CHUNK)], |i, [y]| {
                    let range = i * CHUNK..i * CHUNK + y.len();
                    simd::add(y, &a[range.clone()], &b[range]);
                });
                rest
            }
            terms => &terms[1..],
        };
        for term in rest {
            let ([x], [y]) = storage.operands([*term], [self.y])?;
            for_each_chunk_mut([(y, CHUNK)], |i, [y]| {
                simd::add_assign(y, &x[i * CHUNK..i * CHUNK + y.len()]);
            });
        }
        Ok(())
    }
}
