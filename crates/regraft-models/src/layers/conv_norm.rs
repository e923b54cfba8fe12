//! A convolution without bias, a batch norm and an activation: the unit that most convolutional networks are made of.

use regraft_graph::{Activation, BatchNorm2d, Conv2d, GraphBuilder, GraphError, Init, NodeId};

/// Names and hyper-parameters of a convolution and the batch norm behind it.
pub(crate) struct ConvNorm<'a> {
    /// Path of the convolution.
    pub(crate) conv_name: &'a str,
    /// The convolution.
    pub(crate) conv: Conv2d,
    /// Distribution of a fresh weight.
    pub(crate) init: Init,
    /// Path of the batch norm.
    pub(crate) norm_name: &'a str,
    /// The batch norm's `eps` and `momentum`; its channels are those of the convolution.
    pub(crate) norm: NormConfig,
}

/// Hyper-parameters that all batch norms of a family share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormConfig {
    /// Added to the variance.
    pub(crate) eps: f32,
    /// Share of the new batch in the running statistics.
    pub(crate) momentum: f32,
}

impl NormConfig {
    /// PyTorch's defaults.
    pub(crate) const TORCH: Self = Self {
        eps: 1e-5,
        momentum: 0.1,
    };
}

/// `norm(conv(x))`.
pub(crate) fn conv_norm(
    b: &mut GraphBuilder,
    x: NodeId,
    unit: &ConvNorm<'_>,
) -> Result<NodeId, GraphError> {
    let x = b.conv2d(unit.conv_name, x, unit.conv)?;
    b.init(&format!("{}.weight", unit.conv_name), unit.init)?;
    b.batch_norm2d(
        unit.norm_name,
        x,
        BatchNorm2d {
            channels: unit.conv.out_channels,
            eps: unit.norm.eps,
            momentum: unit.norm.momentum,
        },
    )
}

/// `activation(norm(conv(x)))`.
pub(crate) fn conv_norm_activation(
    b: &mut GraphBuilder,
    x: NodeId,
    unit: &ConvNorm<'_>,
    activation_name: &str,
    activation: Activation,
) -> Result<NodeId, GraphError> {
    let x = conv_norm(b, x, unit)?;
    b.activation(activation_name, x, activation)
}
