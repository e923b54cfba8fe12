//! SqueezeNet.
//!
//! Paper: Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters" (arXiv:1602.07360).
//! Reference: torchvision 0.29.2, `models/squeezenet.py`, whose state-dict keys are the node paths. The classifier is a
//! 1x1 convolution on the last feature map, averaged afterwards: there is no pooled feature vector inside the network.

use crate::entry::{BuildFn, ModelEntry, WeightsEntry};
use crate::model::Dimensions;
use regraft_graph::{Activation, Conv2d, Graph, GraphBuilder, GraphError, Init, MaxPool2d, NodeId};

/// One layer of `features`, in order; its index is part of the node path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// The 3x3 max pooling of stride 2.
    Pool,
    /// A fire module: squeeze to `s` channels, expand to `e` by 1x1 and `e` by 3x3.
    Fire {
        /// Channels after the squeeze.
        s: usize,
        /// Channels of each of the two expansions.
        e: usize,
    },
}

/// One member of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SqueezeNetConfig {
    /// Filters of the first convolution.
    stem_channels: usize,
    /// Its window.
    stem_kernel_size: usize,
    /// What follows the first convolution and its ReLU, from `features.2` on.
    layers: &'static [Layer],
}

const fn fire(s: usize, e: usize) -> Layer {
    Layer::Fire { s, e }
}

/// SqueezeNet 1.0.
const SQUEEZENET1_0: SqueezeNetConfig = SqueezeNetConfig {
    stem_channels: 96,
    stem_kernel_size: 7,
    layers: &[
        Layer::Pool,
        fire(16, 64),
        fire(16, 64),
        fire(32, 128),
        Layer::Pool,
        fire(32, 128),
        fire(48, 192),
        fire(48, 192),
        fire(64, 256),
        Layer::Pool,
        fire(64, 256),
    ],
};

/// SqueezeNet 1.1: the same accuracy for less than half of the work.
const SQUEEZENET1_1: SqueezeNetConfig = SqueezeNetConfig {
    stem_channels: 64,
    stem_kernel_size: 3,
    layers: &[
        Layer::Pool,
        fire(16, 64),
        fire(16, 64),
        Layer::Pool,
        fire(32, 128),
        fire(32, 128),
        Layer::Pool,
        fire(48, 192),
        fire(48, 192),
        fire(64, 256),
        fire(64, 256),
    ],
};

/// Stages of version 1.0 from stem to head: the fire modules between two poolings are one stage.
const STAGES_1_0: &[&str] = &[
    "features.0",
    "features.[345]",
    "features.[789],features.10",
    "features.12",
    "classifier",
];
/// Stages of version 1.1 from stem to head.
const STAGES_1_1: &[&str] = &[
    "features.0",
    "features.[34]",
    "features.[67]",
    "features.9,features.1[012]",
    "classifier",
];

const DROPOUT: f32 = 0.5;

/// The rows of the registry.
pub(super) const MODELS: &[ModelEntry] = &[
    ModelEntry {
        name: "squeezenet1_0",
        title: "SqueezeNet 1.0",
        parameters: 1_248_424,
        min_input_size: 21,
        weights: &[WeightsEntry::torchvision(
            "squeezenet1_0.tv_in1k",
            "https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth",
            "b66bff10",
            [58.092, 80.420],
        )],
        ..squeezing(|dims| build(&SQUEEZENET1_0, dims), STAGES_1_0)
    },
    ModelEntry {
        name: "squeezenet1_1",
        title: "SqueezeNet 1.1",
        parameters: 1_235_496,
        min_input_size: 17,
        weights: &[WeightsEntry::torchvision(
            "squeezenet1_1.tv_in1k",
            "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
            "b8a52dc0",
            [58.178, 80.624],
        )],
        ..squeezing(|dims| build(&SQUEEZENET1_1, dims), STAGES_1_1)
    },
];

/// What the rows share.
const fn squeezing(build: BuildFn, stages: &'static [&'static str]) -> ModelEntry {
    ModelEntry {
        feature_node: "features.12.cat",
        feature_dim: 512,
        ..ModelEntry::imagenet("squeezenet", build, stages, "classifier.1")
    }
}

/// Builds the graph. Shapes in comments are those of version 1.1 at 224 x 224.
fn build(config: &SqueezeNetConfig, dims: &Dimensions) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new();
    let x = b.input("image", dims.image());
    let stem = Conv2d::new(
        dims.in_channels,
        config.stem_channels,
        config.stem_kernel_size,
    )
    .stride(2);
    let x = conv(&mut b, x, "features.0", stem)?;
    let mut x = b.activation("features.1", x, Activation::Relu)?; // [B, 64, 111, 111]
    let mut channels = config.stem_channels;
    for (i, layer) in config.layers.iter().enumerate() {
        let path = format!("features.{}", i + 2);
        match *layer {
            Layer::Pool => {
                let pool = MaxPool2d {
                    kernel_size: 3,
                    stride: 2,
                    padding: 0,
                    ceil_mode: true,
                };
                x = b.max_pool2d(&path, x, pool)?; // [B, C, 55, 55], 27, 13
            }
            Layer::Fire { s, e } => {
                x = fire_module(&mut b, x, &path, [channels, s, e])?;
                channels = 2 * e;
            }
        }
    }
    let x = b.dropout("classifier.0", x, DROPOUT)?; // [B, 512, 13, 13]
    let x = b.conv2d(
        "classifier.1",
        x,
        Conv2d::new(channels, dims.num_classes, 1).bias(),
    )?;
    b.init("classifier.1.weight", Init::Normal { std: 0.01 })?;
    b.init("classifier.1.bias", Init::Zeros)?;
    let x = b.activation("classifier.2", x, Activation::Relu)?;
    let x = b.global_avg_pool("classifier.3", x)?;
    let x = b.flatten("flatten", x)?;
    b.finish(&[("logits", x)])
}

fn fire_module(
    b: &mut GraphBuilder,
    x: NodeId,
    path: &str,
    [in_channels, s, e]: [usize; 3],
) -> Result<NodeId, GraphError> {
    let relu_conv = |b: &mut GraphBuilder, x, name: &str, op| {
        let path = format!("{path}.{name}");
        let x = conv(b, x, &path, op)?;
        b.activation(&format!("{path}_activation"), x, Activation::Relu)
    };
    let squeezed = relu_conv(b, x, "squeeze", Conv2d::new(in_channels, s, 1))?;
    let expand1x1 = relu_conv(b, squeezed, "expand1x1", Conv2d::new(s, e, 1))?;
    let expand3x3 = relu_conv(b, squeezed, "expand3x3", Conv2d::new(s, e, 3).padding(1))?;
    b.concat(&format!("{path}.cat"), &[expand1x1, expand3x3])
}

/// A convolution with bias, drawn as torchvision draws it.
fn conv(b: &mut GraphBuilder, x: NodeId, path: &str, op: Conv2d) -> Result<NodeId, GraphError> {
    let op = op.bias();
    let x = b.conv2d(path, x, op)?;
    let fan_in = op.weight_shape()[1..].iter().product();
    b.init(
        &format!("{path}.weight"),
        Init::kaiming_uniform_fan_in(fan_in),
    )?;
    b.init(&format!("{path}.bias"), Init::Zeros)?;
    Ok(x)
}
