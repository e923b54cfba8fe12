//! Kernels that are one primitive of oneDNN, or a few in a row.

use super::{Bind, CpuKernel, Prototype, Run};
use crate::program::ValueId;
use regraft_graph::Activation;
use regraft_onednn::{
    Arg, BoundPrimitive, DataType, Eltwise, Layout, MemoryDesc, OnednnError, PrimitiveDesc, Region,
    Storage, eltwise_backward, eltwise_forward, reorder,
};

/// Bound primitives that run one after the other.
pub(super) struct Sequence(pub(super) Vec<BoundPrimitive>);

impl CpuKernel for Sequence {
    fn run(&self, storage: &mut Storage, run: &Run<'_>) -> Result<(), OnednnError> {
        self.0
            .iter()
            .try_for_each(|primitive| primitive.execute(storage, run.stream))
    }
}

/// A primitive whose arguments are values, plus its scratchpad.
pub(super) struct Single {
    pub(super) desc: PrimitiveDesc,
    pub(super) args: Vec<(Arg, ValueId)>,
}

impl Prototype for Single {
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError> {
        Ok(vec![self.desc.bytes(Arg::Scratchpad)?])
    }

    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        temporaries: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError> {
        let mut args: Vec<_> = self
            .args
            .iter()
            .map(|(arg, id)| (*arg, bind.region(*id)))
            .collect();
        args.push((Arg::Scratchpad, temporaries[0]));
        Ok(Box::new(Sequence(vec![
            self.desc.bind(bind.storage, &args)?,
        ])))
    }
}

/// oneDNN's name of an activation.
pub(super) fn eltwise(activation: Activation) -> Eltwise {
    match activation {
        Activation::Relu6 => Eltwise::Clip {
            low: 0.0,
            high: 6.0,
        },
        Activation::Sigmoid => Eltwise::Logistic,
        Activation::Silu => Eltwise::Swish,
        Activation::HardSigmoid => Eltwise::HardSigmoid {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        },
        Activation::HardSwish => Eltwise::HardSwish {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        },
        Activation::Gelu => Eltwise::GeluErf,
        Activation::GeluTanh => Eltwise::GeluTanh,
        Activation::Tanh => Eltwise::Tanh,
        _ => Eltwise::Relu,
    }
}

/// Descriptor of an activation: channels-last if it is an image.
pub(super) fn activation_desc(dims: &[usize]) -> Result<MemoryDesc, OnednnError> {
    MemoryDesc::new(dims, DataType::F32, Layout::ChannelsLast)
}

pub(super) fn activation(
    activation: Activation,
    dims: &[usize],
    x: ValueId,
    y: ValueId,
) -> Result<Single, OnednnError> {
    let desc = eltwise_forward(eltwise(activation), &activation_desc(dims)?, false)?;
    Ok(Single {
        desc,
        args: vec![(Arg::Src, x), (Arg::Dst, y)],
    })
}

pub(super) fn activation_backward(
    activation: Activation,
    dims: &[usize],
    data: ValueId,
    dy: ValueId,
    dx: ValueId,
) -> Result<Single, OnednnError> {
    let function = eltwise(activation);
    let desc = eltwise_backward(function, &activation_desc(dims)?)?;
    let data_arg = if function.differentiates_from_output() {
        Arg::Dst
    } else {
        Arg::Src
    };
    Ok(Single {
        desc,
        args: vec![(data_arg, data), (Arg::DiffDst, dy), (Arg::DiffSrc, dx)],
    })
}

pub(super) fn to_channels_first(
    dims: &[usize],
    x: ValueId,
    y: ValueId,
) -> Result<Single, OnednnError> {
    let first = MemoryDesc::new(dims, DataType::F32, Layout::RowMajor)?;
    Ok(Single {
        desc: reorder(&activation_desc(dims)?, &first)?,
        args: vec![(Arg::Src, x), (Arg::Dst, y)],
    })
}

pub(super) fn from_channels_first(
    dims: &[usize],
    dy: ValueId,
    dx: ValueId,
) -> Result<Single, OnednnError> {
    let first = MemoryDesc::new(dims, DataType::F32, Layout::RowMajor)?;
    Ok(Single {
        desc: reorder(&first, &activation_desc(dims)?)?,
        args: vec![(Arg::Src, dy), (Arg::Dst, dx)],
    })
}
