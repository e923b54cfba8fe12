//! Named parameters: shape, role, initial distribution and whether they are trained.

/// Identifies a parameter of one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub(crate) usize);

impl ParamId {
    /// Position in [`Graph::parameters`](crate::Graph::parameters).
    pub fn index(self) -> usize {
        self.0
    }
}

/// The role of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// Of a convolution or linear layer; weight decay applies.
    Weight,
    /// An additive bias.
    Bias,
    /// The scale of a normalisation.
    NormWeight,
    /// The shift of a normalisation.
    NormBias,
    /// A running mean: a buffer, never trained by gradient.
    RunningMean,
    /// A running variance: a buffer, never trained by gradient.
    RunningVar,
}

impl ParameterKind {
    /// True of running statistics, which are saved but have no gradient.
    pub fn is_buffer(self) -> bool {
        matches!(self, Self::RunningMean | Self::RunningVar)
    }
}

/// How a parameter is drawn when no checkpoint gives its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Uniform in `[-bound, bound]`.
    Uniform {
        /// Half the width of the interval.
        bound: f32,
    },
    /// Normal with mean zero.
    Normal {
        /// Standard deviation.
        std: f32,
    },
}

impl Init {
    /// PyTorch's default for weights and biases of linear layers and convolutions: uniform within
    /// `1 / sqrt(fan_in)` (`kaiming_uniform_` with `a = sqrt(5)`).
    pub fn torch_default(fan_in: usize) -> Self {
        Self::Uniform {
            bound: 1.0 / (fan_in.max(1) as f32).sqrt(),
        }
    }

    /// `kaiming_uniform_(mode="fan_in", nonlinearity="relu")`, He et al. 2015.
    pub fn kaiming_uniform_fan_in(fan_in: usize) -> Self {
        Self::Uniform {
            bound: (6.0 / fan_in.max(1) as f32).sqrt(),
        }
    }

    /// `kaiming_normal_(mode="fan_out", nonlinearity="relu")`, He et al. 2015.
    pub fn kaiming_normal_fan_out(fan_out: usize) -> Self {
        Self::Normal {
            std: (2.0 / fan_out.max(1) as f32).sqrt(),
        }
    }
}

/// A named parameter or buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Key in the reference implementation's state dict, for example `layer1.0.conv1.weight`.
    pub name: String,
    /// Extents in PyTorch's order.
    pub shape: Vec<usize>,
    /// Its role.
    pub kind: ParameterKind,
    /// Distribution of a fresh value.
    pub init: Init,
    /// Whether training changes it. Always false for buffers.
    pub trainable: bool,
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
