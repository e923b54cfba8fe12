//! `predict`: the classes of images.

use crate::classifier::{Classifier, InferenceOptions};
use crate::error::TrainError;
use crate::event::Listener;
use regraft_data::{Sample, Samples};
use std::path::PathBuf;

/// What a classifier makes of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The image.
    pub path: PathBuf,
    /// Index and probability of every class, most probable first; of equals, the first class.
    pub ranking: Vec<(usize, f32)>,
}

impl Classifier {
    /// Classifies image files, in order.
    ///
    /// # Errors
    /// When an image cannot be loaded, the file is named; [`TrainError::NoHead`] if the weights have no classifier.
    pub fn predict(
        &self,
        paths: &[PathBuf],
        options: &InferenceOptions,
        listener: &mut dyn Listener,
    ) -> Result<Vec<Prediction>, TrainError> {
        let graph = (self.logits_graph()?, "logits");
        let mut rankings = Vec::with_capacity(paths.len());
        self.run(graph, &unlabelled(paths), options, listener, |logits, _| {
            rankings.extend(logits.chunks_exact(self.classes().len()).map(ranking));
        })?;
        let paths = paths.iter().cloned();
        Ok(paths
            .zip(rankings)
            .map(|(path, ranking)| Prediction { path, ranking })
            .collect())
    }
}

/// Files as samples without labels.
pub(crate) fn unlabelled(paths: &[PathBuf]) -> Samples {
    Samples::from_list(paths.iter().map(|path| Sample {
        path: path.clone(),
        label: 0,
    }))
}

/// Classes by probability: the softmax of their logits.
fn ranking(logits: &[f32]) -> Vec<(usize, f32)> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = logits.iter().map(|x| f64::from(x - largest).exp());
    let sum: f64 = weights.clone().sum();
    let mut ranking: Vec<_> = weights
        .map(|weight| (weight / sum) as f32)
        .enumerate()
        .collect();
    // By logits: probabilities far behind the first are all zero in floating point.
    ranking.sort_by(|(a, _), (b, _)| logits[*b].total_cmp(&logits[*a]));
    ranking
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rankings_are_probabilities_in_descending_order() {
        let ranking = ranking(&[1.0, 3.0, 1.0, 1000.0]);
        let classes: Vec<_> = ranking.iter().map(|(class, _)| *class).collect();
        assert_eq!(classes, [3, 1, 0, 2]);
        assert!((ranking.iter().map(|(_, p)| p).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
