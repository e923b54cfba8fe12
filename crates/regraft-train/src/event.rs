//! What happens during a run, told to whoever listens: progress bars, logs, checkpoints.
//!
//! The library never prints, and the training loop has no branch for any of its listeners.

use crate::loss::BatchLoss;
use regraft_data::Split;
use regraft_graph::StateDict;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Weights are being downloaded.
    Downloading {
        /// Name of the file.
        name: &'a str,
        /// Bytes that are there.
        done: u64,
        /// Bytes of the whole file, where the server says so.
        total: Option<u64>,
    },
    /// Something that the user should be told, though nothing is wrong.
    Note(String),
    /// Something does not work as asked, and the run goes on without it.
    Warning(String),
    /// Model and data are ready.
    Started(RunInfo<'a>),
    /// The feature cache was searched for the images of a split.
    CacheSearched {
        /// The split.
        split: Split,
        /// Images whose features were there.
        found: usize,
        /// All images of the split.
        images: usize,
    },
    /// The frozen part of the model computed features of so many images.
    Features {
        /// The split that they belong to.
        split: Split,
        /// Images that are done.
        done: usize,
        /// Images whose features were not in the cache.
        total: usize,
    },
    /// One optimizer update is done.
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// The step in this epoch, from 1.
        step: usize,
        /// Steps of an epoch.
        steps: usize,
        /// Loss and accuracy of this epoch so far.
        so_far: BatchLoss,
    },
    /// One pass over training and validation images is done.
    EpochFinished {
        /// What came of it.
        record: &'a EpochRecord,
        /// Whether this is the best epoch so far: by accuracy, then by loss, on the validation images.
        is_best: bool,
        /// Parameters and running statistics of the trained part.
        state: &'a StateDict,
    },
    /// Images are being classified or embedded.
    Images {
        /// Images that are done.
        done: usize,
        /// All images.
        total: usize,
    },
}

/// A run that is about to train.
#[derive(Debug, Clone, Copy)]
pub struct RunInfo<'a> {
    /// The run folder.
    pub run: &'a Path,
    /// Name of the model.
    pub model: &'a str,
    /// Class names.
    pub classes: &'a [String],
    /// Number of training images.
    pub train_images: usize,
    /// Number of validation images.
    pub validation_images: usize,
    /// Elements that training changes.
    pub trainable_parameters: usize,
    /// Elements of all parameters.
    pub total_parameters: usize,
    /// The nodes after which training starts.
    pub cut: &'a [String],
}

/// What came of one epoch: a line of `history.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Mean loss over the training images while they were trained on.
    pub train_loss: f64,
    /// Accuracy over the same.
    pub train_accuracy: f64,
    /// Mean cross entropy over the validation images, without label smoothing.
    pub val_loss: f64,
    /// Accuracy over the same.
    pub val_accuracy: f64,
    /// Learning rate.
    pub lr: f64,
    /// Wall-clock seconds of training and validation.
    pub seconds: f64,
    /// Training images per second, validation excluded.
    pub images_per_second: f64,
}

/// Told what happens; any `FnMut(&Event)` is one.
pub trait Listener {
    /// Called from the thread that trains, between steps: a slow listener slows training.
    fn on_event(&mut self, event: &Event<'_>);
}

impl<F: FnMut(&Event<'_>)> Listener for F {
    fn on_event(&mut self, event: &Event<'_>) {
        self(event);
    }
}
