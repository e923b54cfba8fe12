//! Keeps the run folder up to date while training goes on.

use crate::error::TrainError;
use crate::event::{EpochRecord, Event, Listener};
use crate::run_folder::{RunFolder, RunMetrics};
use regraft_graph::StateDict;
use std::time::{Duration, Instant};

/// Epochs that are shorter than this are not saved one by one: saving would take longer than training.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// A listener that passes every event on, and saves the weights of the best and the last epoch.
pub(crate) struct Recorder<'a> {
    run: RunFolder,
    listener: &'a mut dyn Listener,
    /// A value for every parameter: where training started, under what it changed.
    state: StateDict,
    best: Option<(EpochRecord, StateDict)>,
    epochs: Vec<EpochRecord>,
    best_is_saved: bool,
    saved: Instant,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(run: RunFolder, initial: &StateDict, listener: &'a mut dyn Listener) -> Self {
        Self {
            run,
            listener,
            state: initial.clone(),
            best: None,
            epochs: Vec::new(),
            best_is_saved: false,
            saved: Instant::now(),
        }
    }

    /// Saves everything. `last` is the trained part after the last step, `None` if training failed.
    pub(crate) fn finish(
        mut self,
        last: Option<&StateDict>,
        validation_images: usize,
        started: Instant,
        interrupted: bool,
    ) -> Result<(RunFolder, RunMetrics, Vec<EpochRecord>), TrainError> {
        // Without a finished epoch the best weights are those of the last step.
        if self.best.is_none()
            && let Some(last) = last
        {
            overlay(&mut self.state, last);
            self.run.write_weights(&self.state)?;
        }
        self.save(last)?;
        let best = self.best.as_ref().map(|(record, _)| record);
        let metrics = RunMetrics {
            best_epoch: best.map_or(0, |best| best.epoch),
            accuracy: best.map_or(0.0, |best| best.val_accuracy),
            loss: best.map_or(0.0, |best| best.val_loss),
            validation_images,
            epochs: self.epochs.len(),
            seconds: started.elapsed().as_secs_f64(),
            interrupted,
        };
        self.run.write_metrics(&metrics)?;
        Ok((self.run, metrics, self.epochs))
    }

    fn save(&mut self, last: Option<&StateDict>) -> Result<(), TrainError> {
        if let Some((_, best)) = &self.best
            && !self.best_is_saved
        {
            overlay(&mut self.state, best);
            self.run.write_weights(&self.state)?;
            self.best_is_saved = true;
        }
        if let Some(last) = last {
            overlay(&mut self.state, last);
            self.run.write_last_weights(&self.state)?;
        }
        self.run.write_history(&self.epochs)
    }
}

impl Listener for Recorder<'_> {
    fn on_event(&mut self, event: &Event<'_>) {
        self.listener.on_event(event);
        let Event::EpochFinished {
            record,
            is_best,
            state,
        } = event
        else {
            return;
        };
        self.epochs.push((*record).clone());
        if *is_best {
            self.best = Some(((*record).clone(), (*state).clone()));
            self.best_is_saved = false;
        }
        if self.saved.elapsed() >= SAVE_EVERY {
            // A disk that is full now may have room again at the end; only then it is an error.
            if let Err(error) = self.save(Some(state)) {
                let text = format!("cannot save epoch {}: {error}", record.epoch);
                self.listener.on_event(&Event::Warning(text));
            }
            self.saved = Instant::now();
        }
    }
}

/// Replaces the values that training changed.
fn overlay(state: &mut StateDict, trained: &StateDict) {
    for (name, tensor) in trained.iter() {
        state.insert(name, tensor.clone());
    }
}
