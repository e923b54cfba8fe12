//! This crate is a thin safe binding of the oneDNN calls that Regraft uses. A primitive is described (for example by a
//! [`Convolution`]), oneDNN chooses an implementation (a [`PrimitiveDesc`], which tells layouts and sizes), and
//! [`PrimitiveDesc::bind`] ties it to regions of a [`Storage`]: memory that never moves. A [`BoundPrimitive`] then runs
//! without allocating. Generated code is kept in oneDNN's own primitive cache, scratchpads are the caller's memory.
//!
//! It knows no model and no training. All `unsafe` code of the kernels is here.
//!
//! ```
//! use regraft_onednn::{Arg, Attributes, Convolution, DataType, Storage, Stream};
//!
//! let conv = Convolution {
//!     src: [1, 1, 2, 2], dst: [1, 1, 1, 1], kernel: [2, 2], stride: [1, 1], dilation: [1, 1],
//!     padding_begin: [0, 0], padding_end: [0, 0], groups: 1, bias: false, data_type: DataType::F32,
//! };
//! let forward = conv.forward(false, &Attributes::default())?;
//! let mut storage = Storage::new();
//! let mut region = |arg| storage.add_segment(forward.bytes(arg)?);
//! let (src, weights, dst) = (region(Arg::Src)?, region(Arg::Weights)?, region(Arg::Dst)?);
//! let scratchpad = region(Arg::Scratchpad)?;
//! storage.slice_mut(src)?.copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
//! storage.slice_mut(weights)?.fill(1.0); // all ones: the same in every layout
//! let bound = forward.bind(
//!     &storage,
//!     &[(Arg::Src, src), (Arg::Weights, weights), (Arg::Dst, dst), (Arg::Scratchpad, scratchpad)],
//! )?;
//! bound.execute(&mut storage, &Stream::new()?)?;
//! assert_eq!(storage.slice(dst)?, [10.0]);
//! # Ok::<(), regraft_onednn::OnednnError>(())
//! ```
#![warn(missing_docs)]

// Links the bundled library.
#[cfg(feature = "bundled")]
use onednn_src as _;

mod convolution;
mod elementwise;
mod error;
mod ffi;
mod memory;
mod normalization;
mod pooling;
mod post_ops;
mod primitive;
mod product;
mod storage;
mod threads;

pub use convolution::Convolution;
pub use elementwise::{
    Reduction, binary, concat, eltwise_backward, eltwise_forward, reduction, reorder,
    softmax_backward, softmax_forward, sum,
};
pub use error::OnednnError;
pub use memory::{DataType, Layout, MemoryDesc};
pub use normalization::{BatchNormalization, LayerNormalization};
pub use pooling::{Pooling, PoolingKind};
pub use post_ops::{Attributes, Binary, Eltwise, PostOp};
pub use primitive::{Arg, BoundPrimitive, PrimitiveDesc, Stream};
pub use product::{InnerProduct, matmul};
pub use storage::{ALIGNMENT, Operands, Region, Storage};
pub use threads::{for_each_chunk_mut, on_one_thread, parallel, set_threads, threads};

/// The version of oneDNN that is linked, for example `3.14.1`.
pub fn version() -> String {
    // SAFETY: the call returns a pointer to a static structure.
    #[expect(unsafe_code, reason = "C call")]
    let version = unsafe { &*ffi::dnnl_version() };
    format!("{}.{}.{}", version.major, version.minor, version.patch)
}
