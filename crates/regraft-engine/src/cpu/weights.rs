//! Weights in the layout that a primitive asks for: frozen ones are reordered once, trainable ones in every step.

use super::primitives::Sequence;
use super::{Bind, CpuKernel, Prototype};
use crate::parameters::Parameters;
use crate::program::{Place, Program, ValueId};
use regraft_graph::ParamId;
use regraft_onednn::{
    Arg, BoundPrimitive, MemoryDesc, OnednnError, PrimitiveDesc, Region, Storage, Stream, reorder,
};

/// Frozen weights in other layouts, shared by all plans of a session.
#[derive(Default)]
pub(crate) struct PreparedWeights {
    entries: Vec<Entry>,
}

struct Entry {
    param: ParamId,
    desc: MemoryDesc,
    region: Region,
    reorder: BoundPrimitive,
}

impl PreparedWeights {
    fn get(
        &mut self,
        param: ParamId,
        from: Region,
        plan: &ReorderPlan,
        storage: &mut Storage,
        stream: &Stream,
    ) -> Result<Region, OnednnError> {
        if let Some(entry) = self
            .entries
            .iter()
            .find(|e| e.param == param && e.desc == plan.wanted)
        {
            return Ok(entry.region);
        }
        let region = storage.add_segment(plan.wanted.bytes())?;
        let scratchpad = storage.add_segment(plan.reorder.bytes(Arg::Scratchpad)?)?;
        let args = [
            (Arg::Src, from),
            (Arg::Dst, region),
            (Arg::Scratchpad, scratchpad),
        ];
        let reorder = plan.reorder.bind(storage, &args)?;
        reorder.execute(storage, stream)?;
        self.entries.push(Entry {
            param,
            desc: plan.wanted.clone(),
            region,
            reorder,
        });
        Ok(region)
    }

    /// Reorders again, after the parameters were changed from outside.
    pub(crate) fn refresh(&self, storage: &mut Storage) -> Result<(), OnednnError> {
        let stream = Stream::new()?;
        self.entries
            .iter()
            .try_for_each(|e| e.reorder.execute(storage, &stream))
    }
}

/// A change of layout.
pub(super) struct ReorderPlan {
    pub(super) wanted: MemoryDesc,
    pub(super) reorder: PrimitiveDesc,
}

impl ReorderPlan {
    /// From one layout to another; `None` if they are the same.
    pub(super) fn between(
        from: &MemoryDesc,
        to: &MemoryDesc,
        wanted: MemoryDesc,
    ) -> Result<Option<Self>, OnednnError> {
        if from == to {
            return Ok(None);
        }
        Ok(Some(Self {
            wanted,
            reorder: reorder(from, to)?,
        }))
    }

    /// Bytes of the reordered array and of the scratchpad.
    pub(super) fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(vec![
            self.wanted.bytes(),
            self.reorder.bytes(Arg::Scratchpad)?,
        ])
    }
}

/// How a kernel gets at a weight.
pub(super) struct WeightSource {
    value: ValueId,
    frozen: Option<ParamId>,
    plan: Option<ReorderPlan>,
}

impl WeightSource {
    /// A weight stored as `plain` that a primitive wants as `wanted`.
    pub(super) fn new(
        program: &Program,
        value: ValueId,
        plain: &MemoryDesc,
        wanted: MemoryDesc,
        parameters: &Parameters,
    ) -> Result<Self, OnednnError> {
        let frozen = match program.value(value).place {
            Place::Parameter(id)
                if parameters.region(id).segment != parameters.values_block.segment =>
            {
                Some(id)
            }
            _ => None,
        };
        let plan = ReorderPlan::between(plain, &wanted.clone(), wanted)?;
        Ok(Self {
            value,
            frozen,
            plan,
        })
    }

    /// Temporaries for reordering in every step.
    pub(super) fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        match &self.plan {
            Some(plan) if self.frozen.is_none() => plan.temporaries(),
            _ => Ok(vec![0, 0]),
        }
    }

    /// Where the primitive finds the weight, and what must run before it. `temporaries` are the two asked for.
    pub(super) fn bind(
        &self,
        bind: &mut Bind<'_>,
        temporaries: &[Region],
    ) -> Result<(Region, Option<BoundPrimitive>), OnednnError> {
        let stored = bind.region(self.value);
        match (&self.plan, self.frozen) {
            (None, _) => Ok((stored, None)),
            (Some(plan), Some(param)) => {
                let region = bind
                    .weights
                    .get(param, stored, plan, bind.storage, bind.stream)?;
                Ok((region, None))
            }
            (Some(plan), None) => {
                let args = [
                    (Arg::Src, stored),
                    (Arg::Dst, temporaries[0]),
                    (Arg::Scratchpad, temporaries[1]),
                ];
                Ok((
                    temporaries[0],
                    Some(plan.reorder.bind(bind.storage, &args)?),
                ))
            }
        }
    }
}

/// How a kernel delivers the gradient of a weight: straight into the block, or reordered into it.
pub(super) struct WeightGradient {
    pub(super) value: ValueId,
    plan: Option<ReorderPlan>,
}

impl WeightGradient {
    /// A gradient that a primitive computes as `computed` and that is stored as `plain`.
    pub(super) fn new(
        value: ValueId,
        computed: MemoryDesc,
        plain: &MemoryDesc,
    ) -> Result<Self, OnednnError> {
        let plan = ReorderPlan::between(&computed.clone(), plain, computed)?;
        Ok(Self { value, plan })
    }

    pub(super) fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        self.plan
            .as_ref()
            .map_or_else(|| Ok(vec![0, 0]), ReorderPlan::temporaries)
    }

    /// Where the primitive writes, and what must run after it.
    pub(super) fn bind(
        &self,
        bind: &mut Bind<'_>,
        temporaries: &[Region],
    ) -> Result<(Region, Option<BoundPrimitive>), OnednnError> {
        let stored = bind.region(self.value);
        let Some(plan) = &self.plan else {
            return Ok((stored, None));
        };
        let args = [
            (Arg::Src, temporaries[0]),
            (Arg::Dst, stored),
            (Arg::Scratchpad, temporaries[1]),
        ];
        Ok((
            temporaries[0],
            Some(plan.reorder.bind(bind.storage, &args)?),
        ))
    }
}

/// A primitive that reads a weight.
pub(super) struct ReadsWeight {
    pub(super) desc: PrimitiveDesc,
    pub(super) args: Vec<(Arg, ValueId)>,
    pub(super) weight: WeightSource,
}

impl Prototype for ReadsWeight {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        let mut sizes = self.weight.temporaries()?;
        sizes.push(self.desc.bytes(Arg::Scratchpad)?);
        Ok(sizes)
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        temporaries: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let (weight, before) = self.weight.bind(bind, &temporaries[..2])?;
        let mut args: Vec<_> = self
            .args
            .iter()
            .map(|(arg, id)| (*arg, bind.region(*id)))
            .collect();
        args.extend([(Arg::Weights, weight), (Arg::Scratchpad, temporaries[2])]);
        let main = self.desc.bind(bind.storage, &args)?;
        Ok(Box::new(Sequence(
            before.into_iter().chain([main]).collect(),
        )))
    }
}

/// A primitive that computes the gradient of a weight.
pub(super) struct WritesGradient {
    pub(super) desc: PrimitiveDesc,
    pub(super) args: Vec<(Arg, ValueId)>,
    pub(super) gradient: WeightGradient,
}

impl Prototype for WritesGradient {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        let mut sizes = self.gradient.temporaries()?;
        sizes.push(self.desc.bytes(Arg::Scratchpad)?);
        Ok(sizes)
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        temporaries: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let (weights, after) = self.gradient.bind(bind, &temporaries[..2])?;
        let mut args: Vec<_> = self
            .args
            .iter()
            .map(|(arg, id)| (*arg, bind.region(*id)))
            .collect();
        args.extend([
            (Arg::DiffWeights, weights),
            (Arg::Scratchpad, temporaries[2]),
        ]);
        let main = self.desc.bind(bind.storage, &args)?;
        Ok(Box::new(Sequence(
            std::iter::once(main).chain(after).collect(),
        )))
    }
}
