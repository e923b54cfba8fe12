//! Where parameters live: trainable ones in one contiguous block beside a block of their gradients, the rest apart.

use crate::error::EngineError;
use regraft_graph::{Graph, ParamId, ParameterKind, StateDict};
use regraft_onednn::{Region, Storage};
use std::ops::Range;

/// Slots start at multiples of this many elements, so that vector loads do not straddle cache lines.
const SLOT_ALIGNMENT: usize = 16;

/// A trainable parameter in the contiguous block.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSlot {
    /// Its name.
    pub name: String,
    /// Its extents, in PyTorch's order.
    pub shape: Vec<usize>,
    /// Its role.
    pub kind: ParameterKind,
    /// Its elements in the block, row-major. Between slots there may be a few elements that are always zero.
    pub range: Range<usize>,
}

/// The memory of all parameters of a graph.
#[derive(Debug)]
pub(crate) struct Parameters {
    /// Region of each parameter, by id.
    regions: Vec<Region>,
    gradients: Vec<Option<Region>>,
    pub(crate) slots: Vec<ParamSlot>,
    pub(crate) values_block: Region,
    pub(crate) gradients_block: Region,
}

impl Parameters {
    /// Lays the parameters out in new segments of `storage`.
    pub(crate) fn new(
        graph: &Graph,
        storage: &mut Storage,
        with_gradients: bool,
    ) -> Result<Self, EngineError> {
        let mut slots = Vec::new();
        let (mut trainable_len, mut fixed_len) = (0, 0);
        let starts: Vec<usize> = graph
            .parameters()
            .iter()
            .map(|p| {
                let len = if p.trainable {
                    &mut trainable_len
                } else {
                    &mut fixed_len
                };
                let start = *len;
                *len = (start + p.len()).next_multiple_of(SLOT_ALIGNMENT);
                if p.trainable {
                    slots.push(ParamSlot {
                        name: p.name.clone(),
                        shape: p.shape.clone(),
                        kind: p.kind,
                        range: start..start + p.len(),
                    });
                }
                start
            })
            .collect();
        let values_block = storage.add_segment(trainable_len * 4)?;
        let fixed_block = storage.add_segment(fixed_len * 4)?;
        let gradients_block =
            storage.add_segment(if with_gradients { trainable_len * 4 } else { 0 })?;
        let regions = graph
            .parameters()
            .iter()
            .zip(&starts)
            .map(|(p, start)| {
                if p.trainable {
                    values_block
                } else {
                    fixed_block
                }
                .part(*start, p.len())
            })
            .collect();
        let gradients = graph
            .parameters()
            .iter()
            .zip(&starts)
            .map(|(p, start)| {
                (p.trainable && with_gradients).then(|| gradients_block.part(*start, p.len()))
            })
            .collect();
        Ok(Self {
            regions,
            gradients,
            slots,
            values_block,
            gradients_block,
        })
    }

    pub(crate) fn region(&self, id: ParamId) -> Region {
        self.regions[id.index()]
    }

    pub(crate) fn gradient(&self, id: ParamId) -> Option<Region> {
        self.gradients[id.index()]
    }

    /// Copies values in.
    pub(crate) fn load(
        &self,
        graph: &Graph,
        state: &StateDict,
        storage: &mut Storage,
    ) -> Result<(), EngineError> {
        state.check(graph)?;
        for (p, region) in graph.parameters().iter().zip(&self.regions) {
            let value = state.value(&p.name, &p.shape)?;
            storage.slice_mut(*region)?.copy_from_slice(&value.data);
        }
        Ok(())
    }

    /// Copies values out.
    pub(crate) fn state_dict(
        &self,
        graph: &Graph,
        storage: &Storage,
    ) -> Result<StateDict, EngineError> {
        graph
            .parameters()
            .iter()
            .zip(&self.regions)
            .map(|(p, region)| {
                let data = storage.slice(*region)?.to_vec();
                Ok((
                    p.name.clone(),
                    regraft_graph::HostTensor {
                        shape: p.shape.clone(),
                        data,
                    },
                ))
            })
            .collect()
    }
}
