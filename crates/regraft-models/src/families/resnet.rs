//! ResNet, ResNeXt and Wide ResNet.
//!
//! Papers: He et al. 2015, "Deep Residual Learning for Image Recognition" (arXiv:1512.03385); Xie et al. 2016,
//! "Aggregated Residual Transformations" (arXiv:1611.05431); Zagoruyko and Komodakis 2016, "Wide Residual Networks"
//! (arXiv:1605.07146). Reference: torchvision 0.29.2, `models/resnet.py`, whose state-dict keys are the node paths; the
//! nodes without parameters are named as in its `get_graph_node_names`. As there, a bottleneck's stride sits in its 3x3
//! convolution ("ResNet v1.5"), not in the first 1x1 of the paper.

use crate::entry::{BuildFn, ModelEntry, WeightsEntry};
use crate::layers::{ConvNorm, NormConfig, conv_norm, conv_norm_activation};
use crate::model::Dimensions;
use crate::preprocessing::Preprocessing;
use regraft_graph::{
    Activation, Conv2d, Graph, GraphBuilder, GraphError, Init, Linear, MaxPool2d, NodeId,
};

/// The residual block that a network is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1 to reduce, 3x3 (in groups), 1x1 to four times the planes.
    Bottleneck,
}

impl Block {
    /// Output channels per plane.
    const fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// One member of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ResNetConfig {
    /// Kind of block.
    block: Block,
    /// Blocks of `layer1` to `layer4`.
    layers: [usize; 4],
    /// Groups of the 3x3 convolution of a bottleneck (ResNeXt's cardinality).
    groups: usize,
    /// Channels of a group where the layer has 64 planes.
    width_per_group: usize,
}

impl ResNetConfig {
    const fn new(block: Block, layers: [usize; 4]) -> Self {
        Self {
            block,
            layers,
            groups: 1,
            width_per_group: 64,
        }
    }

    const fn groups(self, groups: usize, width_per_group: usize) -> Self {
        Self {
            groups,
            width_per_group,
            ..self
        }
    }

    /// Channels inside a block.
    const fn width(self, planes: usize) -> usize {
        planes * self.width_per_group / 64 * self.groups
    }
}

/// ResNet-18.
const RESNET18: ResNetConfig = ResNetConfig::new(Block::Basic, [2, 2, 2, 2]);
/// ResNet-34.
const RESNET34: ResNetConfig = ResNetConfig::new(Block::Basic, [3, 4, 6, 3]);
/// ResNet-50.
const RESNET50: ResNetConfig = ResNetConfig::new(Block::Bottleneck, [3, 4, 6, 3]);
/// ResNet-101.
const RESNET101: ResNetConfig = ResNetConfig::new(Block::Bottleneck, [3, 4, 23, 3]);
/// ResNet-152.
const RESNET152: ResNetConfig = ResNetConfig::new(Block::Bottleneck, [3, 8, 36, 3]);
/// ResNeXt-50 32x4d.
const RESNEXT50_32X4D: ResNetConfig = RESNET50.groups(32, 4);
/// ResNeXt-101 32x8d.
const RESNEXT101_32X8D: ResNetConfig = RESNET101.groups(32, 8);
/// ResNeXt-101 64x4d.
const RESNEXT101_64X4D: ResNetConfig = RESNET101.groups(64, 4);
/// Wide ResNet-50-2.
const WIDE_RESNET50_2: ResNetConfig = RESNET50.groups(1, 128);
/// Wide ResNet-101-2.
const WIDE_RESNET101_2: ResNetConfig = RESNET101.groups(1, 128);

/// Stages from stem to head.
const STAGES: &[&str] = &["conv1,bn1", "layer1", "layer2", "layer3", "layer4", "fc"];

/// The rows of the registry.
pub(super) const MODELS: &[ModelEntry] = &[
    ModelEntry {
        name: "resnet18",
        title: "ResNet-18",
        parameters: 11_689_512,
        feature_dim: 512,
        weights: &[WeightsEntry::timm(
            "resnet18.tv_in1k",
            "timm/resnet18.tv_in1k",
            [69.758, 89.078],
        )],
        ..residual(|dims| build(&RESNET18, dims))
    },
    ModelEntry {
        name: "resnet34",
        title: "ResNet-34",
        parameters: 21_797_672,
        feature_dim: 512,
        weights: &[WeightsEntry::timm(
            "resnet34.tv_in1k",
            "timm/resnet34.tv_in1k",
            [73.314, 91.420],
        )],
        ..residual(|dims| build(&RESNET34, dims))
    },
    ModelEntry {
        name: "resnet50",
        title: "ResNet-50",
        parameters: 25_557_032,
        weights: &[
            WeightsEntry::timm(
                "resnet50.tv_in1k",
                "timm/resnet50.tv_in1k",
                [76.130, 92.862],
            ),
            timm2(
                "resnet50.tv2_in1k",
                "timm/resnet50.tv2_in1k",
                [80.858, 95.434],
            ),
        ],
        ..residual(|dims| build(&RESNET50, dims))
    },
    ModelEntry {
        name: "resnet101",
        title: "ResNet-101",
        parameters: 44_549_160,
        weights: &[
            WeightsEntry::timm(
                "resnet101.tv_in1k",
                "timm/resnet101.tv_in1k",
                [77.374, 93.546],
            ),
            timm2(
                "resnet101.tv2_in1k",
                "timm/resnet101.tv2_in1k",
                [81.886, 95.780],
            ),
        ],
        ..residual(|dims| build(&RESNET101, dims))
    },
    ModelEntry {
        name: "resnet152",
        title: "ResNet-152",
        parameters: 60_192_808,
        weights: &[
            WeightsEntry::timm(
                "resnet152.tv_in1k",
                "timm/resnet152.tv_in1k",
                [78.312, 94.046],
            ),
            timm2(
                "resnet152.tv2_in1k",
                "timm/resnet152.tv2_in1k",
                [82.284, 96.002],
            ),
        ],
        ..residual(|dims| build(&RESNET152, dims))
    },
    ModelEntry {
        name: "resnext50_32x4d",
        title: "ResNeXt-50 32x4d",
        parameters: 25_028_904,
        weights: &[
            WeightsEntry::timm(
                "resnext50_32x4d.tv_in1k",
                "timm/resnext50_32x4d.tv_in1k",
                [77.618, 93.698],
            ),
            timm2(
                "resnext50_32x4d.tv2_in1k",
                "timm/resnext50_32x4d.tv2_in1k",
                [81.198, 95.340],
            ),
        ],
        ..residual(|dims| build(&RESNEXT50_32X4D, dims))
    },
    ModelEntry {
        name: "resnext101_32x8d",
        title: "ResNeXt-101 32x8d",
        parameters: 88_791_336,
        weights: &[
            WeightsEntry::timm(
                "resnext101_32x8d.tv_in1k",
                "timm/resnext101_32x8d.tv_in1k",
                [79.312, 94.526],
            ),
            timm2(
                "resnext101_32x8d.tv2_in1k",
                "timm/resnext101_32x8d.tv2_in1k",
                [82.834, 96.228],
            ),
        ],
        ..residual(|dims| build(&RESNEXT101_32X8D, dims))
    },
    ModelEntry {
        name: "resnext101_64x4d",
        title: "ResNeXt-101 64x4d",
        parameters: 83_455_272,
        // torchvision published this one with its new recipe only; timm tags it `tv_in1k` nevertheless.
        preprocessing: Preprocessing::TORCHVISION_V2,
        weights: &[timm2(
            "resnext101_64x4d.tv_in1k",
            "timm/resnext101_64x4d.tv_in1k",
            [83.246, 96.454],
        )],
        ..residual(|dims| build(&RESNEXT101_64X4D, dims))
    },
    ModelEntry {
        name: "wide_resnet50_2",
        title: "Wide ResNet-50-2",
        parameters: 68_883_240,
        weights: &[
            WeightsEntry::timm(
                "wide_resnet50_2.tv_in1k",
                "timm/wide_resnet50_2.tv_in1k",
                [78.468, 94.086],
            ),
            timm2(
                "wide_resnet50_2.tv2_in1k",
                "timm/wide_resnet50_2.tv2_in1k",
                [81.602, 95.758],
            ),
        ],
        ..residual(|dims| build(&WIDE_RESNET50_2, dims))
    },
    ModelEntry {
        name: "wide_resnet101_2",
        title: "Wide ResNet-101-2",
        parameters: 126_886_696,
        weights: &[
            WeightsEntry::timm(
                "wide_resnet101_2.tv_in1k",
                "timm/wide_resnet101_2.tv_in1k",
                [78.848, 94.284],
            ),
            timm2(
                "wide_resnet101_2.tv2_in1k",
                "timm/wide_resnet101_2.tv2_in1k",
                [82.510, 96.020],
            ),
        ],
        ..residual(|dims| build(&WIDE_RESNET101_2, dims))
    },
];

/// What the rows share; those of bottlenecks all of it but the name, the size and the weights.
const fn residual(build: BuildFn) -> ModelEntry {
    ModelEntry {
        feature_dim: 2048,
        ..ModelEntry::imagenet("resnet", build, STAGES, "fc")
    }
}

const fn timm2(tag: &'static str, id: &'static str, top: [f32; 2]) -> WeightsEntry {
    WeightsEntry {
        preprocessing: Preprocessing::TORCHVISION_V2,
        ..WeightsEntry::timm(tag, id, top)
    }
}

/// Builds the graph. Shapes in comments are those at 224 x 224.
fn build(config: &ResNetConfig, dims: &Dimensions) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new();
    let x = b.input("image", dims.image());
    let stem = Conv2d::new(dims.in_channels, 64, 7).stride(2).padding(3);
    let x = unit(&mut b, x, ["conv1", "bn1"], stem, Some("relu"))?; // [B, 64, 112, 112]
    let pool = MaxPool2d {
        kernel_size: 3,
        stride: 2,
        padding: 1,
        ceil_mode: false,
    };
    let mut x = b.max_pool2d("maxpool", x, pool)?; // [B, 64, 56, 56]
    let mut in_channels = 64;
    for (layer, blocks) in config.layers.iter().enumerate() {
        let planes = 64 << layer;
        for i in 0..*blocks {
            let block = BlockPosition {
                path: format!("layer{}.{i}", layer + 1),
                in_channels,
                planes,
                stride: if i == 0 && layer > 0 { 2 } else { 1 },
            };
            x = residual_block(&mut b, x, config, &block)?;
            in_channels = planes * config.block.expansion();
        }
    } // [B, in_channels, 7, 7]
    let x = b.global_avg_pool("avgpool", x)?;
    let x = b.flatten("flatten", x)?; // [B, in_channels]
    let x = b.linear("fc", x, Linear::new(in_channels, dims.num_classes))?;
    b.finish(&[("logits", x)])
}

struct BlockPosition {
    path: String,
    in_channels: usize,
    planes: usize,
    stride: usize,
}

fn residual_block(
    b: &mut GraphBuilder,
    x: NodeId,
    config: &ResNetConfig,
    block: &BlockPosition,
) -> Result<NodeId, GraphError> {
    let at = |name: &str| format!("{}.{name}", block.path);
    let out_channels = block.planes * config.block.expansion();
    let (out, last_relu) = match config.block {
        Block::Basic => {
            let conv1 = Conv2d::new(block.in_channels, block.planes, 3)
                .stride(block.stride)
                .padding(1);
            let conv2 = Conv2d::new(block.planes, block.planes, 3).padding(1);
            let out = unit(b, x, [&at("conv1"), &at("bn1")], conv1, Some(&at("relu")))?;
            let out = unit(b, out, [&at("conv2"), &at("bn2")], conv2, None)?;
            (out, at("relu_1"))
        }
        Block::Bottleneck => {
            let width = config.width(block.planes);
            let conv1 = Conv2d::new(block.in_channels, width, 1);
            let conv2 = Conv2d::new(width, width, 3)
                .stride(block.stride)
                .padding(1)
                .groups(config.groups);
            let conv3 = Conv2d::new(width, out_channels, 1);
            let out = unit(b, x, [&at("conv1"), &at("bn1")], conv1, Some(&at("relu")))?;
            let relu_1 = at("relu_1");
            let out = unit(b, out, [&at("conv2"), &at("bn2")], conv2, Some(&relu_1))?;
            let out = unit(b, out, [&at("conv3"), &at("bn3")], conv3, None)?;
            (out, at("relu_2"))
        }
    };
    let identity = if block.stride != 1 || block.in_channels != out_channels {
        let conv = Conv2d::new(block.in_channels, out_channels, 1).stride(block.stride);
        unit(b, x, [&at("downsample.0"), &at("downsample.1")], conv, None)?
    } else {
        x
    };
    let sum = b.add_values(&at("add"), out, identity)?;
    b.activation(&last_relu, sum, Activation::Relu)
}

/// Convolution, batch norm and, if it is named, ReLU; drawn as torchvision draws it.
fn unit(
    b: &mut GraphBuilder,
    x: NodeId,
    [conv_name, norm_name]: [&str; 2],
    conv: Conv2d,
    relu: Option<&str>,
) -> Result<NodeId, GraphError> {
    let unit = ConvNorm {
        conv_name,
        conv,
        init: Init::kaiming_normal_fan_out(
            conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1],
        ),
        norm_name,
        norm: NormConfig::TORCH,
    };
    match relu {
        Some(name) => conv_norm_activation(b, x, &unit, name, Activation::Relu),
        None => conv_norm(b, x, &unit),
    }
}
