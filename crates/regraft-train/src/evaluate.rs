//! `evaluate`: what a classifier makes of labelled images.

use crate::classifier::{Classifier, InferenceOptions};
use crate::error::TrainError;
use crate::event::Listener;
use regraft_data::Samples;

impl Classifier {
    /// Classifies labelled images. `each` gets the logits `[images, classes]` and the labels of one batch after the
    /// other; what to measure is its business.
    ///
    /// # Errors
    /// When an image cannot be loaded, the file is named; [`TrainError::NoHead`] if the weights have no classifier.
    pub fn evaluate(
        &self,
        samples: &Samples,
        options: &InferenceOptions,
        listener: &mut dyn Listener,
        each: impl FnMut(&[f32], &[usize]),
    ) -> Result<(), TrainError> {
        let graph = (self.logits_graph()?, "logits");
        self.run(graph, samples, options, listener, each)
    }
}
