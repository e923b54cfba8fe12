//! Post-ops: what a primitive does to its result before it is written.

use crate::error::{OnednnError, check};
use crate::ffi;
use crate::memory::MemoryDesc;
use std::ptr;

/// Element-wise functions.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Eltwise {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, low), high)`
    Clip {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// `1 / (1 + exp(-x))`
    Logistic,
    /// `x * logistic(x)`
    Swish,
    /// `clip(alpha * x + beta, 0, 1)`
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x * clip(alpha * x + beta, 0, 1)`
    HardSwish {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// Gaussian error linear unit.
    GeluErf,
    /// Its tanh approximation.
    GeluTanh,
    /// Hyperbolic tangent.
    Tanh,
}

impl Eltwise {
    /// oneDNN's code and its two parameters.
    pub(crate) fn code(self) -> (i32, f32, f32) {
        match self {
            Self::Relu => (32, 0.0, 0.0),
            Self::Tanh => (33, 0.0, 0.0),
            Self::HardSigmoid { alpha, beta } => (40, alpha, beta),
            Self::Logistic => (41, 0.0, 0.0),
            Self::GeluTanh => (43, 0.0, 0.0),
            Self::Swish => (44, 1.0, 0.0),
            Self::Clip { low, high } => (47, low, high),
            Self::GeluErf => (49, 0.0, 0.0),
            Self::HardSwish { alpha, beta } => (52, alpha, beta),
        }
    }

    /// The variant whose backward pass reads the output instead of the input, if there is one.
    pub(crate) fn code_from_output(self) -> Option<(i32, f32, f32)> {
        let (code, alpha, beta) = self.code();
        let from_output = match self {
            Self::Relu => 256,
            Self::Tanh => 257,
            Self::Logistic => 260,
            Self::Clip { .. } => 262,
            _ => return None,
        };
        debug_assert_ne!(code, from_output);
        Some((from_output, alpha, beta))
    }

    /// Whether the backward pass can read the output, so that the input need not be kept.
    pub fn differentiates_from_output(self) -> bool {
        self.code_from_output().is_some()
    }
}

/// Operations of two arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Binary {
    /// Sum.
    Add,
    /// Product.
    Mul,
}

impl Binary {
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Add => 131_056,
            Self::Mul => 131_057,
        }
    }
}

/// One step applied to the result of a primitive.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum PostOp<'a> {
    /// An element-wise function.
    Eltwise(Eltwise),
    /// A binary operation with another memory, bound as [`Arg::PostOp`](crate::Arg::PostOp).
    Binary(Binary, &'a MemoryDesc),
    /// Adds what the output memory held before.
    Sum,
}

/// Post-ops of a primitive, in order. Scratchpads are always the caller's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// The steps.
    pub post_ops: &'a [PostOp<'a>],
}

pub(crate) struct BuiltAttributes(ffi::handle);

impl BuiltAttributes {
    pub(crate) fn handle(&self) -> ffi::const_handle {
        self.0
    }
}

impl Drop for BuiltAttributes {
    fn drop(&mut self) {
        // SAFETY: owned and not used afterwards.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_primitive_attr_destroy(self.0);
        }
    }
}

impl Attributes<'_> {
    pub(crate) fn build(&self) -> Result<BuiltAttributes, OnednnError> {
        let mut attr = ptr::null_mut();
        // SAFETY: creates an owned object.
        #[expect(unsafe_code, reason = "C call")]
        let status = unsafe { ffi::dnnl_primitive_attr_create(&raw mut attr) };
        check("dnnl_primitive_attr_create", status)?;
        let attr = BuiltAttributes(attr);
        // SAFETY: live object; mode 1 leaves the scratchpad to the user.
        #[expect(unsafe_code, reason = "C call")]
        let status = unsafe { ffi::dnnl_primitive_attr_set_scratchpad_mode(attr.0, 1) };
        check("dnnl_primitive_attr_set_scratchpad_mode", status)?;
        if !self.post_ops.is_empty() {
            self.set_post_ops(&attr)?;
        }
        Ok(attr)
    }

    fn set_post_ops(&self, attr: &BuiltAttributes) -> Result<(), OnednnError> {
        let mut ops = ptr::null_mut();
        // SAFETY: creates an owned object, destroyed below on every path: nothing returns in between.
        #[expect(unsafe_code, reason = "C calls")]
        let status = unsafe {
            let mut status = ffi::dnnl_post_ops_create(&raw mut ops);
            for op in self.post_ops {
                if status == 0 {
                    status = match op {
                        PostOp::Eltwise(e) => {
                            let (code, alpha, beta) = e.code();
                            ffi::dnnl_post_ops_append_eltwise(ops, code, alpha, beta)
                        }
                        PostOp::Binary(b, desc) => {
                            ffi::dnnl_post_ops_append_binary(ops, b.code(), desc.0)
                        }
                        PostOp::Sum => ffi::dnnl_post_ops_append_sum(ops, 1.0, 0, 0),
                    };
                }
            }
            if status == 0 {
                status = ffi::dnnl_primitive_attr_set_post_ops(attr.0, ops);
            }
            ffi::dnnl_post_ops_destroy(ops);
            status
        };
        check("dnnl_primitive_attr_set_post_ops", status)
    }
}
