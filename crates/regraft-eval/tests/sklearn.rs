//! Every metric against scikit-learn on fixed data; `fixtures/generate.py` writes the fixture.
#![expect(clippy::expect_used, reason = "helpers of tests fail like tests")]

use regraft_eval::{ClassificationMetrics, ConfusionMatrix, Interval};
use serde::Deserialize;

/// Both sides compute in f64 from the same f32 logits, in another order of summation.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Case {
    name: String,
    classes: Vec<String>,
    milli_logits: Vec<Vec<i32>>,
    labels: Vec<usize>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    accuracy: f64,
    accuracy_interval: Interval,
    top5_accuracy: f64,
    loss: f64,
    macro_precision: f64,
    macro_recall: f64,
    macro_f1: f64,
    weighted_precision: f64,
    weighted_recall: f64,
    weighted_f1: f64,
    micro_f1: f64,
    balanced_accuracy: f64,
    matthews_correlation: f64,
    calibration_error: f64,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<u64>,
    confusion_matrix: ConfusionMatrix,
    report: Option<String>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("fixtures/sklearn.json")).expect("the fixture parses")
}

fn measure(case: &Case) -> ClassificationMetrics {
    let mut metrics = ClassificationMetrics::new(case.classes.clone()).expect("valid classes");
    for (row, &label) in case.milli_logits.iter().zip(&case.labels) {
        let logits: Vec<f32> = row.iter().map(|&milli| milli as f32 / 1000.0).collect();
        metrics.update(&logits, label).expect("a valid row");
    }
    metrics
}

#[test]
fn every_metric_equals_scikit_learn() {
    for case in cases() {
        let summary = measure(&case).summary().expect("samples were taken");
        let expected = &case.expected;
        let close = |metric: &str, got: f64, expected: f64| {
            assert!(
                (got - expected).abs() <= TOLERANCE,
                "{metric} of `{}`: {got}, expected {expected}",
                case.name
            );
        };
        close("accuracy", summary.accuracy, expected.accuracy);
        let interval = summary.accuracy_interval;
        close("low", interval.low, expected.accuracy_interval.low);
        close("high", interval.high, expected.accuracy_interval.high);
        close("top5", summary.top5_accuracy, expected.top5_accuracy);
        close(
            "macro_precision",
            summary.macro_precision,
            expected.macro_precision,
        );
        close("macro_recall", summary.macro_recall, expected.macro_recall);
        close("macro_f1", summary.macro_f1, expected.macro_f1);
        close(
            "weighted_precision",
            summary.weighted_precision,
            expected.weighted_precision,
        );
        close(
            "weighted_recall",
            summary.weighted_recall,
            expected.weighted_recall,
        );
        close("weighted_f1", summary.weighted_f1, expected.weighted_f1);
        close("micro_f1", summary.micro_f1, expected.micro_f1);
        close(
            "balanced_accuracy",
            summary.balanced_accuracy,
            expected.balanced_accuracy,
        );
        close(
            "mcc",
            summary.matthews_correlation,
            expected.matthews_correlation,
        );
        close("loss", summary.loss, expected.loss);
        let calibration_error = summary.calibration.expected_calibration_error;
        close("ece", calibration_error, expected.calibration_error);
        for (index, class) in summary.per_class.iter().enumerate() {
            assert_eq!(class.label, case.classes[index]);
            close("precision", class.precision, expected.precision[index]);
            close("recall", class.recall, expected.recall[index]);
            close("f1", class.f1, expected.f1[index]);
            assert_eq!(class.support, expected.support[index]);
        }
        assert_eq!(summary.confusion_matrix, expected.confusion_matrix);
        assert_eq!(summary.count, case.labels.len() as u64);
    }
}

#[test]
fn report_is_the_classification_report_to_the_character() {
    let mut compared = 0;
    for case in cases() {
        let Some(expected) = &case.expected.report else {
            continue;
        };
        let summary = measure(&case).summary().expect("samples were taken");
        assert_eq!(&summary.report(), expected, "`{}`", case.name);
        compared += 1;
    }
    assert!(compared >= 2, "the fixture holds reports");
}

#[test]
fn json_has_the_names_of_the_contract_and_reads_back() {
    let summary = measure(&cases()[0]).summary().expect("samples were taken");
    let json = serde_json::to_value(&summary).expect("a summary is JSON");
    for name in [
        "accuracy",
        "top5_accuracy",
        "loss",
        "macro_f1",
        "count",
        "per_class",
        "confusion_matrix",
    ] {
        assert!(!json[name].is_null(), "`{name}` is missing");
    }
    assert_eq!(json["count"], 40);
    assert_eq!(json["per_class"][1]["label"], "bees");
    let cells = json["confusion_matrix"].as_array().expect("rows");
    assert_eq!(cells.len(), 2);
    assert!(cells[0][0].is_u64());

    let text = serde_json::to_string(&summary).expect("a summary is JSON");
    let again: regraft_eval::ClassificationSummary =
        serde_json::from_str(&text).expect("a summary reads back");
    assert_eq!(again.confusion_matrix, summary.confusion_matrix);
    assert_eq!(again.report(), summary.report());
}
