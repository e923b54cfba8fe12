//! `regraft evaluate`.

use crate::fixture::CliTest;

#[test]
fn json_has_what_the_contract_says() {
    let test = CliTest::with_run();
    let report = test
        .run(&["evaluate", "run", "photos", "--output-format", "json"])
        .json();
    assert_eq!(report["count"], 6);
    for key in ["accuracy", "top5_accuracy", "loss", "macro_f1"] {
        assert!(report[key].is_f64(), "{key}: {report}");
    }
    assert_eq!(report["per_class"][1]["label"], "red");
    let matrix: Vec<Vec<u64>> = serde_json::from_value(report["confusion_matrix"].clone()).unwrap();
    assert_eq!(
        matrix
            .iter()
            .map(|row| row.iter().sum())
            .collect::<Vec<u64>>(),
        [3, 3]
    );
}

#[test]
fn it_agrees_with_training() {
    let test = CliTest::with_run();
    let metrics = std::fs::read_to_string(test.path("run/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    let report = test
        .run(&["evaluate", "run", "photos/val", "--output-format", "json"])
        .json();
    assert_eq!(report["accuracy"], metrics["accuracy"]);
    let loss = |value: &serde_json::Value| value["loss"].as_f64().unwrap();
    assert!((loss(&report) - loss(&metrics)).abs() < 1e-4);
}

#[test]
fn text_is_a_report() {
    let test = CliTest::with_run();
    let text = test.run(&["evaluate", "run", "photos"]).success().stdout();
    for part in [
        "precision    recall  f1-score   support",
        "true \\ predicted",
        "accuracy ",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn classes_that_the_model_does_not_know_are_an_error() {
    let test = CliTest::with_run();
    test.images("other/blue", 1, [0, 0, 255]);
    test.images("other/green", 1, [0, 255, 0]);
    let ran = test.run(&["evaluate", "run", "other"]);
    insta::assert_snapshot!(ran.failure(1).snapshot());
}

#[test]
fn bad_images_are_listed_or_skipped() {
    let test = CliTest::with_run();
    test.write("photos/val/red/a.jpg", "text");
    test.write("photos/val/red/b.png", "");
    let ran = test.run(&["evaluate", "run", "photos"]);
    insta::assert_snapshot!(ran.failure(1).snapshot());
    let args = ["evaluate", "run", "photos", "--skip-bad-images"];
    let report = test.run(&[&args[..], &["--output-format", "json"]].concat());
    assert_eq!(report.json()["count"], 6);
    assert_eq!(report.json()["skipped"].as_array().unwrap().len(), 2);
}

#[test]
fn a_folder_that_is_no_run_is_an_error() {
    let test = CliTest::with_photos();
    let error = test
        .run(&["evaluate", "photos", "photos"])
        .failure(1)
        .stderr();
    assert!(error.contains("`photos` is not a run folder"), "{error}");
}
