//! Batch and layer normalisation.

use crate::error::OnednnError;
use crate::ffi;
use crate::memory::{DataType, Layout, MemoryDesc};
use crate::post_ops::Attributes;
use crate::primitive::PrimitiveDesc;
use std::ptr;

const USE_GLOBAL_STATS: u32 = 1;
const USE_SCALE: u32 = 2;
const USE_SHIFT: u32 = 4;
const FUSE_RELU: u32 = 8;

/// Batch normalisation of channels-last `[batch, channels, height, width]` with scale and shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormalization {
    /// Extents of input and output.
    pub dims: [usize; 4],
    /// Added to the variance.
    pub eps: f32,
    /// Whether mean and variance are given instead of computed from the batch.
    pub global_statistics: bool,
    /// Whether a ReLU follows; in training its mask is the workspace.
    pub relu: bool,
    /// Type of the activations.
    pub data_type: DataType,
}

impl BatchNormalization {
    fn flags(&self) -> u32 {
        let global = if self.global_statistics {
            USE_GLOBAL_STATS
        } else {
            0
        };
        let relu = if self.relu { FUSE_RELU } else { 0 };
        USE_SCALE | USE_SHIFT | global | relu
    }

    fn desc(&self) -> Result<MemoryDesc, OnednnError> {
        MemoryDesc::new(&self.dims, self.data_type, Layout::ChannelsLast)
    }

    /// The forward pass; in training, statistics of the batch are outputs unless they are given.
    ///
    /// # Errors
    /// [`OnednnError::Call`] if oneDNN has no implementation.
    pub fn forward(&self, training: bool) -> Result<PrimitiveDesc, OnednnError> {
        let desc = self.desc()?;
        let prop = if training {
            ffi::FORWARD_TRAINING
        } else {
            ffi::FORWARD_INFERENCE
        };
        PrimitiveDesc::create(
            "dnnl_batch_normalization_forward",
            &Attributes::default(),
            |pd, engine, attr| {
                // SAFETY: the descriptor outlives the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_batch_normalization_forward_primitive_desc_create(
                        pd,
                        engine,
                        prop,
                        desc.0,
                        desc.0,
                        self.eps,
                        self.flags(),
                        attr,
                    )
                }
            },
        )
    }

    /// The gradients with respect to input, scale and shift.
    ///
    /// # Errors
    /// As [`BatchNormalization::forward`].
    pub fn backward(&self) -> Result<PrimitiveDesc, OnednnError> {
        let hint = self.forward(true)?;
        let desc = self.desc()?;
        PrimitiveDesc::create(
            "dnnl_batch_normalization_backward",
            &Attributes::default(),
            |pd, engine, attr| {
                // SAFETY: the descriptors outlive the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_batch_normalization_backward_primitive_desc_create(
                        pd,
                        engine,
                        ffi::BACKWARD,
                        desc.0,
                        desc.0,
                        desc.0,
                        self.eps,
                        self.flags(),
                        hint.handle(),
                        attr,
                    )
                }
            },
        )
    }
}

/// Layer normalisation over the last dimension of a row-major array, with scale and shift.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormalization {
    /// Extents of input and output.
    pub dims: Vec<usize>,
    /// Added to the variance.
    pub eps: f32,
    /// Type of the activations.
    pub data_type: DataType,
}

impl LayerNormalization {
    fn desc(&self) -> Result<MemoryDesc, OnednnError> {
        MemoryDesc::new(&self.dims, self.data_type, Layout::RowMajor)
    }

    /// The forward pass; in training mean and variance of each row are outputs.
    ///
    /// # Errors
    /// [`OnednnError::Call`] if oneDNN has no implementation.
    pub fn forward(&self, training: bool) -> Result<PrimitiveDesc, OnednnError> {
        let desc = self.desc()?;
        let prop = if training {
            ffi::FORWARD_TRAINING
        } else {
            ffi::FORWARD_INFERENCE
        };
        PrimitiveDesc::create(
            "dnnl_layer_normalization_forward",
            &Attributes::default(),
            |pd, engine, attr| {
                // SAFETY: the descriptor outlives the call; without one for the statistics oneDNN chooses it.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_layer_normalization_forward_primitive_desc_create(
                        pd,
                        engine,
                        prop,
                        desc.0,
                        desc.0,
                        ptr::null(),
                        self.eps,
                        USE_SCALE | USE_SHIFT,
                        attr,
                    )
                }
            },
        )
    }

    /// The gradients with respect to input, scale and shift.
    ///
    /// # Errors
    /// As [`LayerNormalization::forward`].
    pub fn backward(&self) -> Result<PrimitiveDesc, OnednnError> {
        let hint = self.forward(true)?;
        let desc = self.desc()?;
        PrimitiveDesc::create(
            "dnnl_layer_normalization_backward",
            &Attributes::default(),
            |pd, engine, attr| {
                // SAFETY: the descriptors outlive the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_layer_normalization_backward_primitive_desc_create(
                        pd,
                        engine,
                        ffi::BACKWARD,
                        desc.0,
                        desc.0,
                        desc.0,
                        ptr::null(),
                        self.eps,
                        USE_SCALE | USE_SHIFT,
                        hint.handle(),
                        attr,
                    )
                }
            },
        )
    }
}
