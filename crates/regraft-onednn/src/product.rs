//! Matrix products: matmul, and inner product with its two backward passes.

use crate::error::OnednnError;
use crate::ffi;
use crate::memory::{DataType, Layout, MemoryDesc};
use crate::post_ops::Attributes;
use crate::primitive::PrimitiveDesc;
use std::ptr;

/// `dst = src x weights` of explicit descriptors; leading dimensions are batches and broadcast.
///
/// # Errors
/// [`OnednnError::Call`] if oneDNN has no implementation.
pub fn matmul(
    src: &MemoryDesc,
    weights: &MemoryDesc,
    bias: Option<&MemoryDesc>,
    dst: &MemoryDesc,
    attributes: &Attributes<'_>,
) -> Result<PrimitiveDesc, OnednnError> {
    PrimitiveDesc::create("dnnl_matmul", attributes, |pd, engine, attr| {
        let bias = bias.map_or(ptr::null(), |b| b.0.cast_const());
        // SAFETY: all descriptors outlive the call.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_matmul_primitive_desc_create(pd, engine, src.0, weights.0, bias, dst.0, attr)
        }
    })
}

/// A linear layer: `[rows, in_features]` to `[rows, out_features]`, weights `[out_features, in_features]` in the layout
/// that oneDNN asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InnerProduct {
    /// Rows: the batch.
    pub rows: usize,
    /// Features of the input.
    pub in_features: usize,
    /// Features of the output.
    pub out_features: usize,
    /// Whether a bias is added.
    pub bias: bool,
    /// Type of activations and weights; sums are in `f32`.
    pub data_type: DataType,
}

impl InnerProduct {
    /// Descriptor of the weights in PyTorch's (row-major) layout.
    ///
    /// # Errors
    /// [`OnednnError::Call`].
    pub fn plain_weights(&self, data_type: DataType) -> Result<MemoryDesc, OnednnError> {
        MemoryDesc::new(
            &[self.out_features, self.in_features],
            data_type,
            Layout::RowMajor,
        )
    }

    fn any_weights(&self, data_type: DataType) -> Result<MemoryDesc, OnednnError> {
        MemoryDesc::new(
            &[self.out_features, self.in_features],
            data_type,
            Layout::Any,
        )
    }

    fn activations(&self) -> Result<[MemoryDesc; 2], OnednnError> {
        Ok([
            MemoryDesc::new(
                &[self.rows, self.in_features],
                self.data_type,
                Layout::RowMajor,
            )?,
            MemoryDesc::new(
                &[self.rows, self.out_features],
                self.data_type,
                Layout::RowMajor,
            )?,
        ])
    }

    fn bias_desc(&self) -> Result<Option<MemoryDesc>, OnednnError> {
        self.bias
            .then(|| MemoryDesc::new(&[self.out_features], DataType::F32, Layout::RowMajor))
            .transpose()
    }

    /// The forward pass.
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
        let prop = if training {
            ffi::FORWARD_TRAINING
        } else {
            ffi::FORWARD_INFERENCE
        };
        PrimitiveDesc::create(
            "dnnl_inner_product_forward",
            attributes,
            |pd, engine, attr| {
                let bias = bias.as_ref().map_or(ptr::null(), |b| b.0.cast_const());
                // SAFETY: all descriptors outlive the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_inner_product_forward_primitive_desc_create(
                        pd, engine, prop, src.0, weights.0, bias, dst.0, attr,
                    )
                }
            },
        )
    }

    /// The gradient with respect to the input.
    ///
    /// # Errors
    /// As [`InnerProduct::forward`].
    pub fn backward_data(&self) -> Result<PrimitiveDesc, OnednnError> {
        let hint = Self {
            bias: false,
            ..*self
        }
        .forward(true, &Attributes::default())?;
        let [src, dst] = self.activations()?;
        let weights = self.any_weights(self.data_type)?;
        PrimitiveDesc::create(
            "dnnl_inner_product_backward_data",
            &Attributes::default(),
            |pd, engine, attr| {
                // SAFETY: all descriptors outlive the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_inner_product_backward_data_primitive_desc_create(
                        pd,
                        engine,
                        src.0,
                        weights.0,
                        dst.0,
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
    /// As [`InnerProduct::forward`].
    pub fn backward_weights(&self) -> Result<PrimitiveDesc, OnednnError> {
        let hint = self.forward(true, &Attributes::default())?;
        let [src, dst] = self.activations()?;
        let weights = self.any_weights(DataType::F32)?;
        let bias = self.bias_desc()?;
        PrimitiveDesc::create(
            "dnnl_inner_product_backward_weights",
            &Attributes::default(),
            |pd, engine, attr| {
                let bias = bias.as_ref().map_or(ptr::null(), |b| b.0.cast_const());
                // SAFETY: all descriptors outlive the call.
                #[expect(unsafe_code, reason = "C call")]
                unsafe {
                    ffi::dnnl_inner_product_backward_weights_primitive_desc_create(
                        pd,
                        engine,
                        src.0,
                        weights.0,
                        bias,
                        dst.0,
                        hint.handle(),
                        attr,
                    )
                }
            },
        )
    }
}
