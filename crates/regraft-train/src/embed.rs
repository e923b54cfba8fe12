//! `embed`: what a layer makes of images.

use crate::classifier::{Classifier, InferenceOptions};
use crate::error::TrainError;
use crate::event::Listener;
use crate::predict::unlabelled;
use regraft_graph::Graph;
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Which value of a model is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Layer {
    /// The outputs of the classifier.
    Logits,
    /// What the classifier sees, averaged over height and width if it is a map.
    #[default]
    Features,
    /// The output of a node.
    Node(String),
}

impl FromStr for Layer {
    type Err = Infallible;

    /// `logits`, `features`, or else the name of a node.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "logits" => Self::Logits,
            "features" => Self::Features,
            node => Self::Node(node.to_owned()),
        })
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logits => "logits",
            Self::Features => "features",
            Self::Node(name) => name,
        })
    }
}

/// A value of a model for each of several images.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// Extents of one image's value, in PyTorch's order (`[channels, height, width]` of a map).
    pub shape: Vec<usize>,
    /// The values of all images, one after the other, last dimension fastest.
    pub values: Vec<f32>,
}

impl Classifier {
    /// Computes a layer's value for image files, in order.
    ///
    /// # Errors
    /// When an image cannot be loaded, the file is named; [`TrainError::Graph`] if there is no such node;
    /// [`TrainError::NoHead`] for logits of weights without a classifier.
    pub fn embed(
        &self,
        paths: &[PathBuf],
        layer: &Layer,
        options: &InferenceOptions,
        listener: &mut dyn Listener,
    ) -> Result<Embeddings, TrainError> {
        let (graph, output) = self.layer(layer)?;
        let (_, node) = graph
            .outputs()
            .first()
            .ok_or(regraft_graph::GraphError::NoOutputs)?;
        let shape = graph.shape(*node).sample().unwrap_or_default();
        let mut values = Vec::with_capacity(paths.len() * shape.iter().product::<usize>());
        let samples = unlabelled(paths);
        self.run((&graph, output), &samples, options, listener, |batch, _| {
            append_channels_first(&mut values, batch, &shape);
        })?;
        Ok(Embeddings { shape, values })
    }

    /// A graph whose only output is the layer, and the name of that output.
    fn layer(&self, layer: &Layer) -> Result<(Graph, &'static str), TrainError> {
        match layer {
            Layer::Logits => Ok((self.logits_graph()?.clone(), "logits")),
            Layer::Features => Ok((self.model().features()?, "features")),
            Layer::Node(name) => {
                let graph = &self.model().graph;
                let node = graph.find(name)?;
                Ok((graph.with_outputs(&[("node".to_owned(), node)])?, "node"))
            }
        }
    }
}

/// Appends values that the engine keeps channels-last, if they are maps, in PyTorch's order.
fn append_channels_first(values: &mut Vec<f32>, batch: &[f32], shape: &[usize]) {
    match shape {
        [channels, height, width] => {
            for sample in batch.chunks_exact(channels * height * width) {
                for channel in 0..*channels {
                    values.extend(sample.iter().skip(channel).step_by(*channels));
                }
            }
        }
        _ => values.extend(batch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_come_channels_first() {
        // Two channels of 1 x 3 pixels, channels last.
        let mut values = Vec::new();
        append_channels_first(&mut values, &[0.0, 10.0, 1.0, 11.0, 2.0, 12.0], &[2, 1, 3]);
        assert_eq!(values, [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
    }
}
