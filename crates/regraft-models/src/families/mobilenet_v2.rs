//! MobileNetV2.
//!
//! Paper: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (arXiv:1801.04381).
//! Reference: torchvision 0.29.2, `models/mobilenetv2.py`, whose state-dict keys are the node paths.

use crate::entry::{ModelEntry, WeightsEntry};
use crate::layers::{ConvNorm, NormConfig, conv_norm, conv_norm_activation};
use crate::model::Dimensions;
use crate::preprocessing::Preprocessing;
use regraft_graph::{Activation, Conv2d, Graph, GraphBuilder, GraphError, Init, Linear, NodeId};

/// A run of inverted residual blocks: one row of the paper's table 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    /// Factor from input channels to hidden channels, the paper's `t`.
    expand_ratio: usize,
    /// Output channels, `c`.
    out_channels: usize,
    /// Number of blocks, `n`.
    blocks: usize,
    /// Stride of the first block, `s`.
    stride: usize,
}

/// One member of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MobileNetV2Config {
    /// Channels after the first convolution.
    stem_channels: usize,
    /// The blocks.
    rows: &'static [Row],
    /// Channels before the classifier.
    last_channels: usize,
}

const fn row(expand_ratio: usize, out_channels: usize, blocks: usize, stride: usize) -> Row {
    Row {
        expand_ratio,
        out_channels,
        blocks,
        stride,
    }
}

/// MobileNetV2 at width 1.0.
const MOBILENET_V2: MobileNetV2Config = MobileNetV2Config {
    stem_channels: 32,
    rows: &[
        row(1, 16, 1, 1),
        row(6, 24, 2, 2),
        row(6, 32, 3, 2),
        row(6, 64, 4, 2),
        row(6, 96, 3, 1),
        row(6, 160, 3, 2),
        row(6, 320, 1, 1),
    ],
    last_channels: 1280,
};

/// Stages from stem to head: a stage is a row of the paper's table; the last 1x1 convolution goes with the last row.
const STAGES: &[&str] = &[
    "features.0",
    "features.1",
    "features.[23]",
    "features.[456]",
    "features.[789],features.10",
    "features.1[123]",
    "features.1[456]",
    "features.1[78]",
    "classifier",
];

const DROPOUT: f32 = 0.2;

/// The rows of the registry.
pub(super) const MODELS: &[ModelEntry] = &[ModelEntry {
    name: "mobilenet_v2",
    title: "MobileNetV2 1.0",
    aliases: &["mobilenetv2_100"],
    feature_dim: 1280,
    parameters: 3_504_872,
    weights: &[
        WeightsEntry::torchvision(
            "mobilenet_v2.tv_in1k",
            "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
            "b0353104",
            [71.878, 90.286],
        ),
        WeightsEntry {
            preprocessing: Preprocessing::TORCHVISION_V2,
            ..WeightsEntry::torchvision(
                "mobilenet_v2.tv2_in1k",
                "https://download.pytorch.org/models/mobilenet_v2-7ebf99e0.pth",
                "7ebf99e0",
                [72.154, 90.822],
            )
        },
    ],
    ..ModelEntry::imagenet(
        "mobilenet_v2",
        |dims| build(&MOBILENET_V2, dims),
        STAGES,
        "classifier.1",
    )
}];

/// Builds the graph. Shapes in comments are those at 224 x 224.
fn build(config: &MobileNetV2Config, dims: &Dimensions) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new();
    let x = b.input("image", dims.image());
    let stem = Conv2d::new(dims.in_channels, config.stem_channels, 3)
        .stride(2)
        .padding(1);
    let mut x = conv_norm_relu6(&mut b, x, "features.0", stem)?; // [B, 32, 112, 112]
    let mut channels = config.stem_channels;
    let mut index = 1;
    for row in config.rows {
        for i in 0..row.blocks {
            let block = Row {
                stride: if i == 0 { row.stride } else { 1 },
                ..*row
            };
            x = inverted_residual(&mut b, x, &format!("features.{index}"), channels, block)?;
            channels = row.out_channels;
            index += 1;
        }
    } // [B, 320, 7, 7]
    let last = Conv2d::new(channels, config.last_channels, 1);
    let x = conv_norm_relu6(&mut b, x, &format!("features.{index}"), last)?;
    let x = b.global_avg_pool("adaptive_avg_pool2d", x)?;
    let x = b.flatten("flatten", x)?; // [B, 1280]
    let x = b.dropout("classifier.0", x, DROPOUT)?;
    let head = Linear::new(config.last_channels, dims.num_classes);
    let x = b.linear("classifier.1", x, head)?;
    b.init("classifier.1.weight", Init::Normal { std: 0.01 })?;
    b.init("classifier.1.bias", Init::Zeros)?;
    b.finish(&[("logits", x)])
}

fn inverted_residual(
    b: &mut GraphBuilder,
    x: NodeId,
    path: &str,
    in_channels: usize,
    block: Row,
) -> Result<NodeId, GraphError> {
    let hidden = in_channels * block.expand_ratio;
    let mut index = 0;
    let mut out = x;
    if block.expand_ratio != 1 {
        let expand = Conv2d::new(in_channels, hidden, 1);
        out = conv_norm_relu6(b, out, &format!("{path}.conv.{index}"), expand)?;
        index += 1;
    }
    let depthwise = Conv2d::new(hidden, hidden, 3)
        .stride(block.stride)
        .padding(1)
        .groups(hidden);
    out = conv_norm_relu6(b, out, &format!("{path}.conv.{index}"), depthwise)?;
    let project = Conv2d::new(hidden, block.out_channels, 1);
    let out = conv_norm(
        b,
        out,
        &ConvNorm {
            conv_name: &format!("{path}.conv.{}", index + 1),
            conv: project,
            init: init(&project),
            norm_name: &format!("{path}.conv.{}", index + 2),
            norm: NormConfig::TORCH,
        },
    )?;
    if block.stride == 1 && in_channels == block.out_channels {
        b.add_values(&format!("{path}.add"), x, out)
    } else {
        Ok(out)
    }
}

/// torchvision's `Conv2dNormActivation`.
fn conv_norm_relu6(
    b: &mut GraphBuilder,
    x: NodeId,
    path: &str,
    conv: Conv2d,
) -> Result<NodeId, GraphError> {
    let unit = ConvNorm {
        conv_name: &format!("{path}.0"),
        conv,
        init: init(&conv),
        norm_name: &format!("{path}.1"),
        norm: NormConfig::TORCH,
    };
    conv_norm_activation(b, x, &unit, &format!("{path}.2"), Activation::Relu6)
}

fn init(conv: &Conv2d) -> Init {
    Init::kaiming_normal_fan_out(conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1])
}
