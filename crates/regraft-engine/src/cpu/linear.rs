//! Linear layers: oneDNN's inner product.

use super::primitives::eltwise;
use super::weights::{ReadsWeight, WeightGradient, WeightSource, WritesGradient};
use crate::parameters::Parameters;
use crate::program::{Kernel, Program, ValueId};
use regraft_onednn::{Arg, Attributes, DataType, InnerProduct, OnednnError, PostOp};

/// `weight` is `[out_features, in_features]`; `x` has any number of rows.
fn inner_product(program: &Program, x: ValueId, weight: ValueId, bias: bool) -> InnerProduct {
    let weight = &program.value(weight).dims;
    InnerProduct {
        rows: program.value(x).len() / weight[1],
        in_features: weight[1],
        out_features: weight[0],
        bias,
        data_type: DataType::F32,
    }
}

/// A linear layer's call.
pub(super) fn forward(
    program: &Program,
    kernel: &Kernel,
    parameters: &Parameters,
) -> Result<ReadsWeight, OnednnError> {
    let Kernel::Linear {
        x,
        weight,
        bias,
        activation,
        y,
    } = kernel
    else {
        unreachable!("called for this kernel only");
    };
    let product = inner_product(program, *x, *weight, bias.is_some());
    let post_ops: Vec<_> = activation
        .iter()
        .map(|a| PostOp::Eltwise(eltwise(*a)))
        .collect();
    let desc = product.forward(
        false,
        &Attributes {
            post_ops: &post_ops,
        },
    )?;
    let plain = product.plain_weights(DataType::F32)?;
    let weight = WeightSource::new(
        program,
        *weight,
        &plain,
        desc.memory(Arg::Weights)?,
        parameters,
    )?;
    let mut args = vec![(Arg::Src, *x), (Arg::Dst, *y)];
    args.extend(bias.map(|b| (Arg::Bias, b)));
    Ok(ReadsWeight { desc, args, weight })
}

/// The call for the gradient of its input.
pub(super) fn backward_data(
    program: &Program,
    kernel: &Kernel,
    parameters: &Parameters,
) -> Result<ReadsWeight, OnednnError> {
    let Kernel::LinearBackwardData { dy, weight, dx } = kernel else {
        unreachable!("called for this kernel only");
    };
    let product = inner_product(program, *dx, *weight, false);
    let desc = product.backward_data()?;
    let plain = product.plain_weights(DataType::F32)?;
    let weight = WeightSource::new(
        program,
        *weight,
        &plain,
        desc.memory(Arg::Weights)?,
        parameters,
    )?;
    Ok(ReadsWeight {
        desc,
        args: vec![(Arg::DiffDst, *dy), (Arg::DiffSrc, *dx)],
        weight,
    })
}

/// The call for the gradient of its weight and bias.
pub(super) fn backward_weights(
    program: &Program,
    kernel: &Kernel,
) -> Result<WritesGradient, OnednnError> {
    let Kernel::LinearBackwardWeights { x, dy, dw, db } = kernel else {
        unreachable!("called for this kernel only");
    };
    let product = inner_product(program, *x, *dw, db.is_some());
    let desc = product.backward_weights()?;
    let plain = product.plain_weights(DataType::F32)?;
    let gradient = WeightGradient::new(*dw, desc.memory(Arg::DiffWeights)?, &plain)?;
    let mut args = vec![(Arg::Src, *x), (Arg::DiffDst, *dy)];
    args.extend(db.map(|db| (Arg::DiffBias, db)));
    Ok(WritesGradient {
        desc,
        args,
        gradient,
    })
}
