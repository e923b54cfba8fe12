//! Strategies as surgery: each marks which parameters of a model are trained.
//!
//! Models are in stages from stem to head, and their graph is all that these functions change.

use crate::error::TrainError;
use crate::strategy::Strategy;
use regraft_graph::{NamePattern, surgery};
use regraft_models::{Model, ModelError};

/// Trains the classifier alone (Kornblith et al. 2019, "Do better ImageNet models transfer better?").
///
/// # Errors
/// [`ModelError::Graph`] if the graph has lost its classifier.
pub fn linear_probe(model: &mut Model) -> Result<(), ModelError> {
    last_stages(model, 1)
}

/// Trains everything.
///
/// # Errors
/// As [`linear_probe`].
pub fn fine_tune(model: &mut Model) -> Result<(), ModelError> {
    last_stages(model, model.stages.len())
}

/// Trains the last `count` stages; the classifier is one.
///
/// # Errors
/// [`ModelError::OutOfRange`] for 0 or more stages than there are.
pub fn last_stages(model: &mut Model, count: usize) -> Result<(), ModelError> {
    model.train_last_stages(count)
}

/// Applies a strategy, then what the user wants frozen or trained besides.
///
/// # Errors
/// As the strategies; [`TrainError::Graph`] for a pattern that matches nothing, [`TrainError::NothingToTrain`] if nothing
/// is left to train.
pub fn apply(
    model: &mut Model,
    strategy: Strategy,
    freeze: Option<&str>,
    unfreeze: Option<&str>,
) -> Result<(), TrainError> {
    match strategy {
        Strategy::Probe => linear_probe(model)?,
        Strategy::Full => fine_tune(model)?,
        Strategy::Last(count) => last_stages(model, count)?,
    }
    if let Some(pattern) = freeze {
        surgery::freeze(&mut model.graph, &NamePattern::new(pattern)?)?;
    }
    if let Some(pattern) = unfreeze {
        surgery::unfreeze(&mut model.graph, &NamePattern::new(pattern)?)?;
    }
    if model.graph.trainable_parameter_count() == 0 {
        return Err(TrainError::NothingToTrain {
            freeze: freeze.unwrap_or_default().to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_models::{BuildOptions, build};

    fn trainable(strategy: &str, freeze: Option<&str>, unfreeze: Option<&str>) -> Vec<String> {
        let mut model = build("squeezenet1_1", &BuildOptions::default()).unwrap();
        apply(&mut model, strategy.parse().unwrap(), freeze, unfreeze).unwrap();
        let parameters = model.graph.parameters().iter();
        parameters
            .filter(|p| p.trainable)
            .map(|p| p.name.clone())
            .collect()
    }

    #[test]
    fn a_probe_trains_the_classifier() {
        let head = ["classifier.1.weight", "classifier.1.bias"];
        assert_eq!(trainable("probe", None, None), head);
        assert_eq!(trainable("last:1", None, None), head);
    }

    #[test]
    fn more_stages_are_more_parameters_and_full_is_all() {
        let counts = ["probe", "last:2", "last:3", "full"].map(|s| trainable(s, None, None).len());
        assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
        let model = build("squeezenet1_1", &BuildOptions::default()).unwrap();
        assert_eq!(counts[3], model.graph.parameters().len());
    }

    #[test]
    fn patterns_add_to_the_strategy() {
        let weight = ["classifier.1.weight"];
        assert_eq!(trainable("probe", Some("*.bias"), None), weight);
        assert!(trainable("full", Some("features"), None).len() == 2);
        let with_stem = trainable("probe", None, Some("features.0"));
        assert!(with_stem.contains(&"features.0.weight".to_owned()));
    }

    #[test]
    fn nothing_to_train_is_an_error() {
        let mut model = build("squeezenet1_1", &BuildOptions::default()).unwrap();
        let error = apply(&mut model, Strategy::Probe, Some("classifier"), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "nothing is left to train: `--freeze classifier` covers everything that the strategy trains"
        );
        let error = apply(&mut model, Strategy::Probe, Some("layer9"), None).unwrap_err();
        assert!(
            error.to_string().contains("`layer9` matches none"),
            "{error}"
        );
    }
}
