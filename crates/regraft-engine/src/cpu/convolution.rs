//! Convolutions: oneDNN's, with bias, residual and activation as post-ops and weights in the layout it asks for.

use super::primitives::{activation_desc, eltwise};
use super::weights::{ReadsWeight, WeightGradient, WeightSource, WritesGradient};
use crate::parameters::Parameters;
use crate::program::{ConvShape, Kernel, Program};
use regraft_onednn::{Arg, Attributes, Binary, Convolution, DataType, OnednnError, PostOp};

fn convolution(shape: &ConvShape, bias: bool) -> Convolution {
    let padding = |axis: usize| {
        shape.op.padding.along(
            axis,
            shape.src[axis + 2],
            shape.op.window(axis),
            shape.op.stride[axis],
        )
    };
    let ((top, mut bottom), (left, mut right)) = (padding(0), padding(1));
    // oneDNN wants the padding that the windows reach, not rows that stride skips.
    let reach = |axis: usize, begin: usize| {
        let used = (shape.dst[axis + 2] - 1) * shape.op.stride[axis] + shape.op.window(axis);
        used.saturating_sub(shape.src[axis + 2] + begin)
    };
    bottom = bottom.min(reach(0, top));
    right = right.min(reach(1, left));
    Convolution {
        src: shape.src,
        dst: shape.dst,
        kernel: shape.op.kernel_size,
        stride: shape.op.stride,
        dilation: shape.op.dilation,
        padding_begin: [top, left],
        padding_end: [bottom, right],
        groups: shape.op.groups,
        bias,
        data_type: DataType::F32,
    }
}

/// A convolution's call.
pub(super) fn forward(
    program: &Program,
    kernel: &Kernel,
    parameters: &Parameters,
) -> Result<ReadsWeight, OnednnError> {
    let Kernel::Conv2d {
        shape,
        x,
        weight,
        bias,
        residual,
        activation,
        y,
    } = kernel
    else {
        unreachable!("called for this kernel only");
    };
    let conv = convolution(shape, bias.is_some());
    let residual_desc = activation_desc(&shape.dst)?;
    let mut post_ops = Vec::new();
    let mut args = vec![(Arg::Src, *x), (Arg::Dst, *y)];
    args.extend(bias.map(|b| (Arg::Bias, b)));
    if let Some(residual) = residual {
        args.push((Arg::PostOp(post_ops.len()), *residual));
        post_ops.push(PostOp::Binary(Binary::Add, &residual_desc));
    }
    if let Some(activation) = activation {
        post_ops.push(PostOp::Eltwise(eltwise(*activation)));
    }
    let desc = conv.forward(
        false,
        &Attributes {
            post_ops: &post_ops,
        },
    )?;
    tracing::trace!(
        ?shape,
        implementation = desc.implementation(),
        "convolution forward"
    );
    let plain = conv.plain_weights(DataType::F32)?;
    let weight = WeightSource::new(
        program,
        *weight,
        &plain,
        desc.memory(Arg::Weights)?,
        parameters,
    )?;
    Ok(ReadsWeight { desc, args, weight })
}

/// The call for the gradient of its input.
pub(super) fn backward_data(
    program: &Program,
    kernel: &Kernel,
    parameters: &Parameters,
) -> Result<ReadsWeight, OnednnError> {
    let Kernel::Conv2dBackwardData {
        shape,
        dy,
        weight,
        dx,
    } = kernel
    else {
        unreachable!("called for this kernel only");
    };
    let conv = convolution(shape, false);
    let desc = conv.backward_data(&Attributes::default())?;
    tracing::trace!(
        ?shape,
        implementation = desc.implementation(),
        "convolution backward data"
    );
    let plain = conv.plain_weights(DataType::F32)?;
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
pub(super) fn backward_weights(kernel: &Kernel) -> Result<WritesGradient, OnednnError> {
    let Kernel::Conv2dBackwardWeights {
        shape,
        x,
        dy,
        dw,
        db,
    } = kernel
    else {
        unreachable!("called for this kernel only");
    };
    let conv = convolution(shape, db.is_some());
    let desc = conv.backward_weights()?;
    tracing::trace!(
        ?shape,
        implementation = desc.implementation(),
        "convolution backward weights"
    );
    let plain = conv.plain_weights(DataType::F32)?;
    let gradient = WeightGradient::new(*dw, desc.memory(Arg::DiffWeights)?, &plain)?;
    let mut args = vec![(Arg::Src, *x), (Arg::DiffDst, *dy)];
    args.extend(db.map(|db| (Arg::DiffBias, db)));
    Ok(WritesGradient {
        desc,
        args,
        gradient,
    })
}
