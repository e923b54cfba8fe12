//! The frozen part of a model, run without gradients: what it makes of an image is the same in every epoch.

use crate::error::TrainError;
use crate::feature_cache::SpaceKey;
use crate::pretrained::digest;
use regraft_engine::{
    EngineError, Mode, Precision, Session, SessionOptions, for_each_chunk_mut, kernel_library,
};
use regraft_graph::surgery::{self, Cut, Fold};
use regraft_graph::{Graph, Op, StateDict};
use std::fmt::Write as _;

/// The frozen part always runs on so many images at once, the last ones padded, so that what it makes of an image
/// depends neither on the training batch nor on where the image stands.
const FROZEN_BATCH: usize = 32;

/// A value that crosses the cut: one of those that make up a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CutValue {
    /// Name of the node, in the frozen and the trained part alike.
    pub(crate) name: String,
    /// Where it starts in a row.
    pub(crate) start: usize,
    /// Number of values of one sample.
    pub(crate) len: usize,
}

/// A model cut at the frozen boundary.
#[derive(Debug)]
pub(crate) struct CutModel {
    frozen: Fold,
    /// What is trained, reading the cut's nodes as inputs.
    pub(crate) trained: Graph,
    /// What crosses the cut, in the order of a row.
    pub(crate) values: Vec<CutValue>,
    /// Parameters of the frozen part as they were loaded.
    unfolded: Graph,
}

impl CutModel {
    /// Cuts a graph whose parameters are marked.
    pub(crate) fn new(graph: &Graph) -> Result<Self, TrainError> {
        let cut: Cut = surgery::frozen_boundary(graph);
        let (unfolded, trained) = surgery::split(graph, &cut)?;
        let mut start = 0;
        let values = cut
            .nodes
            .iter()
            .map(|id| {
                let len = graph.shape(*id).sample_len();
                start += len;
                CutValue {
                    name: graph.node(*id).name.clone(),
                    start: start - len,
                    len,
                }
            })
            .collect();
        Ok(Self {
            frozen: surgery::fold_batch_norm(&unfolded)?,
            trained,
            values,
            unfolded,
        })
    }

    /// Names of the nodes that cross the cut.
    pub(crate) fn cut(&self) -> Vec<String> {
        self.values.iter().map(|value| value.name.clone()).collect()
    }

    /// Number of values that cross the cut for one sample.
    pub(crate) fn row_len(&self) -> usize {
        self.values.iter().map(|value| value.len).sum()
    }

    /// Whether nothing is frozen before the cut: a row is the image itself.
    pub(crate) fn is_at_input(&self) -> bool {
        let nodes = self.unfolded.nodes();
        nodes.iter().all(|node| node.op == Op::Input)
    }

    /// What the rows of this frozen part are filed under.
    pub(crate) fn space_key(
        &self,
        model: &str,
        state: &StateDict,
        transform: String,
    ) -> Result<SpaceKey, TrainError> {
        let mut graph = String::new();
        for node in self.unfolded.nodes() {
            // Writing to a string cannot fail.
            let _ = writeln!(
                graph,
                "{} {:?} {:?} {:?}",
                node.name, node.op, node.inputs, node.shape
            );
        }
        let parameters = self.unfolded.parameters();
        let tensors: Vec<_> = parameters
            .iter()
            .map(|p| Ok((p.name.as_str(), state.value(&p.name, &p.shape)?)))
            .collect::<Result<_, TrainError>>()?;
        Ok(SpaceKey {
            model: model.to_owned(),
            cut: self.cut(),
            graph: blake3::hash(graph.as_bytes()).to_hex().to_string(),
            weights: digest(tensors.into_iter()).to_hex().to_string(),
            transform,
            precision: "f32".to_owned(),
            engine: format!(
                "regraft {}, {}",
                env!("CARGO_PKG_VERSION"),
                kernel_library()
            ),
        })
    }

    /// Makes the frozen part ready to run; `None` if there is nothing to run.
    pub(crate) fn frozen_part(&self, state: &StateDict) -> Result<Option<FrozenPart>, TrainError> {
        if self.is_at_input() {
            return Ok(None);
        }
        let options = SessionOptions {
            mode: Mode::Eval,
            precision: Precision::F32,
        };
        let graph = &self.frozen.graph;
        let inputs: Vec<_> = graph.inputs().collect();
        let [input] = inputs.as_slice() else {
            return Err(TrainError::OneInput {
                inputs: inputs.len(),
            });
        };
        Ok(Some(FrozenPart {
            input: graph.node(*input).name.clone(),
            image_len: graph.shape(*input).sample_len(),
            session: Session::new(graph, &self.frozen.apply(state)?, options)?,
            values: self.values.clone(),
        }))
    }
}

/// The frozen part, ready to run.
#[derive(Debug)]
pub(crate) struct FrozenPart {
    session: Session,
    input: String,
    image_len: usize,
    values: Vec<CutValue>,
}

impl FrozenPart {
    /// Computes the rows of a batch of images.
    pub(crate) fn run(&mut self, images: &[f32], rows: &mut [f32]) -> Result<(), TrainError> {
        let row_len: usize = self.values.iter().map(|value| value.len).sum();
        let chunks = images.chunks(FROZEN_BATCH * self.image_len);
        for (images, rows) in chunks.zip(rows.chunks_mut(FROZEN_BATCH * row_len)) {
            let mut step = self.session.batch(FROZEN_BATCH)?;
            // What is left of earlier images behind a short batch is computed along and not read.
            step.input_mut(&self.input)?[..images.len()].copy_from_slice(images);
            step.forward(0)?;
            let outputs = self
                .values
                .iter()
                .map(|value| step.output(&value.name))
                .collect::<Result<Vec<_>, EngineError>>()?;
            for_each_chunk_mut([(rows, row_len)], |sample, [row]| {
                for (value, output) in self.values.iter().zip(&outputs) {
                    let output = &output[sample * value.len..][..value.len];
                    row[value.start..][..value.len].copy_from_slice(output);
                }
            });
        }
        Ok(())
    }
}
