//! `regraft predict`.

use crate::fixture::{CliTest, keys};
use std::io::Write;
use std::process::Stdio;

#[test]
fn json_has_an_object_for_each_file_in_order() {
    let test = CliTest::with_run();
    let args = ["predict", "run", "photos/val/red/2.png", "photos/val/blue"];
    let ran = test.run(&[&args[..], &["--output-format", "json"]].concat());
    let predictions = ran.success().json();
    let predictions = predictions.as_array().unwrap();
    let paths: Vec<_> = predictions
        .iter()
        .map(|p| p["path"].as_str().unwrap())
        .collect();
    let expected = [
        "photos/val/red/2.png",
        "photos/val/blue/0.png",
        "photos/val/blue/1.png",
        "photos/val/blue/2.png",
    ];
    assert_eq!(paths, expected);
    for prediction in predictions {
        assert_eq!(keys(prediction), ["label", "path", "score", "top"]);
        let top = prediction["top"].as_array().unwrap();
        assert_eq!(top[0]["label"], prediction["label"]);
        let scores: Vec<_> = top.iter().map(|t| t["score"].as_f64().unwrap()).collect();
        assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        assert!(scores[0] >= scores[1]);
    }
}

#[test]
fn top_shortens_the_list() {
    let test = CliTest::with_run();
    let text = test
        .run(&["predict", "run", "photos/val/red/0.png", "--top", "1"])
        .success()
        .stdout();
    assert!(text.starts_with("photos/val/red/0.png: "), "{text}");
    assert!(!text.contains(','), "{text}");
}

#[test]
fn a_bad_file_is_reported_and_the_others_predicted() {
    let test = CliTest::with_run();
    test.write("bad.jpg", "text");
    let args = ["predict", "run", "photos/val/red/0.png", "bad.jpg"];
    let ran = test.run(&[&args[..], &["photos/val/red/1.png"]].concat());
    assert_eq!(ran.stdout().lines().count(), 2, "{ran}");
    let error = ran.failure(1).stderr();
    assert!(error.starts_with("error: `bad.jpg`: "), "{error}");
}

#[test]
fn a_list_comes_on_standard_input() {
    let test = CliTest::with_run();
    let mut command = test.command();
    command.args(["predict", "run", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"photos/val/red/0.png\nphotos/val/blue/0.png\n")
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn an_untrained_head_does_not_predict() {
    let test = CliTest::with_run();
    let photo = "photos/val/red/0.png";
    let weights = ["--weights", "run/model.safetensors"];
    let args = [&["predict", "squeezenet1_1", photo], &weights[..]].concat();
    let error = test.run(&args).failure(1).stderr();
    assert!(error.contains("squeezenet1_1"), "{error}");
}

#[test]
fn misunderstandings_are_explained() {
    let test = CliTest::with_run();
    let photo = "photos/val/red/0.png";
    for (args, message) in [
        (
            &["predict", "run/model.safetensors", photo][..],
            "holds weights only: name the model, and the file with `--weights run/model.safetensors`",
        ),
        (
            &["predict", "runs/none", photo],
            "`runs/none` is neither a run folder nor a model",
        ),
        (
            &["predict", "run", "run/checkpoints"],
            "no image in `run/checkpoints`",
        ),
        (
            &["predict", "run", photo, "--weights", "x.pth"],
            "`--weights` is for models",
        ),
        (
            &["predict", "run", photo, "--labels", "run/config.toml"],
            "lines, expected the names of 2 classes",
        ),
        (
            &["predict", "run", photo, "--batch-size", "0"],
            "`--batch-size` is `0`",
        ),
        (
            &["predict", "run", photo, "--threads", "0"],
            "`--threads` is `0`",
        ),
    ] {
        let ran = test.finish(test.command().args(args));
        let error = ran.failure(1).stderr();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn weights_that_are_not_here_are_not_fetched_offline() {
    let test = CliTest::with_photos();
    let photo = "photos/val/red/0.png";
    for (args, id) in [
        (&[][..], "timm/resnet18.tv_in1k"),
        (
            &["--weights", "hub:timm/resnet18.a1_in1k"],
            "timm/resnet18.a1_in1k",
        ),
    ] {
        let ran = test.run(&[&["predict", "resnet18", photo], args].concat());
        let error = ran.failure(1).stderr();
        assert!(error.contains(id), "{error}");
        assert!(error.contains("HF_HUB_OFFLINE"), "{error}");
    }
}
