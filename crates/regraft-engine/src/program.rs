//! The plan as data: kernels over values, in the order they run. Nothing here is specific to a device.

use regraft_graph::{Activation, Conv2d, ParamId};

/// Identifies a value of a [`Program`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ValueId(pub(crate) usize);

/// Where a value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// In the arena, from its first to its last use.
    Arena,
    /// In the arena, always: the outside reads or writes it.
    Pinned,
    /// A parameter or buffer.
    Parameter(ParamId),
    /// The gradient of a parameter.
    Gradient(ParamId),
}

/// An array of `f32`. Rank 4 is `[batch, channels, height, width]` by name and channels-last in memory.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) dims: Vec<usize>,
    pub(crate) place: Place,
}

impl Value {
    pub(crate) fn len(&self) -> usize {
        self.dims.iter().product()
    }
}

/// A convolution with its extents filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConvShape {
    pub(crate) op: Conv2d,
    pub(crate) src: [usize; 4],
    pub(crate) dst: [usize; 4],
}

/// What a pooling takes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PoolKind {
    Max,
    AverageIncludePadding,
    AverageExcludePadding,
}

/// A pooling with its extents filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PoolShape {
    pub(crate) kind: PoolKind,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) src: [usize; 4],
    pub(crate) dst: [usize; 4],
}

/// Where a batch norm takes its statistics from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Statistics {
    /// From the batch; the running ones are updated.
    Batch {
        /// Share of the batch in the running statistics.
        momentum: f32,
    },
    /// From the running ones, which stay as they are.
    Running,
}

/// Affine parameters and running statistics of a batch norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NormParams {
    pub(crate) weight: ValueId,
    pub(crate) bias: ValueId,
    pub(crate) running_mean: ValueId,
    pub(crate) running_var: ValueId,
    pub(crate) eps: f32,
    pub(crate) statistics: Statistics,
}

/// How the backward pass of a batch norm finds the derivative of the activation behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormMask {
    /// No activation.
    None,
    /// From the input of the norm: the output before the activation is computed again.
    FromInput(Activation),
    /// From the output of the activation, needed where a residual was added.
    FromOutput(Activation, ValueId),
}

/// One call of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kernel {
    /// `y = activation(x * weight + bias + residual)`
    Conv2d {
        shape: ConvShape,
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
        residual: Option<ValueId>,
        activation: Option<Activation>,
        y: ValueId,
    },
    /// The gradient of a convolution with respect to its input.
    Conv2dBackwardData {
        shape: ConvShape,
        dy: ValueId,
        weight: ValueId,
        dx: ValueId,
    },
    /// The gradient of a convolution with respect to weight and bias.
    Conv2dBackwardWeights {
        shape: ConvShape,
        x: ValueId,
        dy: ValueId,
        dw: ValueId,
        db: Option<ValueId>,
    },
    /// `y = activation(x * weight^T + bias)` for `[rows, features]`.
    Linear {
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
        activation: Option<Activation>,
        y: ValueId,
    },
    /// The gradient of a linear layer with respect to its input.
    LinearBackwardData {
        dy: ValueId,
        weight: ValueId,
        dx: ValueId,
    },
    /// The gradient of a linear layer with respect to weight and bias.
    LinearBackwardWeights {
        x: ValueId,
        dy: ValueId,
        dw: ValueId,
        db: Option<ValueId>,
    },
    /// `y = activation((x - mean) / sqrt(var + eps) * weight + bias + residual)`. `scale_shift` receives, per channel,
    /// mean, inverse deviation, scale and shift: what backward reads.
    BatchNorm {
        x: ValueId,
        params: NormParams,
        residual: Option<ValueId>,
        activation: Option<Activation>,
        y: ValueId,
        scale_shift: ValueId,
    },
    /// The gradient of a batch norm. `dy` are terms to be added; `g` receives the gradient before the activation (what
    /// the residual gets), if it is needed; `dx` may be the memory of `x`.
    BatchNormBackward {
        x: ValueId,
        statistics: Statistics,
        mask: NormMask,
        scale_shift: ValueId,
        dy: [Option<ValueId>; 2],
        g: Option<ValueId>,
        dx: Option<ValueId>,
        dweight: Option<ValueId>,
        dbias: Option<ValueId>,
    },
    /// `y = activation(x)`
    Activation {
        activation: Activation,
        x: ValueId,
        y: ValueId,
    },
    /// `dx = dy * activation'`, from the output where the function allows it, else from the input. `dx` may be `dy`.
    ActivationBackward {
        activation: Activation,
        data: ValueId,
        dy: ValueId,
        dx: ValueId,
    },
    /// Pooling; `workspace` remembers which value was the largest.
    Pool {
        shape: PoolShape,
        x: ValueId,
        y: ValueId,
        workspace: Option<ValueId>,
    },
    /// The gradient of a pooling.
    PoolBackward {
        shape: PoolShape,
        dy: ValueId,
        dx: ValueId,
        workspace: Option<ValueId>,
    },
    /// Mean over height and width.
    GlobalAvgPool { x: ValueId, y: ValueId },
    /// Its gradient.
    GlobalAvgPoolBackward { dy: ValueId, dx: ValueId },
    /// Mean over as many parts of the image as `y` has positions.
    AdaptiveAvgPool { x: ValueId, y: ValueId },
    /// Its gradient.
    AdaptiveAvgPoolBackward { dy: ValueId, dx: ValueId },
    /// Zero with probability `p`, else scaled. `stream` tells the dropouts of a graph apart.
    Dropout {
        p: f32,
        stream: u32,
        x: ValueId,
        y: ValueId,
    },
    /// A whole sample is zero with probability `p`, else scaled; the residual is added. `y` may be `x`.
    StochasticDepth {
        p: f32,
        stream: u32,
        x: ValueId,
        residual: Option<ValueId>,
        y: ValueId,
    },
    /// `y = x * gate + mean / positions`, where `gate` and `mean` have one value for each channel of each image. `y` may
    /// be `x`.
    ScaleChannels {
        x: ValueId,
        gate: Option<ValueId>,
        mean: Option<ValueId>,
        y: ValueId,
    },
    /// The gradient of a gate: the sum of `x * dy` over the image.
    GateGradient {
        x: ValueId,
        dy: ValueId,
        dgate: ValueId,
    },
    /// The element-wise product.
    Product { a: ValueId, b: ValueId, y: ValueId },
    /// The terms added up; `y` may be the first of them.
    Sum { terms: Vec<ValueId>, y: ValueId },
    /// Channels-last to channels-first: what `Flatten` of an image means.
    ToChannelsFirst { x: ValueId, y: ValueId },
    /// Its gradient: channels-first to channels-last.
    FromChannelsFirst { dy: ValueId, dx: ValueId },
    /// Joined along the channels.
    Concat { inputs: Vec<ValueId>, y: ValueId },
    /// The channels from `first` on, as many as `y` has.
    SliceChannels {
        first: usize,
        x: ValueId,
        y: ValueId,
    },
    /// The reverse: `x` as the channels of `y` from `first` on, zero in the others.
    PadChannels {
        first: usize,
        x: ValueId,
        y: ValueId,
    },
    /// Channels dealt in turn from `groups` runs of them.
    ShuffleChannels {
        groups: usize,
        x: ValueId,
        y: ValueId,
    },
}

impl Kernel {
    /// The values that are read.
    pub(crate) fn reads(&self) -> Vec<ValueId> {
        let mut reads = Vec::new();
        match self {
            Self::Conv2d {
                x,
                weight,
                bias,
                residual,
                ..
            } => {
                reads.extend([*x, *weight]);
                reads.extend([*bias, *residual].into_iter().flatten());
            }
            Self::Conv2dBackwardData { dy, weight, .. }
            | Self::LinearBackwardData { dy, weight, .. } => {
                reads.extend([*dy, *weight]);
            }
            Self::Conv2dBackwardWeights { x, dy, .. }
            | Self::LinearBackwardWeights { x, dy, .. } => {
                reads.extend([*x, *dy]);
            }
            Self::Linear {
                x, weight, bias, ..
            } => {
                reads.extend([*x, *weight]);
                reads.extend(*bias);
            }
            Self::BatchNorm {
                x,
                params,
                residual,
                ..
            } => {
                reads.extend([
                    *x,
                    params.weight,
                    params.bias,
                    params.running_mean,
                    params.running_var,
                ]);
                reads.extend(*residual);
            }
            Self::BatchNormBackward {
                x,
                mask,
                scale_shift,
                dy,
                ..
            } => {
                reads.extend([*x, *scale_shift]);
                if let NormMask::FromOutput(_, y) = mask {
                    reads.push(*y);
                }
                reads.extend(dy.iter().flatten());
            }
            Self::Activation { x, .. }
            | Self::Pool { x, .. }
            | Self::GlobalAvgPool { x, .. }
            | Self::AdaptiveAvgPool { x, .. }
            | Self::Dropout { x, .. }
            | Self::SliceChannels { x, .. }
            | Self::PadChannels { x, .. }
            | Self::ShuffleChannels { x, .. }
            | Self::ToChannelsFirst { x, .. } => reads.push(*x),
            Self::StochasticDepth { x, residual, .. } => {
                reads.push(*x);
                reads.extend(*residual);
            }
            Self::ScaleChannels { x, gate, mean, .. } => {
                reads.push(*x);
                reads.extend([*gate, *mean].into_iter().flatten());
            }
            Self::GateGradient { x, dy, .. } => reads.extend([*x, *dy]),
            Self::Product { a, b, .. } => reads.extend([*a, *b]),
            Self::ActivationBackward { data, dy, .. } => reads.extend([*data, *dy]),
            Self::PoolBackward { dy, workspace, .. } => {
                reads.push(*dy);
                reads.extend(*workspace);
            }
            Self::GlobalAvgPoolBackward { dy, .. }
            | Self::AdaptiveAvgPoolBackward { dy, .. }
            | Self::FromChannelsFirst { dy, .. } => reads.push(*dy),
            Self::Sum { terms, .. } => reads.extend(terms),
            Self::Concat { inputs, .. } => reads.extend(inputs),
        }
        reads
    }

    /// Its name in a profile.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "conv2d",
            Self::Conv2dBackwardData { .. } => "conv2d_backward_data",
            Self::Conv2dBackwardWeights { .. } => "conv2d_backward_weights",
            Self::Linear { .. } => "linear",
            Self::LinearBackwardData { .. } => "linear_backward_data",
            Self::LinearBackwardWeights { .. } => "linear_backward_weights",
            Self::BatchNorm { .. } => "batch_norm",
            Self::BatchNormBackward { .. } => "batch_norm_backward",
            Self::Activation { .. } => "activation",
            Self::ActivationBackward { .. } => "activation_backward",
            Self::Pool { .. } => "pool",
            Self::PoolBackward { .. } => "pool_backward",
            Self::GlobalAvgPool { .. } => "global_avg_pool",
            Self::GlobalAvgPoolBackward { .. } => "global_avg_pool_backward",
            Self::AdaptiveAvgPool { .. } => "adaptive_avg_pool",
            Self::AdaptiveAvgPoolBackward { .. } => "adaptive_avg_pool_backward",
            Self::Dropout { .. } => "dropout",
            Self::StochasticDepth { .. } => "stochastic_depth",
            Self::ScaleChannels { .. } => "scale_channels",
            Self::GateGradient { .. } => "gate_gradient",
            Self::Product { .. } => "product",
            Self::Sum { .. } => "sum",
            Self::ToChannelsFirst { .. } => "to_channels_first",
            Self::FromChannelsFirst { .. } => "from_channels_first",
            Self::Concat { .. } => "concat",
            Self::SliceChannels { .. } => "slice_channels",
            Self::PadChannels { .. } => "pad_channels",
            Self::ShuffleChannels { .. } => "shuffle_channels",
        }
    }

    /// The values that are written.
    pub(crate) fn writes(&self) -> Vec<ValueId> {
        let mut writes = Vec::new();
        match self {
            Self::Conv2d { y, .. }
            | Self::Linear { y, .. }
            | Self::Activation { y, .. }
            | Self::GlobalAvgPool { y, .. }
            | Self::AdaptiveAvgPool { y, .. }
            | Self::Dropout { y, .. }
            | Self::StochasticDepth { y, .. }
            | Self::ScaleChannels { y, .. }
            | Self::Product { y, .. }
            | Self::Sum { y, .. }
            | Self::SliceChannels { y, .. }
            | Self::PadChannels { y, .. }
            | Self::ShuffleChannels { y, .. }
            | Self::ToChannelsFirst { y, .. }
            | Self::Concat { y, .. } => writes.push(*y),
            Self::Pool { y, workspace, .. } => {
                writes.push(*y);
                writes.extend(*workspace);
            }
            Self::Conv2dBackwardData { dx, .. }
            | Self::LinearBackwardData { dx, .. }
            | Self::ActivationBackward { dx, .. }
            | Self::PoolBackward { dx, .. }
            | Self::GlobalAvgPoolBackward { dx, .. }
            | Self::AdaptiveAvgPoolBackward { dx, .. }
            | Self::FromChannelsFirst { dx, .. } => writes.push(*dx),
            Self::GateGradient { dgate, .. } => writes.push(*dgate),
            Self::Conv2dBackwardWeights { dw, db, .. }
            | Self::LinearBackwardWeights { dw, db, .. } => {
                writes.push(*dw);
                writes.extend(*db);
            }
            Self::BatchNorm { y, scale_shift, .. } => writes.extend([*y, *scale_shift]),
            Self::BatchNormBackward {
                g,
                dx,
                dweight,
                dbias,
                ..
            } => {
                writes.extend([*g, *dx, *dweight, *dbias].into_iter().flatten());
            }
        }
        writes
    }
}

/// A kernel call and the node that it is for.
#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    pub(crate) kernel: Kernel,
    pub(crate) node: String,
}

/// A graph compiled for a batch size and a mode: forward, then backward.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    pub(crate) values: Vec<Value>,
    pub(crate) instructions: Vec<Instruction>,
    /// How many of the instructions are the forward pass.
    pub(crate) forward_len: usize,
    pub(crate) inputs: Vec<(String, ValueId)>,
    pub(crate) outputs: Vec<(String, ValueId)>,
    /// Where the gradients of outputs are written before the backward pass.
    pub(crate) output_gradients: Vec<(String, ValueId)>,
}

impl Program {
    /// Bytes that a kernel call must read and write at least.
    pub(crate) fn bytes(&self, kernel: &Kernel) -> usize {
        kernel
            .reads()
            .into_iter()
            .chain(kernel.writes())
            .map(|id| self.value(id).len() * 4)
            .sum()
    }

    /// Whether a step is done in less time than it takes to wake a second thread: a linear head on cached features.
    pub(crate) fn is_tiny(&self) -> bool {
        const BYTES: usize = 1 << 21;
        const FLOPS: u64 = 1 << 22;
        let kernels = || self.instructions.iter().map(|i| &i.kernel);
        kernels().map(|kernel| self.bytes(kernel)).sum::<usize>() < BYTES
            && kernels().map(|kernel| self.flops(kernel)).sum::<u64>() < FLOPS
    }

    /// Floating-point operations of a kernel call, where they are what limits it: convolutions and linear layers.
    pub(crate) fn flops(&self, kernel: &Kernel) -> u64 {
        let multiply_adds = match kernel {
            Kernel::Conv2d { shape, .. }
            | Kernel::Conv2dBackwardData { shape, .. }
            | Kernel::Conv2dBackwardWeights { shape, .. } => {
                let [_, inputs, h, w] = shape.op.weight_shape();
                shape.dst.iter().product::<usize>() * inputs * h * w
            }
            Kernel::Linear { x, weight, .. } | Kernel::LinearBackwardData { dx: x, weight, .. } => {
                self.value(*x).len() * self.value(*weight).dims[0]
            }
            Kernel::LinearBackwardWeights { x, dw, .. } => {
                self.value(*x).len() * self.value(*dw).dims[0]
            }
            _ => 0,
        };
        2 * multiply_adds as u64
    }

    pub(crate) fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }
}
