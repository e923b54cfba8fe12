//! Element-wise functions, binary operations, softmax, reductions, sums, concatenation and reorders.

use crate::error::OnednnError;
use crate::ffi;
use crate::memory::MemoryDesc;
use crate::post_ops::{Attributes, Binary, Eltwise};
use crate::primitive::PrimitiveDesc;

/// An element-wise function, its output as its input. `training` is for a backward pass to follow.
///
/// # Errors
/// [`OnednnError::Call`] if oneDNN has no implementation.
pub fn eltwise_forward(
    function: Eltwise,
    desc: &MemoryDesc,
    training: bool,
) -> Result<PrimitiveDesc, OnednnError> {
    let (code, alpha, beta) = function.code();
    forward(code, alpha, beta, desc, training)
}

/// The gradient of an element-wise function. It reads the function's output (bound as `Dst`) if
/// [`Eltwise::differentiates_from_output`], else its input (`Src`).
///
/// # Errors
/// [`OnednnError::Call`] if oneDNN has no implementation.
pub fn eltwise_backward(
    function: Eltwise,
    desc: &MemoryDesc,
) -> Result<PrimitiveDesc, OnednnError> {
    let (code, alpha, beta) = function
        .code_from_output()
        .unwrap_or_else(|| function.code());
    let hint = forward(code, alpha, beta, desc, true)?;
    PrimitiveDesc::create(
        "dnnl_eltwise_backward",
        &Attributes::default(),
        |pd, engine, attr| {
            // SAFETY: all descriptors outlive the call.
            #[expect(unsafe_code, reason = "C call")]
            unsafe {
                ffi::dnnl_eltwise_backward_primitive_desc_create(
                    pd,
                    engine,
                    code,
                    desc.0,
                    desc.0,
                    desc.0,
                    alpha,
                    beta,
                    hint.handle(),
                    attr,
                )
            }
        },
    )
}

fn forward(
    code: i32,
    alpha: f32,
    beta: f32,
    desc: &MemoryDesc,
    training: bool,
) -> Result<PrimitiveDesc, OnednnError> {
    let prop = if training {
        ffi::FORWARD_TRAINING
    } else {
        ffi::FORWARD_INFERENCE
    };
    PrimitiveDesc::create(
        "dnnl_eltwise_forward",
        &Attributes::default(),
        |pd, engine, attr| {
            // SAFETY: the descriptor outlives the call.
            #[expect(unsafe_code, reason = "C call")]
            unsafe {
                ffi::dnnl_eltwise_forward_primitive_desc_create(
                    pd, engine, prop, code, desc.0, desc.0, alpha, beta, attr,
                )
            }
        },
    )
}

/// `dst = a op b`; extents of 1 in `b` are broadcast.
///
/// # Errors
/// [`OnednnError::Call`] if oneDNN has no implementation.
pub fn binary(
    op: Binary,
    a: &MemoryDesc,
    b: &MemoryDesc,
    dst: &MemoryDesc,
    attributes: &Attributes<'_>,
) -> Result<PrimitiveDesc, OnednnError> {
    PrimitiveDesc::create("dnnl_binary", attributes, |pd, engine, attr| {
        // SAFETY: all descriptors outlive the call.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_binary_primitive_desc_create(pd, engine, op.code(), a.0, b.0, dst.0, attr)
        }
    })
}

/// Softmax (or its logarithm) along an axis.
///
/// # Errors
/// [`OnednnError::Call`] if oneDNN has no implementation.
pub fn softmax_forward(
    desc: &MemoryDesc,
    axis: usize,
    logarithm: bool,
    training: bool,
) -> Result<PrimitiveDesc, OnednnError> {
    let prop = if training {
        ffi::FORWARD_TRAINING
    } else {
        ffi::FORWARD_INFERENCE
    };
    PrimitiveDesc::create(
        "dnnl_softmax_forward",
        &Attributes::default(),
        |pd, engine, attr| {
            // SAFETY: the descriptor outlives the call.
            #[expect(unsafe_code, reason = "C call")]
            unsafe {
                ffi::dnnl_softmax_forward_primitive_desc_create(
                    pd,
                    engine,
                    prop,
                    196_608 + i32::from(logarithm),
                    desc.0,
                    desc.0,
                    axis as i32,
                    attr,
                )
            }
        },
    )
}

/// The gradient of softmax (or its logarithm), which reads the output.
///
/// # Errors
/// [`OnednnError::Call`] if oneDNN has no implementation.
pub fn softmax_backward(
    desc: &MemoryDesc,
    axis: usize,
    logarithm: bool,
) -> Result<PrimitiveDesc, OnednnError> {
    let hint = softmax_forward(desc, axis, logarithm, true)?;
    PrimitiveDesc::create(
        "dnnl_softmax_backward",
        &Attributes::default(),
        |pd, engine, attr| {
            // SAFETY: all descriptors outlive the call.
            #[expect(unsafe_code, reason = "C call")]
            unsafe {
                ffi::dnnl_softmax_backward_primitive_desc_create(
                    pd,
                    engine,
                    196_608 + i32::from(logarithm),
                    desc.0,
                    desc.0,
                    desc.0,
                    axis as i32,
                    hint.handle(),
                    attr,
                )
            }
        },
    )
}

/// What a reduction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The largest value.
    Max,
    /// The sum.
    Sum,
    /// The mean.
    Mean,
}

/// Reduces the axes along which `dst` has extent 1.
///
/// # Errors
/// [`OnednnError::Call`] if oneDNN has no implementation.
pub fn reduction(
    kind: Reduction,
    src: &MemoryDesc,
    dst: &MemoryDesc,
) -> Result<PrimitiveDesc, OnednnError> {
    let code = match kind {
        Reduction::Max => 196_594,
        Reduction::Sum => 196_596,
        Reduction::Mean => 196_598,
    };
    PrimitiveDesc::create(
        "dnnl_reduction",
        &Attributes::default(),
        |pd, engine, attr| {
            // SAFETY: all descriptors outlive the call.
            #[expect(unsafe_code, reason = "C call")]
            unsafe {
                ffi::dnnl_reduction_primitive_desc_create(
                    pd, engine, code, src.0, dst.0, 0.0, 0.0, attr,
                )
            }
        },
    )
}

/// Copies between layouts and types.
///
/// # Errors
/// [`OnednnError::Call`] if oneDNN has no implementation.
pub fn reorder(src: &MemoryDesc, dst: &MemoryDesc) -> Result<PrimitiveDesc, OnednnError> {
    PrimitiveDesc::create(
        "dnnl_reorder",
        &Attributes::default(),
        |pd, engine, attr| {
            // SAFETY: all descriptors outlive the call.
            #[expect(unsafe_code, reason = "C call")]
            unsafe {
                ffi::dnnl_reorder_primitive_desc_create(pd, src.0, engine, dst.0, engine, attr)
            }
        },
    )
}

/// Joins inputs along an axis.
///
/// # Errors
/// [`OnednnError::Call`] if oneDNN has no implementation.
pub fn concat(
    axis: usize,
    srcs: &[MemoryDesc],
    dst: &MemoryDesc,
) -> Result<PrimitiveDesc, OnednnError> {
    let handles: Vec<ffi::const_handle> = srcs.iter().map(|s| s.0.cast_const()).collect();
    PrimitiveDesc::create("dnnl_concat", &Attributes::default(), |pd, engine, attr| {
        // SAFETY: all descriptors and the array outlive the call.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_concat_primitive_desc_create(
                pd,
                engine,
                dst.0,
                handles.len() as i32,
                axis as i32,
                handles.as_ptr(),
                attr,
            )
        }
    })
}

/// Adds inputs of one shape.
///
/// # Errors
/// [`OnednnError::Call`] if oneDNN has no implementation.
pub fn sum(srcs: &[MemoryDesc], dst: &MemoryDesc) -> Result<PrimitiveDesc, OnednnError> {
    let handles: Vec<ffi::const_handle> = srcs.iter().map(|s| s.0.cast_const()).collect();
    let scales = vec![1.0_f32; srcs.len()];
    PrimitiveDesc::create("dnnl_sum", &Attributes::default(), |pd, engine, attr| {
        // SAFETY: all descriptors and arrays outlive the call.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_sum_primitive_desc_create(
                pd,
                engine,
                dst.0,
                handles.len() as i32,
                scales.as_ptr(),
                handles.as_ptr(),
                attr,
            )
        }
    })
}
