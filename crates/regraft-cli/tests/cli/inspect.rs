//! `regraft inspect`.

use crate::fixture::CliTest;
use serde_json::Value;

fn sum(values: &Value, key: &str) -> u64 {
    let values = values.as_array().unwrap().iter();
    values.map(|value| value[key].as_u64().unwrap()).sum()
}

#[test]
fn a_model_shows_layers_stages_and_cut() {
    let test = CliTest::new();
    let args = ["inspect", "squeezenet1_1", "--num-classes", "3"];
    let probe = test.run(&[&args[..], &["--strategy", "last:2"]].concat());
    insta::assert_snapshot!(probe.success().snapshot());
}

#[test]
fn numbers_add_up() {
    let test = CliTest::new();
    let args = ["inspect", "resnet18", "--freeze", "conv1,bn1,layer[12]"];
    let model = test
        .run(&[&args[..], &["--output-format", "json"]].concat())
        .json();
    for part in ["layers", "stages"] {
        assert_eq!(sum(&model[part], "parameters"), model["total_parameters"]);
        assert_eq!(
            sum(&model[part], "trainable"),
            model["trainable_parameters"]
        );
    }
    assert_eq!(
        sum(&model["layers"], "multiply_adds"),
        model["multiply_adds"]
    );
    assert_eq!(model["cut"][0], "layer2.1.relu_1");
    assert_eq!(model["cut_values"], 128 * 28 * 28);
}

#[test]
fn without_flags_everything_is_trained_and_nothing_cut() {
    let test = CliTest::new();
    let text = test.run(&["inspect", "resnet18"]).success().stdout();
    assert!(text.contains("trainable%: 100.0000"), "{text}");
    assert!(!text.contains("---- cut"), "{text}");
}

#[test]
fn a_strategy_is_shown_as_training_applies_it() {
    let test = CliTest::new();
    let trained = |args: &[&str]| {
        let args = [&["inspect", "resnet18"], args, &["--output-format", "json"]];
        test.run(&args.concat()).json()["trainable_parameters"].clone()
    };
    // Batch norms keep their statistics: 9,600 parameters are frozen.
    assert_eq!(trained(&["--strategy", "full"]), 11_689_512 - 9600);
    let all = ["--strategy", "full", "--batch-norm", "train"];
    assert_eq!(trained(&all), 11_689_512);
}

#[test]
fn a_run_shows_what_it_trained_and_that_its_weights_fit() {
    let test = CliTest::with_run();
    let run = test.run(&["inspect", "run"]).success().stdout();
    assert!(run.contains("trainable params: 1,026 || all params: 723,522"));
    assert!(run.contains("52 tensors fit, from `run/model.safetensors`"));
    assert!(run.ends_with("classes: blue, red\n"), "{run}");

    let file = test
        .run(&["inspect", "run/model.safetensors"])
        .success()
        .stdout();
    assert!(file.contains("classifier.1.weight"), "{file}");
    assert!(
        file.contains("these are weights of `squeezenet1_1`, apart from the head"),
        "{file}"
    );
}

#[test]
fn weights_of_another_model_do_not_fit() {
    let test = CliTest::with_run();
    let args = ["inspect", "resnet18", "--weights", "run/model.safetensors"];
    let error = test.run(&args).failure(1).stderr();
    assert!(error.contains("the model is `resnet18`"), "{error}");
}

#[test]
fn what_is_not_there_is_an_error() {
    let test = CliTest::new();
    std::fs::create_dir(test.path("empty")).unwrap();
    for (subject, message) in [
        (
            "resnet19",
            "no model is named `resnet19`; did you mean `resnet1",
        ),
        ("none.pth", "`none.pth`"),
        (
            "empty",
            "`empty` is not a run folder: it has no `model.json`",
        ),
    ] {
        let error = test.run(&["inspect", subject]).failure(1).stderr();
        assert!(error.contains(message), "{error}");
    }
}
