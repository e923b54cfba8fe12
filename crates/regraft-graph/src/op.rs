//! The operators and their hyper-parameters, in PyTorch's vocabulary.

/// How the border of an image is padded before a window slides over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Padding {
    /// So many zeros above and below, and left and right.
    Explicit {
        /// Rows above and below.
        height: usize,
        /// Columns left and right.
        width: usize,
    },
    /// TensorFlow's `SAME`: the output has `ceil(input / stride)` positions and an odd pixel of padding goes below and right.
    Same,
}

impl Padding {
    /// `(begin, end)` of the padding along one axis (0 height, 1 width) of `input` pixels.
    pub fn along(self, axis: usize, input: usize, window: usize, stride: usize) -> (usize, usize) {
        match self {
            Self::Explicit { height, width } => {
                let p = if axis == 0 { height } else { width };
                (p, p)
            }
            Self::Same => {
                let output = input.div_ceil(stride);
                let total = ((output - 1) * stride + window).saturating_sub(input);
                (total / 2, total - total / 2)
            }
        }
    }
}

/// `nn.Conv2d`. Weight `[out_channels, in_channels / groups, kernel_h, kernel_w]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output: the number of filters.
    pub out_channels: usize,
    /// Height and width of the window.
    pub kernel_size: [usize; 2],
    /// Step of the window.
    pub stride: [usize; 2],
    /// Border.
    pub padding: Padding,
    /// Spacing of the window's taps; 1 is dense.
    pub dilation: [usize; 2],
    /// Number of channel groups that see only each other.
    pub groups: usize,
    /// Whether a bias per output channel is added.
    pub bias: bool,
}

impl Conv2d {
    /// A square window, stride 1, no padding, no bias.
    pub fn new(in_channels: usize, out_channels: usize, kernel_size: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel_size: [kernel_size; 2],
            stride: [1; 2],
            padding: Padding::Explicit {
                height: 0,
                width: 0,
            },
            dilation: [1; 2],
            groups: 1,
            bias: false,
        }
    }

    /// With the same stride along both axes.
    pub fn stride(self, stride: usize) -> Self {
        Self {
            stride: [stride; 2],
            ..self
        }
    }

    /// With the same zero padding on all four sides.
    pub fn padding(self, padding: usize) -> Self {
        Self {
            padding: Padding::Explicit {
                height: padding,
                width: padding,
            },
            ..self
        }
    }

    /// With TensorFlow's `SAME` padding.
    pub fn same_padding(self) -> Self {
        Self {
            padding: Padding::Same,
            ..self
        }
    }

    /// With the same dilation along both axes.
    pub fn dilation(self, dilation: usize) -> Self {
        Self {
            dilation: [dilation; 2],
            ..self
        }
    }

    /// With channel groups.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// With a bias.
    pub fn bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// Extent of the dilated window along an axis; 0 for a window without taps.
    pub fn window(&self, axis: usize) -> usize {
        match self.kernel_size[axis] {
            0 => 0,
            taps => self.dilation[axis] * (taps - 1) + 1,
        }
    }

    /// Shape of the weight.
    pub fn weight_shape(&self) -> [usize; 4] {
        [
            self.out_channels,
            self.in_channels.checked_div(self.groups).unwrap_or(0),
            self.kernel_size[0],
            self.kernel_size[1],
        ]
    }
}

/// `nn.BatchNorm2d` with affine parameters and running statistics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm2d {
    /// Channels.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Share of the new batch in the running statistics (PyTorch's meaning of momentum).
    pub momentum: f32,
}

impl BatchNorm2d {
    /// PyTorch's defaults: `eps` 1e-5, `momentum` 0.1.
    pub fn new(channels: usize) -> Self {
        Self {
            channels,
            eps: 1e-5,
            momentum: 0.1,
        }
    }
}

/// `nn.Linear` over the last dimension. Weight `[out_features, in_features]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Linear {
    /// Extent of the last dimension of the input.
    pub in_features: usize,
    /// Extent of the last dimension of the output.
    pub out_features: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Linear {
    /// With a bias, as PyTorch's default.
    pub fn new(in_features: usize, out_features: usize) -> Self {
        Self {
            in_features,
            out_features,
            bias: true,
        }
    }
}

/// `nn.MaxPool2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaxPool2d {
    /// Height and width of the window.
    pub kernel_size: usize,
    /// Step of the window.
    pub stride: usize,
    /// Border of minus infinity on all four sides.
    pub padding: usize,
    /// Whether a window may hang over the end.
    pub ceil_mode: bool,
}

/// `nn.AvgPool2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AvgPool2d {
    /// Height and width of the window.
    pub kernel_size: usize,
    /// Step of the window.
    pub stride: usize,
    /// Border of zeros on all four sides.
    pub padding: usize,
    /// Whether a window may hang over the end.
    pub ceil_mode: bool,
    /// Whether the zeros of the border count in the divisor.
    pub count_include_pad: bool,
}

/// `nn.AdaptiveAvgPool2d`: position `i` of an axis is the mean of the input's positions from `floor(i * input / output)` to
/// `ceil((i + 1) * input / output)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AdaptiveAvgPool2d {
    /// Height and width of the output, whatever the input has.
    pub output_size: [usize; 2],
}

impl AdaptiveAvgPool2d {
    /// The positions along an axis of `input` that position `index` of the output is the mean of.
    pub fn window(index: usize, input: usize, output: usize) -> std::ops::Range<usize> {
        index * input / output..((index + 1) * input).div_ceil(output)
    }
}

/// Consecutive channels of a value: a part of `torch.chunk` or `torch.split` along dimension 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SliceChannels {
    /// The first channel that is kept.
    pub first: usize,
    /// How many are kept.
    pub channels: usize,
}

/// Element-wise non-linearities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `x * sigmoid(x)`, also called swish
    Silu,
    /// `relu6(x + 3) / 6`
    HardSigmoid,
    /// `x * relu6(x + 3) / 6`
    HardSwish,
    /// `x * Phi(x)` with the Gaussian distribution function, by `erf`
    Gelu,
    /// The tanh approximation of GELU, `gelu_new` in Transformers
    GeluTanh,
    /// `tanh(x)`
    Tanh,
}

impl Activation {
    /// The name of its PyTorch function.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::HardSigmoid => "hardsigmoid",
            Self::HardSwish => "hardswish",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Tanh => "tanh",
        }
    }
}

/// What a node computes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// A value handed in from outside.
    Input,
    /// 2-D convolution. Parameters: weight, and bias if it has one.
    Conv2d(Conv2d),
    /// Batch normalisation. Parameters: weight, bias, running mean, running variance.
    BatchNorm2d(BatchNorm2d),
    /// Matrix product over the last dimension. Parameters: weight, and bias if it has one.
    Linear(Linear),
    /// Element-wise non-linearity.
    Activation(Activation),
    /// Largest value of each window.
    MaxPool2d(MaxPool2d),
    /// Mean of each window.
    AvgPool2d(AvgPool2d),
    /// Mean over height and width: `nn.AdaptiveAvgPool2d(1)`.
    GlobalAvgPool,
    /// Mean over as many parts of the image as the output has positions.
    AdaptiveAvgPool2d(AdaptiveAvgPool2d),
    /// `[B, a, b, ...]` to `[B, a * b * ...]`.
    Flatten,
    /// In training: zero with probability `p`, else scale by `1 / (1 - p)`. Otherwise the identity.
    Dropout {
        /// Probability of zero.
        p: f32,
    },
    /// In training: a sample is zero with probability `p`, else scaled by `1 / (1 - p)`. Otherwise the identity.
    /// torchvision's `StochasticDepth` in mode `row`, timm's `DropPath`.
    StochasticDepth {
        /// Probability of zero.
        p: f32,
    },
    /// Sum of two values of one shape.
    Add,
    /// Product of two values of one shape; a second one of `[B, C, 1, 1]` scales the channels of a `[B, C, H, W]`.
    Mul,
    /// Joined along the channels (dimension 1).
    Concat,
    /// Some of the channels (dimension 1).
    SliceChannels(SliceChannels),
    /// Channel `i * C / groups + j` becomes channel `j * groups + i`: every run of `groups` channels gets one from each
    /// group.
    ChannelShuffle {
        /// Number of groups.
        groups: usize,
    },
}

impl Op {
    /// The name shown to users.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Conv2d(_) => "conv2d",
            Self::BatchNorm2d(_) => "batch_norm2d",
            Self::Linear(_) => "linear",
            Self::Activation(a) => a.name(),
            Self::MaxPool2d(_) => "max_pool2d",
            Self::AvgPool2d(_) => "avg_pool2d",
            Self::GlobalAvgPool => "global_avg_pool",
            Self::AdaptiveAvgPool2d(_) => "adaptive_avg_pool2d",
            Self::Flatten => "flatten",
            Self::Dropout { .. } => "dropout",
            Self::StochasticDepth { .. } => "stochastic_depth",
            Self::Add => "add",
            Self::Mul => "mul",
            Self::Concat => "concat",
            Self::SliceChannels(_) => "slice_channels",
            Self::ChannelShuffle { .. } => "channel_shuffle",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adaptive_windows_cover_the_input_and_may_overlap() {
        let windows = |input, output| -> Vec<_> {
            (0..output)
                .map(|i| AdaptiveAvgPool2d::window(i, input, output))
                .collect()
        };
        assert_eq!(windows(6, 3), [0..2, 2..4, 4..6]);
        assert_eq!(windows(7, 3), [0..3, 2..5, 4..7]);
        // Fewer positions than are asked for: some are repeated.
        assert_eq!(windows(2, 3), [0..1, 0..2, 1..2]);
    }

    #[test]
    fn same_padding_puts_the_odd_pixel_last() {
        // A 3x3 window of stride 2 over 224 pixels needs one pixel in all.
        assert_eq!(Padding::Same.along(0, 224, 3, 2), (0, 1));
        assert_eq!(Padding::Same.along(0, 7, 3, 1), (1, 1));
        assert_eq!(Padding::Same.along(1, 7, 5, 2), (2, 2));
        assert_eq!(Padding::Same.along(1, 8, 1, 2), (0, 0));
    }
}
