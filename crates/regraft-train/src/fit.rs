//! The training loop.

use crate::config::TrainSettings;
use crate::error::TrainError;
use crate::event::{EpochRecord, Event, Listener};
use crate::features::Features;
use crate::loss::{BatchLoss, CrossEntropy};
use crate::optimizer::{Optimizer, ParamGroup};
use regraft_data::{SampleRng, shuffled_indices};
use regraft_engine::{EngineError, Mode, ParamSlot, Precision, Session, SessionOptions};
use regraft_graph::surgery::{Fold, fold_batch_norm};
use regraft_graph::{Graph, ParameterKind, StateDict};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What is trained, and on what.
pub(crate) struct Task<'a> {
    /// The trained part of the model; its output is `logits`.
    pub(crate) graph: &'a Graph,
    /// Values to start from.
    pub(crate) state: &'a StateDict,
    /// Names of parameters that start afresh.
    pub(crate) fresh: &'a [String],
    /// Number of classes.
    pub(crate) num_classes: usize,
    /// Inputs to train on.
    pub(crate) train: &'a Features,
    /// Inputs to compare epochs by.
    pub(crate) validation: &'a Features,
}

/// What the loop ended with.
pub(crate) struct Fitted {
    /// Parameters and running statistics of the trained part after the last step.
    pub(crate) state: StateDict,
    /// Whether it was asked to stop before its last epoch.
    pub(crate) interrupted: bool,
}

/// Trains until all epochs are done or `stop` is set, telling the listener about every step and epoch.
///
/// # Errors
/// [`TrainError::LossNotFinite`] when training diverges; whatever goes wrong with images or in the engine.
pub(crate) fn fit(
    task: &Task<'_>,
    settings: &TrainSettings,
    listener: &mut dyn Listener,
    stop: &AtomicBool,
) -> Result<Fitted, TrainError> {
    let mut session = Session::new(task.graph, task.state, options(Mode::Train))?;
    let mut evaluator = Evaluator::new(task.graph, task.state)?;
    let groups = param_groups(session.trainable(), task.fresh, settings);
    let block_len = session.values_and_gradients()?.0.len();
    let mut optimizer = Optimizer::new(settings.update_rule(), groups, block_len)?;
    let loss = CrossEntropy::new(task.num_classes, settings.label_smoothing)?;
    let plain_loss = CrossEntropy::new(task.num_classes, 0.0)?;
    let batch_size = settings.batch_size.min(task.train.len());
    let evaluation_batch = evaluation_batch(task.graph, batch_size);
    let samples = usable_samples(&mut session, task.train.len(), batch_size, listener)?;
    let mut best: Option<BatchLoss> = None;

    for epoch in 1..=settings.epochs {
        let started = Instant::now();
        let mut order = shuffled_indices(task.train.len(), settings.seed, epoch as u64);
        order.truncate(samples);
        let mut batches = task.train.epoch(epoch, order, batch_size);
        let mut train = BatchLoss::default();
        let mut step_number = 0;
        while let Some((mut step, labels)) = batches.next_into(&mut session, None)? {
            step_number += 1;
            step.forward(dropout_seed(settings.seed, epoch, step_number))?;
            let (logits, gradient) = step.output_and_gradient("logits")?;
            let batch = loss.loss_and_gradient(logits, labels, gradient)?;
            if !batch.loss_sum.is_finite() {
                return Err(TrainError::LossNotFinite {
                    epoch,
                    step: step_number,
                    loss: batch.mean_loss(),
                    lr: settings.lr,
                });
            }
            step.backward()?;
            let (values, gradients) = session.values_and_gradients()?;
            optimizer.step(values, gradients)?;
            train += batch;
            listener.on_event(&Event::Step {
                epoch,
                step: step_number,
                steps: samples.div_ceil(batch_size),
                so_far: train,
            });
            if stop.load(Ordering::Relaxed) {
                return Ok(Fitted {
                    state: session.state_dict()?,
                    interrupted: true,
                });
            }
        }
        let train_seconds = started.elapsed().as_secs_f64();

        let state = session.state_dict()?;
        evaluator.load(&state)?;
        let validation = evaluator.loss(task.validation, evaluation_batch, &plain_loss)?;
        let is_best = best.is_none_or(|best| is_better(validation, best));
        if is_best {
            best = Some(validation);
        }
        let record = EpochRecord {
            epoch,
            train_loss: train.mean_loss(),
            train_accuracy: train.accuracy(),
            val_loss: validation.mean_loss(),
            val_accuracy: validation.accuracy(),
            lr: settings.lr,
            seconds: started.elapsed().as_secs_f64(),
            images_per_second: train.count as f64 / train_seconds,
        };
        listener.on_event(&Event::EpochFinished {
            record: &record,
            is_best,
            state: &state,
        });
    }
    Ok(Fitted {
        state: session.state_dict()?,
        interrupted: false,
    })
}

/// Better by accuracy; of equals, by loss. A loss that is not a number is worse than any.
fn is_better(new: BatchLoss, best: BatchLoss) -> bool {
    let lower_loss = new.loss_sum < best.loss_sum || best.loss_sum.is_nan();
    new.correct > best.correct || (new.correct == best.correct && lower_loss)
}

/// How many samples of an epoch can be trained on. All, unless the last batch has a single sample and a batch norm would
/// normalise single values: PyTorch fails there, here the sample (another one in every epoch) is left out.
fn usable_samples(
    session: &mut Session,
    samples: usize,
    batch_size: usize,
    listener: &mut dyn Listener,
) -> Result<usize, TrainError> {
    let rest = samples % batch_size;
    session.batch(batch_size)?;
    if rest == 0 {
        return Ok(samples);
    }
    match session.batch(rest) {
        Ok(_) => Ok(samples),
        Err(EngineError::SingleValueBatchNorm { .. }) => {
            listener.on_event(&Event::Note(format!(
                "the last batch of each epoch would have {rest} image, too few for batch norm: it is left out"
            )));
            Ok(samples - rest)
        }
        Err(error) => Err(error.into()),
    }
}

/// A trained part that does little with each input value, such as a head, waits for memory: it evaluates so few samples
/// at once that they stay in a core's cache. Anything else evaluates as many as it trains on.
fn evaluation_batch(graph: &Graph, batch_size: usize) -> usize {
    const CACHED_VALUES: usize = 1 << 19;
    let inputs = graph.inputs().map(|id| graph.shape(id).sample_len());
    let values = inputs.sum::<usize>().max(1);
    let waits_for_memory = graph.summary().multiply_adds < 32 * values as u64;
    if waits_for_memory {
        (CACHED_VALUES / values).clamp(1, batch_size)
    } else {
        batch_size
    }
}

/// Runs of parameters with one learning rate and weight decay: fresh ones learn at the head's rate, and weights alone
/// decay, neither biases nor normalisations.
fn param_groups(
    slots: &[ParamSlot],
    fresh: &[String],
    settings: &TrainSettings,
) -> Vec<ParamGroup> {
    let traits = |slot: &ParamSlot| {
        (
            fresh.contains(&slot.name),
            slot.kind == ParameterKind::Weight,
        )
    };
    slots
        .chunk_by(|a, b| traits(a) == traits(b))
        .map(|run| {
            let (is_fresh, decays) = traits(&run[0]);
            ParamGroup {
                range: run[0].range.start..run[run.len() - 1].range.end,
                lr: if is_fresh {
                    settings.head_lr
                } else {
                    settings.lr
                },
                weight_decay: if decays { settings.weight_decay } else { 0.0 },
            }
        })
        .collect()
}

fn dropout_seed(seed: u64, epoch: usize, step: usize) -> u64 {
    SampleRng::new(!seed, epoch as u64, step as u64).next_u64()
}

pub(crate) fn options(mode: Mode) -> SessionOptions {
    SessionOptions {
        mode,
        precision: Precision::F32,
    }
}

/// A graph in evaluation: batch norms folded, no dropout.
pub(crate) struct Evaluator {
    fold: Fold,
    session: Session,
}

impl Evaluator {
    pub(crate) fn new(graph: &Graph, state: &StateDict) -> Result<Self, TrainError> {
        let fold = fold_batch_norm(graph)?;
        let session = Session::new(&fold.graph, &fold.apply(state)?, options(Mode::Eval))?;
        Ok(Self { fold, session })
    }

    fn load(&mut self, state: &StateDict) -> Result<(), TrainError> {
        Ok(self.session.load(&self.fold.apply(state)?)?)
    }

    /// Loss and accuracy over all samples.
    fn loss(
        &mut self,
        features: &Features,
        batch_size: usize,
        loss: &CrossEntropy,
    ) -> Result<BatchLoss, TrainError> {
        let mut sum = BatchLoss::default();
        let order = (0..features.len()).collect();
        let mut batches = features.epoch(0, order, batch_size);
        while let Some((mut step, labels)) =
            batches.next_into(&mut self.session, Some(batch_size))?
        {
            step.forward(0)?;
            let logits = step.output("logits")?;
            sum += loss.loss(&logits[..labels.len() * loss.num_classes()], labels)?;
        }
        Ok(sum)
    }
}
