//! One test for each way to feed metrics something wrong: a clear error, and nothing counted.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use regraft_eval::{ClassificationMetrics, ConfusionMatrix, EvalError, MAX_CLASSES};

fn ants_and_bees() -> ClassificationMetrics {
    ClassificationMetrics::new(["ants", "bees"]).expect("valid classes")
}

/// Asserts that the error reads as given and that the refused input left no trace.
#[track_caller]
fn refused(metrics: &ClassificationMetrics, result: Result<(), EvalError>, message: &str) {
    assert_eq!(result.unwrap_err().to_string(), message);
    assert_eq!(metrics, &ants_and_bees());
}

#[test]
fn no_classes() {
    let none: [&str; 0] = [];
    assert_eq!(ClassificationMetrics::new(none), Err(EvalError::NoClasses));
}

#[test]
fn too_many_classes() {
    let names = (0..=MAX_CLASSES).map(|class| class.to_string());
    assert_eq!(
        ClassificationMetrics::new(names),
        Err(EvalError::TooManyClasses {
            got: MAX_CLASSES + 1,
            max: MAX_CLASSES
        })
    );
}

#[test]
fn a_class_listed_twice() {
    let error = ClassificationMetrics::new(["ants", "bees", "ants"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "class `ants` is listed twice, at index 0 and 2"
    );
}

#[test]
fn a_row_of_another_length() {
    let mut metrics = ants_and_bees();
    for row in [&[][..], &[1.0], &[1.0, 2.0, 3.0]] {
        let result = metrics.update(row, 0);
        let message = format!(
            "a row of scores has {} values, expected 2, one for each class",
            row.len()
        );
        refused(&metrics, result, &message);
    }
}

#[test]
fn a_label_out_of_range() {
    let mut metrics = ants_and_bees();
    for label in [2, usize::MAX] {
        let result = metrics.update(&[1.0, 2.0], label);
        let message = format!("label {label} is out of range, expected 0 to 1");
        refused(&metrics, result, &message);
    }
}

#[test]
fn logits_that_are_no_numbers() {
    let mut metrics = ants_and_bees();
    for (value, name) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let result = metrics.update(&[0.0, value], 0);
        let message = format!(
            "score 1 of a row is `{name}`, expected a finite number: \
             the model diverged or its weights are damaged"
        );
        refused(&metrics, result, &message);
    }
}

#[test]
fn a_batch_that_does_not_match_its_labels() {
    let mut metrics = ants_and_bees();
    let result = metrics.update_batch(&[0.0; 5], &[0, 1]);
    refused(
        &metrics,
        result,
        "a batch has 5 scores, expected 4: 2 labels with 2 classes each",
    );
}

#[test]
fn a_batch_whose_last_row_is_bad_counts_no_row() {
    let mut metrics = ants_and_bees();
    let result = metrics.update_batch(&[0.0, 1.0, 0.0, 1.0], &[0, 7]);
    refused(&metrics, result, "label 7 is out of range, expected 0 to 1");
}

#[test]
fn logits_given_as_probabilities() {
    let mut metrics = ants_and_bees();
    let result = metrics.update_probabilities(&[3.0, -2.0], 0);
    refused(
        &metrics,
        result,
        "a row of probabilities has the lowest value -2 and the sum 1, \
         expected values from 0 to 1 with sum 1: are these logits?",
    );
    let result = metrics.update_probabilities(&[0.5, 0.25], 0);
    assert!(matches!(result, Err(EvalError::NotProbabilities { .. })));
}

#[test]
fn a_probability_of_zero_has_a_finite_loss() {
    let mut metrics = ants_and_bees();
    metrics
        .update_probabilities(&[1.0, 0.0], 1)
        .expect("probabilities");
    let loss = metrics.summary().expect("one sample").loss;
    assert!((loss - 15.942_385).abs() < 1e-5, "{loss}");
}

#[test]
fn accumulators_of_other_classes() {
    let mut metrics = ants_and_bees();
    let swapped = ClassificationMetrics::new(["bees", "ants"]).expect("valid classes");
    let result = metrics.merge(&swapped);
    refused(
        &metrics,
        result,
        "accumulators of different classes cannot be merged: \
         class 0 is `ants` here and `bees` there",
    );
    let more = ClassificationMetrics::new(["ants", "bees", "wasps"]).expect("valid classes");
    assert_eq!(
        metrics.merge(&more),
        Err(EvalError::ClassesDiffer {
            index: 2,
            left: String::new(),
            right: "wasps".to_owned()
        })
    );
}

#[test]
fn a_summary_of_nothing() {
    assert_eq!(ants_and_bees().summary(), Err(EvalError::Empty));
}

#[test]
fn a_ragged_confusion_matrix_does_not_deserialise() {
    let error = serde_json::from_str::<ConfusionMatrix>("[[1, 2], [3]]").unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 1 of a confusion matrix with 2 rows has 1 values, expected 2"
    );
}

#[test]
fn extreme_logits_have_a_finite_loss() {
    let mut metrics = ants_and_bees();
    metrics.update(&[f32::MAX, f32::MIN], 1).expect("finite");
    let summary = metrics.summary().expect("one sample");
    assert!(summary.loss.is_finite() && summary.loss > 1e38);
    assert_eq!(summary.confusion_matrix.count(1, 0), 1);
}
