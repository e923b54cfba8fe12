//! Pooling over windows of channels-last images.

use crate::error::OnednnError;
use crate::ffi;
use crate::memory::{DataType, Layout, MemoryDesc, to_dims};
use crate::post_ops::Attributes;
use crate::primitive::PrimitiveDesc;

/// What is taken of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolingKind {
    /// The largest value.
    Max,
    /// The mean, the zeros of the border counted.
    AverageIncludePadding,
    /// The mean of what lies inside the image.
    AverageExcludePadding,
}

impl PoolingKind {
    fn code(self) -> i32 {
        match self {
            Self::Max => 511,
            Self::AverageIncludePadding => 767,
            Self::AverageExcludePadding => 1023,
        }
    }
}

/// Pooling of `[batch, channels, height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pooling {
    /// What is taken of a window.
    pub kind: PoolingKind,
    /// Extents of the input.
    pub src: [usize; 4],
    /// Extents of the output.
    pub dst: [usize; 4],
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Step of the window.
    pub stride: [usize; 2],
    /// Padding above and left.
    pub padding_begin: [usize; 2],
    /// Padding below and right.
    pub padding_end: [usize; 2],
    /// Type of the elements.
    pub data_type: DataType,
}

impl Pooling {
    fn descs(&self) -> Result<[MemoryDesc; 2], OnednnError> {
        Ok([
            MemoryDesc::new(&self.src, self.data_type, Layout::ChannelsLast)?,
            MemoryDesc::new(&self.dst, self.data_type, Layout::ChannelsLast)?,
        ])
    }

    fn geometry(&self) -> [ffi::dims_t; 5] {
        [
            self.stride,
            self.kernel,
            [0, 0],
            self.padding_begin,
            self.padding_end,
        ]
        .map(|d| to_dims(&d).0)
    }

    /// The forward pass. `training` makes maximum pooling leave a workspace for backward.
    ///
    /// # Errors
    /// [`OnednnError::Call`] if oneDNN has no implementation.
    pub fn forward(&self, training: bool) -> Result<PrimitiveDesc, OnednnError> {
        let [src, dst] = self.descs()?;
        let [strides, kernel, dilation, begin, end] = self.geometry();
        let prop = if training {
            ffi::FORWARD_TRAINING
        } else {
            ffi::FORWARD_INFERENCE
        };
        PrimitiveDesc::create(
            "dnnl_pooling_forward",
            &Attributes::default(),
            |pd, engine, attr| {
                // SAFETY: all descriptors and arrays outlive the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_pooling_forward_primitive_desc_create(
                        pd,
                        engine,
                        prop,
                        self.kind.code(),
                        src.0,
                        dst.0,
                        strides.as_ptr(),
                        kernel.as_ptr(),
                        dilation.as_ptr(),
                        begin.as_ptr(),
                        end.as_ptr(),
                        attr,
                    )
                }
            },
        )
    }

    /// The gradient with respect to the input.
    ///
    /// # Errors
    /// As [`Pooling::forward`].
    pub fn backward(&self) -> Result<PrimitiveDesc, OnednnError> {
        let hint = self.forward(true)?;
        let [src, dst] = self.descs()?;
        let [strides, kernel, dilation, begin, end] = self.geometry();
        PrimitiveDesc::create(
            "dnnl_pooling_backward",
            &Attributes::default(),
            |pd, engine, attr| {
                // SAFETY: all descriptors and arrays outlive the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_pooling_backward_primitive_desc_create(
                        pd,
                        engine,
                        self.kind.code(),
                        src.0,
                        dst.0,
                        strides.as_ptr(),
                        kernel.as_ptr(),
                        dilation.as_ptr(),
                        begin.as_ptr(),
                        end.as_ptr(),
                        hint.handle(),
                        attr,
                    )
                }
            },
        )
    }
}
