//! Strategies as surgery: each marks which parameters of a model are trained.
//!
//! Models are in stages from stem to head, and their graph is all that these functions change.

use crate::config::BatchNormMode;
use crate::error::TrainError;
use crate::strategy::Strategy;
use regraft_graph::{GraphError, NamePattern, ParameterKind, surgery};
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

/// Freezes all batch norms, so that they keep their pre-trained statistics, scale and shift. Statistics of small batches
/// are poor, and a small data set has few batches (Keras's guide to transfer learning: "keep it in inference mode").
///
/// # Errors
/// None for names that hold no wildcards, as those of the zoo.
pub fn keep_batch_norms(model: &mut Model) -> Result<(), GraphError> {
    let is_norm = |kind| matches!(kind, ParameterKind::NormWeight | ParameterKind::NormBias);
    let parameters = model.graph.parameters().iter();
    let names: Vec<_> = parameters
        .filter(|p| is_norm(p.kind))
        .map(|p| p.name.as_str())
        .collect();
    if !names.is_empty() {
        let pattern = NamePattern::new(&names.join(","))?;
        surgery::freeze(&mut model.graph, &pattern)?;
    }
    Ok(())
}

/// What the user wants trained.
#[derive(Debug, Clone, Copy)]
pub struct Recipe<'a> {
    /// The strategy.
    pub strategy: Strategy,
    /// What becomes of batch norms in the trained part.
    pub batch_norm: BatchNormMode,
    /// Parameters to freeze besides, as a name pattern.
    pub freeze: Option<&'a str>,
    /// Parameters to train besides, as a name pattern; applied last.
    pub unfreeze: Option<&'a str>,
}

/// Marks the parameters of a model as a recipe says.
///
/// # Errors
/// As the strategies; [`TrainError::Graph`] for a pattern that matches nothing, [`TrainError::NothingToTrain`] if nothing
/// is left to train.
pub fn apply(model: &mut Model, recipe: Recipe<'_>) -> Result<(), TrainError> {
    match recipe.strategy {
        Strategy::Probe => linear_probe(model)?,
        Strategy::Full => fine_tune(model)?,
        Strategy::Last(count) => last_stages(model, count)?,
    }
    if recipe.batch_norm == BatchNormMode::Keep {
        keep_batch_norms(model)?;
    }
    if let Some(pattern) = recipe.freeze {
        surgery::freeze(&mut model.graph, &NamePattern::new(pattern)?)?;
    }
    if let Some(pattern) = recipe.unfreeze {
        surgery::unfreeze(&mut model.graph, &NamePattern::new(pattern)?)?;
    }
    if model.graph.trainable_parameter_count() == 0 {
        return Err(TrainError::NothingToTrain {
            freeze: recipe.freeze.unwrap_or_default().to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_models::{BuildOptions, build};

    fn trainable(strategy: &str, freeze: Option<&str>, unfreeze: Option<&str>) -> Vec<String> {
        trainable_of("squeezenet1_1", strategy, freeze, unfreeze)
    }

    fn trainable_of(
        model: &str,
        strategy: &str,
        freeze: Option<&str>,
        unfreeze: Option<&str>,
    ) -> Vec<String> {
        let mut model = build(model, &BuildOptions::default()).unwrap();
        let recipe = Recipe {
            strategy: strategy.parse().unwrap(),
            batch_norm: BatchNormMode::Keep,
            freeze,
            unfreeze,
        };
        apply(&mut model, recipe).unwrap();
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
        let mut frozen = |freeze| {
            let recipe = Recipe {
                strategy: Strategy::Probe,
                batch_norm: BatchNormMode::Train,
                freeze: Some(freeze),
                unfreeze: None,
            };
            apply(&mut model, recipe).unwrap_err().to_string()
        };
        assert_eq!(
            frozen("classifier"),
            "nothing is left to train: `--freeze classifier` covers everything that the strategy trains"
        );
        let error = frozen("layer9");
        assert!(error.contains("`layer9` matches none"), "{error}");
    }

    #[test]
    fn batch_norms_are_kept_unless_the_user_names_them() {
        let trained = trainable_of("resnet18", "full", None, None);
        assert!(trained.contains(&"layer1.0.conv1.weight".to_owned()));
        assert!(!trained.iter().any(|name| name.contains("bn1")));
        let trained = trainable_of("resnet18", "full", None, Some("bn1"));
        assert!(trained.contains(&"bn1.weight".to_owned()));
    }
}
