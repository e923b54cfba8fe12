//! A model with its weights and class names, ready to look at images.

use crate::error::TrainError;
use crate::event::{Event, Listener};
use crate::fit::options;
use crate::preprocessing::to_data;
use crate::pretrained;
use crate::run_folder::RunFolder;
use regraft_data::{Loader, LoaderConfig, Samples, Transform, available_threads};
use regraft_engine::{Mode, Session};
use regraft_graph::surgery::fold_batch_norm;
use regraft_graph::{Graph, StateDict};
use regraft_models::{BuildOptions, Model};
use std::path::Path;
use std::sync::Arc;

/// A model with its weights and class names: a trained one out of a run folder, or a pre-trained one of the zoo.
#[derive(Debug, Clone)]
pub struct Classifier {
    model: Model,
    state: StateDict,
    classes: Vec<String>,
    /// Whether the head was drawn at random because the weights have none.
    head_is_fresh: bool,
}

/// How images are put through a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InferenceOptions {
    /// Images at a time.
    pub batch_size: usize,
    /// Threads to compute with.
    pub threads: usize,
}

impl Default for InferenceOptions {
    /// 32 images at a time on every core.
    fn default() -> Self {
        Self {
            batch_size: 32,
            threads: available_threads(),
        }
    }
}

impl Classifier {
    /// The model of a run folder.
    ///
    /// # Errors
    /// [`TrainError::NotARun`], or whatever is wrong with its model card or weights.
    pub fn open(run: &Path) -> Result<Self, TrainError> {
        let run = RunFolder::open(run)?;
        let card = run.read_card()?;
        let options = BuildOptions {
            num_classes: Some(card.classes.len()),
            input_size: Some(card.preprocessing.input_size),
            ..BuildOptions::default()
        };
        let mut model = regraft_models::build(&card.architecture, &options)?;
        model.preprocessing = card.preprocessing;
        let state = pretrained::read_all(&model, &run.weights_path())?;
        Ok(Self {
            model,
            state,
            classes: card.classes,
            head_is_fresh: false,
        })
    }

    /// A model of the zoo with `weights` as `--weights` takes them (see [`pretrained::load`]). Its classes have no names
    /// but their numbers.
    ///
    /// # Errors
    /// As [`pretrained::load`].
    pub fn pretrained(
        model: &str,
        weights: Option<&str>,
        image_size: Option<usize>,
        listener: &mut dyn Listener,
    ) -> Result<Self, TrainError> {
        let options = BuildOptions {
            input_size: image_size.map(|size| [size, size]),
            ..BuildOptions::default()
        };
        let model = regraft_models::build(model, &options)?;
        let pretrained = pretrained::load(&model, weights, 0, listener)?;
        Ok(Self {
            classes: (0..model.entry.num_classes)
                .map(|i| i.to_string())
                .collect(),
            state: pretrained.state,
            head_is_fresh: !pretrained.fresh.is_empty(),
            model,
        })
    }

    /// Class names, in the order of the outputs.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Values of its parameters and buffers.
    pub fn state(&self) -> &StateDict {
        &self.state
    }

    /// The whole model, unless it has no head to speak of.
    pub(crate) fn logits_graph(&self) -> Result<&Graph, TrainError> {
        if self.head_is_fresh {
            Err(TrainError::NoHead {
                model: self.model.entry.name,
                head: self.model.head,
            })
        } else {
            Ok(&self.model.graph)
        }
    }

    /// Runs a graph whose only output is `output` on all samples in order. `each` gets the outputs of a batch (as the
    /// engine lays them out) and its labels.
    pub(crate) fn run(
        &self,
        (graph, output): (&Graph, &str),
        samples: &Samples,
        inference: &InferenceOptions,
        listener: &mut dyn Listener,
        mut each: impl FnMut(&[f32], &[usize]),
    ) -> Result<(), TrainError> {
        regraft_engine::set_threads(inference.threads);
        let transform = Transform::evaluation(&to_data(&self.model.preprocessing));
        let config = LoaderConfig {
            batch_size: inference.batch_size.min(samples.len().max(1)),
            threads: inference.threads,
            ..LoaderConfig::default()
        };
        let loader = Loader::new(Arc::new(samples.clone()), transform, &config)?;
        let fold = fold_batch_norm(graph)?;
        let mut session =
            Session::new(&fold.graph, &fold.apply(&self.state)?, options(Mode::Eval))?;
        let inputs: Vec<_> = graph.inputs().map(|id| &graph.node(id).name).collect();
        let [input] = inputs.as_slice() else {
            return Err(TrainError::OneInput {
                inputs: inputs.len(),
            });
        };
        let (mut done, total) = (0, samples.len());
        let mut batches = loader.in_order();
        while let Some(batch) = batches.next_batch() {
            let batch = batch?;
            // A short last batch runs in the same plan; what is left of earlier images is computed along and not read.
            let mut step = session.batch(config.batch_size)?;
            step.input_mut(input)?[..batch.images.len()].copy_from_slice(&batch.images);
            step.forward(0)?;
            let values = step.output(output)?;
            let row_len = values.len() / config.batch_size;
            each(&values[..batch.len() * row_len], &batch.labels);
            done += batch.len();
            listener.on_event(&Event::Images { done, total });
        }
        Ok(())
    }
}
