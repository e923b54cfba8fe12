//! Convolution: forward, backward by data, backward by weights.

use crate::error::OnednnError;
use crate::ffi;
use crate::memory::{DataType, Layout, MemoryDesc, to_dims};
use crate::post_ops::Attributes;
use crate::primitive::PrimitiveDesc;
use std::ptr;

/// A 2-D convolution of channels-last activations; weights are in the layout that oneDNN asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// `[batch, in_channels, height, width]`
    pub src: [usize; 4],
    /// `[batch, out_channels, height, width]`
    pub dst: [usize; 4],
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Step of the window.
    pub stride: [usize; 2],
    /// Spacing of the taps; 1 is dense.
    pub dilation: [usize; 2],
    /// Padding above and left.
    pub padding_begin: [usize; 2],
    /// Padding below and right.
    pub padding_end: [usize; 2],
    /// Channel groups.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
    /// Type of activations and weights; sums are in `f32`.
    pub data_type: DataType,
}

struct Geometry {
    strides: ffi::dims_t,
    dilates: ffi::dims_t,
    padding_l: ffi::dims_t,
    padding_r: ffi::dims_t,
}

impl Convolution {
    /// Extents of the weights: `[out, in, h, w]`, or `[groups, out / groups, in / groups, h, w]`.
    pub fn weight_dims(&self) -> Vec<usize> {
        let (out, input, g) = (self.dst[1], self.src[1], self.groups.max(1));
        let [h, w] = self.kernel;
        if g == 1 {
            vec![out, input, h, w]
        } else {
            vec![g, out / g, input / g, h, w]
        }
    }

    /// Descriptor of the weights in PyTorch's (row-major) layout.
    ///
    /// # Errors
    /// [`OnednnError::Call`].
    pub fn plain_weights(&self, data_type: DataType) -> Result<MemoryDesc, OnednnError> {
        MemoryDesc::new(&self.weight_dims(), data_type, Layout::RowMajor)
    }

    fn any_weights(&self, data_type: DataType) -> Result<MemoryDesc, OnednnError> {
        MemoryDesc::new(&self.weight_dims(), data_type, Layout::Any)
    }

    fn activations(&self) -> Result<[MemoryDesc; 2], OnednnError> {
        Ok([
            MemoryDesc::new(&self.src, self.data_type, Layout::ChannelsLast)?,
            MemoryDesc::new(&self.dst, self.data_type, Layout::ChannelsLast)?,
        ])
    }

    fn bias_desc(&self) -> Result<Option<MemoryDesc>, OnednnError> {
        self.bias
            .then(|| MemoryDesc::new(&[self.dst[1]], DataType::F32, Layout::RowMajor))
            .transpose()
    }

    fn geometry(&self) -> Geometry {
        // oneDNN counts the gaps between taps, PyTorch the distance of taps.
        let gaps = self.dilation.map(|d| d.saturating_sub(1));
        Geometry {
            strides: to_dims(&self.stride).0,
            dilates: to_dims(&gaps).0,
            padding_l: to_dims(&self.padding_begin).0,
            padding_r: to_dims(&self.padding_end).0,
        }
    }

    /// The forward pass. `training` keeps what backward needs.
    ///
    /// # Errors
    /// [`OnednnError::Call`] if oneDNN has no implementation.
    pub fn forward(
        &self,
        training: bool,
        attributes: &Attributes<'_>,
    ) -> Result<PrimitiveDesc, OnednnError> {
        let [src, dst] = self.activations()?;
        let weights = self.any_weights(self.data_type)?;
        let bias = self.bias_desc()?;
        let g = self.geometry();
        let prop = if training {
            ffi::FORWARD_TRAINING
        } else {
            ffi::FORWARD_INFERENCE
        };
        PrimitiveDesc::create(
            "dnnl_convolution_forward",
            attributes,
            |pd, engine, attr| {
                // SAFETY: all descriptors and arrays outlive the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_convolution_forward_primitive_desc_create(
                        pd,
                        engine,
                        prop,
                        ffi::CONVOLUTION_DIRECT,
                        src.0,
                        weights.0,
                        bias.as_ref().map_or(ptr::null(), |b| b.0),
                        dst.0,
                        g.strides.as_ptr(),
                        g.dilates.as_ptr(),
                        g.padding_l.as_ptr(),
                        g.padding_r.as_ptr(),
                        attr,
                    )
                }
            },
        )
    }

    /// The gradient with respect to the input.
    ///
    /// # Errors
    /// As [`Convolution::forward`].
    pub fn backward_data(&self, attributes: &Attributes<'_>) -> Result<PrimitiveDesc, OnednnError> {
        let hint = Self {
            bias: false,
            ..*self
        }
        .forward(true, &Attributes::default())?;
        let [src, dst] = self.activations()?;
        let weights = self.any_weights(self.data_type)?;
        let g = self.geometry();
        PrimitiveDesc::create(
            "dnnl_convolution_backward_data",
            attributes,
            |pd, engine, attr| {
                // SAFETY: all descriptors and arrays outlive the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_convolution_backward_data_primitive_desc_create(
                        pd,
                        engine,
                        ffi::CONVOLUTION_DIRECT,
                        src.0,
                        weights.0,
                        dst.0,
                        g.strides.as_ptr(),
                        g.dilates.as_ptr(),
                        g.padding_l.as_ptr(),
                        g.padding_r.as_ptr(),
                        hint.handle(),
                        attr,
                    )
                }
            },
        )
    }

    /// The gradient with respect to weights and bias, in `f32`.
    ///
    /// # Errors
    /// As [`Convolution::forward`].
    pub fn backward_weights(&self) -> Result<PrimitiveDesc, OnednnError> {
        let hint = self.forward(true, &Attributes::default())?;
        let [src, dst] = self.activations()?;
        let weights = self.any_weights(DataType::F32)?;
        let bias = self.bias_desc()?;
        let g = self.geometry();
        PrimitiveDesc::create(
            "dnnl_convolution_backward_weights",
            &Attributes::default(),
            |pd, engine, attr| {
                // SAFETY: all descriptors and arrays outlive the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_convolution_backward_weights_primitive_desc_create(
                        pd,
                        engine,
                        ffi::CONVOLUTION_DIRECT,
                        src.0,
                        weights.0,
                        bias.as_ref().map_or(ptr::null(), |b| b.0),
                        dst.0,
                        g.strides.as_ptr(),
                        g.dilates.as_ptr(),
                        g.padding_l.as_ptr(),
                        g.padding_r.as_ptr(),
                        hint.handle(),
                        attr,
                    )
                }
            },
        )
    }
}
