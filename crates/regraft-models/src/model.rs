//! A model: its graph and what transfer learning must know about it.

use crate::entry::{ModelEntry, WeightsEntry};
use crate::error::ModelError;
use crate::preprocessing::Preprocessing;
use crate::registry::find;
use regraft_graph::surgery::{self, HeadSpec};
use regraft_graph::{Graph, GraphBuilder, GraphError, NamePattern, Shape};

/// Sizes larger than any real model's are refused, so that products of them cannot overflow.
const MAX_INPUT_SIZE: usize = 1 << 14;
const MAX_IN_CHANNELS: usize = 1 << 12;
const MAX_CLASSES: usize = 1 << 24;

/// What may differ from the published model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Outputs of the classifier; the published weights' if not given.
    pub num_classes: Option<usize>,
    /// Height and width of the images in pixels; the preprocessing's if not given.
    pub input_size: Option<[usize; 2]>,
    /// Channels of the images; 3 if not given. The published first convolution fits 3 only.
    pub in_channels: Option<usize>,
}

/// The options of a build, checked and complete.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dimensions {
    pub(crate) num_classes: usize,
    pub(crate) in_channels: usize,
    pub(crate) input_size: [usize; 2],
}

impl Dimensions {
    /// `[B, in_channels, height, width]`
    pub(crate) fn image(&self) -> Shape {
        let [height, width] = self.input_size;
        Shape::batched(&[self.in_channels, height, width])
    }
}

/// A model of the zoo.
///
/// # Shapes
/// The graph's only input is `image`, `[B, in_channels, height, width]`, its only output `logits`, `[B, num_classes]`.
#[derive(Debug, Clone)]
pub struct Model {
    /// The network.
    pub graph: Graph,
    /// The node that a new head replaces.
    pub head: &'static str,
    /// The node whose output, averaged over height and width if it is a map, is the feature vector; see
    /// [`features`](Self::features).
    pub feature_node: &'static str,
    /// Patterns of parameter names from stem to head; the last one is the classifier.
    pub stages: Vec<NamePattern>,
    /// What the images must look like.
    pub preprocessing: Preprocessing,
    /// The row of the registry.
    pub entry: &'static ModelEntry,
    /// The weights that the name picked: those of its tag, else the default ones.
    pub weights: Option<&'static WeightsEntry>,
}

/// Builds a model from its name, an alias or a weights tag (see [`find`]). Everything is trainable.
///
/// # Errors
/// [`ModelError::UnknownModel`], [`ModelError::UnknownWeights`], [`ModelError::OutOfRange`] for a size that makes no sense
/// for this model.
pub fn build(name: &str, options: &BuildOptions) -> Result<Model, ModelError> {
    let found = find(name)?;
    let entry = found.entry;
    let preprocessing = found
        .weights
        .map_or(entry.preprocessing, |w| w.preprocessing);
    let dims = check(entry, &preprocessing, options)?;
    let graph_error = |source| ModelError::Graph {
        model: entry.name,
        source,
    };
    let graph = (entry.build)(&dims).map_err(graph_error)?;
    let stages = entry
        .stages
        .iter()
        .map(|pattern| NamePattern::new(pattern))
        .collect::<Result<_, _>>()
        .map_err(graph_error)?;
    Ok(Model {
        graph,
        head: entry.head,
        feature_node: entry.feature_node,
        stages,
        preprocessing: preprocessing.with_input_size(dims.input_size),
        entry,
        weights: found.weights,
    })
}

fn check(
    entry: &'static ModelEntry,
    preprocessing: &Preprocessing,
    options: &BuildOptions,
) -> Result<Dimensions, ModelError> {
    let within = |option, got, min, max| {
        if (min..=max).contains(&got) {
            Ok(got)
        } else {
            Err(ModelError::OutOfRange {
                model: entry.name,
                option,
                got,
                min,
                max,
            })
        }
    };
    let [height, width] = options.input_size.unwrap_or(preprocessing.input_size);
    let side = |got| within("input_size", got, entry.min_input_size, MAX_INPUT_SIZE);
    Ok(Dimensions {
        num_classes: within(
            "num_classes",
            options.num_classes.unwrap_or(entry.num_classes),
            1,
            MAX_CLASSES,
        )?,
        in_channels: within(
            "in_channels",
            options.in_channels.unwrap_or(3),
            1,
            MAX_IN_CHANNELS,
        )?,
        input_size: [side(height)?, side(width)?],
    })
}

impl Model {
    /// Puts a fresh classifier of `num_classes` in the place of the old one.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] without classes; [`ModelError::Graph`] if the graph has lost its head.
    pub fn replace_head(&mut self, num_classes: usize) -> Result<(), ModelError> {
        if !(1..=MAX_CLASSES).contains(&num_classes) {
            return Err(ModelError::OutOfRange {
                model: self.entry.name,
                option: "num_classes",
                got: num_classes,
                min: 1,
                max: MAX_CLASSES,
            });
        }
        surgery::replace_head(&mut self.graph, self.head, HeadSpec { num_classes })
            .map_err(|source| self.graph_error(source))
    }

    /// Trains the last `count` stages and freezes the others. The classifier is the last stage: 1 is a linear probe, as
    /// many as there are stages is full fine-tuning.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] for 0 or more stages than there are.
    pub fn train_last_stages(&mut self, count: usize) -> Result<(), ModelError> {
        let stages = self.stages.len();
        if !(1..=stages).contains(&count) {
            return Err(ModelError::OutOfRange {
                model: self.entry.name,
                option: "trained stages",
                got: count,
                min: 1,
                max: stages,
            });
        }
        surgery::freeze_all(&mut self.graph);
        for stage in &self.stages[stages - count..] {
            surgery::unfreeze(&mut self.graph, stage).map_err(|source| ModelError::Graph {
                model: self.entry.name,
                source,
            })?;
        }
        Ok(())
    }

    /// The stage that a parameter belongs to, counted from the stem.
    pub fn stage_of(&self, parameter: &str) -> Option<usize> {
        self.stages.iter().position(|s| s.matches(parameter))
    }

    /// The graph without its classifier: its only output is `features`, `[B, feature_dim]`.
    ///
    /// # Errors
    /// [`ModelError::Graph`] if the feature node was cut away.
    pub fn features(&self) -> Result<Graph, ModelError> {
        self.pooled().map_err(|source| self.graph_error(source))
    }

    fn pooled(&self) -> Result<Graph, GraphError> {
        let node = self.graph.find(self.feature_node)?;
        let mut b = GraphBuilder::resume(self.graph.clone());
        let features = if self.graph.shape(node).rank() == 4 {
            let pooled = b.global_avg_pool("features_avgpool", node)?;
            b.flatten("features_flatten", pooled)?
        } else {
            node
        };
        b.finish(&[("features", features)])
    }

    fn graph_error(&self, source: GraphError) -> ModelError {
        ModelError::Graph {
            model: self.entry.name,
            source,
        }
    }
}
