//! `regraft train`.

use crate::fixture::{CliTest, QUICK, Ran, keys};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

fn train(test: &CliTest, args: &[&str]) -> Ran {
    test.run(&[&["train", "photos"], QUICK, args].concat())
}

#[test]
fn a_run_is_told_epoch_by_epoch_and_ends_with_its_folder() {
    let test = CliTest::with_photos();
    let ran = train(&test, &["--epochs", "2"]);
    let text = ran.success().stdout();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "squeezenet1_1: 2 classes, 12 images to train on, 6 images for validation"
    );
    assert_eq!(
        lines[1],
        "trainable params: 1,026 || all params: 723,522 || trainable%: 0.1418"
    );
    assert_eq!(
        lines[2],
        "training starts after `features.12.cat`, whose output is kept: 0 images from the cache, 18 computed"
    );
    assert!(lines[3].starts_with("epoch   1  train loss "), "{ran}");
    assert!(lines[4].starts_with("epoch   2  train loss "), "{ran}");
    assert!(lines[5].starts_with("best epoch "), "{ran}");
    assert_eq!(lines[6..], ["runs/train"]);
    assert!(ran.stderr().is_empty(), "{ran}");
}

#[test]
fn a_run_folder_holds_everything() {
    let test = CliTest::with_run();
    let mut names: Vec<_> = fs::read_dir(test.path("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "checkpoints",
        "config.toml",
        "history.csv",
        "metrics.json",
        "model.json",
        "model.safetensors",
    ];
    assert_eq!(names, expected);
}

#[test]
fn json_has_what_the_contract_says() {
    let test = CliTest::with_photos();
    let ran = train(&test, &["--output", "run", "--output-format", "json"]);
    let report = ran.success().json();
    for key in [
        "run",
        "best_epoch",
        "metrics",
        "seconds",
        "epochs",
        "trainable_parameters",
        "total_parameters",
    ] {
        assert!(!report[key].is_null(), "{key}: {report}");
    }
    assert_eq!(report["run"], "run");
    let epoch = keys(&report["epochs"][0]);
    for key in ["epoch", "train_loss", "val_loss", "val_accuracy", "seconds"] {
        assert!(epoch.contains(&key), "{key}: {epoch:?}");
    }
    assert!(ran.stderr().contains("epoch   1  train loss"), "{ran}");
}

/// The parts of a report that do not depend on time.
fn numbers(report: &Value) -> Vec<(f64, f64, f64)> {
    let number = |epoch: &Value, key: &str| epoch[key].as_f64().unwrap();
    let epochs = report["epochs"].as_array().unwrap().iter();
    epochs
        .map(|epoch| {
            (
                number(epoch, "train_loss"),
                number(epoch, "val_loss"),
                number(epoch, "val_accuracy"),
            )
        })
        .collect()
}

#[test]
fn a_warm_cache_and_no_cache_give_the_same_numbers() {
    let test = CliTest::with_photos();
    let args = ["--epochs", "2", "--output-format", "json"];
    let cold = train(&test, &args);
    let warm = train(&test, &args);
    let none = train(&test, &[&args[..], &["--no-cache"]].concat());
    assert_eq!(numbers(&cold.json()), numbers(&warm.json()));
    assert!(
        warm.stderr()
            .contains("18 images from the cache, 0 computed"),
        "{warm}"
    );
    assert!(none.stderr().contains("is not cached"), "{none}");
    for ((a, b, c), (x, y, z)) in numbers(&cold.json()).iter().zip(numbers(&none.json())) {
        // Batches of another size may add in another order.
        assert!((a - x).abs() < 1e-5 && (b - y).abs() < 1e-5 && (c - z).abs() < 1e-9);
    }
}

#[test]
fn a_config_is_read_and_flags_come_first() {
    let test = CliTest::with_run();
    let ran = test.run(&[
        "train",
        "--config",
        "run/config.toml",
        "--epochs",
        "2",
        "--output",
        "again",
        "--output-format",
        "json",
    ]);
    let report = ran.success().json();
    assert_eq!(report["epochs"].as_array().unwrap().len(), 2);
    assert_eq!(report["trainable_parameters"], 1026);
    assert_eq!(report["run"], "again");
}

#[test]
fn quiet_leaves_the_result() {
    let test = CliTest::with_photos();
    let ran = train(&test, &["--quiet", "--val", "0.5"]);
    let text = ran.success().stdout();
    assert_eq!(text.lines().count(), 2, "{ran}");
    assert!(text.starts_with("best epoch 1"), "{ran}");
    assert!(ran.stderr().is_empty(), "{ran}");
}

#[test]
fn strategies_train_what_they_say() {
    let test = CliTest::with_photos();
    let trained = |args: &[&str]| {
        let json = ["--output-format", "json"];
        let report = train(&test, &[args, &json].concat()).json();
        report["trainable_parameters"].as_u64().unwrap()
    };
    assert_eq!(trained(&["--strategy", "full"]), 723_522);
    assert_eq!(trained(&["--strategy", "last:2"]), 603_106);
    assert_eq!(trained(&["--unfreeze", "features.12"]), 1026 + 197_184);
}

#[test]
fn bad_images_can_be_skipped() {
    let test = CliTest::with_photos();
    test.write("photos/train/red/broken.jpg", "not a photo");
    let ran = train(&test, &["--skip-bad-images"]);
    ran.success();
    assert!(ran.stderr().contains("broken.jpg` is left out"), "{ran}");
    assert!(ran.stdout().contains("12 images to train on"), "{ran}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_usable_run() {
    let test = CliTest::with_photos();
    let args = ["train", "photos", "--output", "run", "--threads", "2"];
    let mut command = test.command();
    command.args([&args[..], QUICK, &["--epochs", "1000000"]].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("epoch   1 ")));
    let signal = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(signal.unwrap().success());
    // Read on, so that nothing waits for a full pipe.
    let last = lines.map(Result::unwrap).last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(last, "run");
    let mut errors = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).unwrap();
    assert!(errors.contains("stopping after this step"), "{errors}");
    test.run(&["predict", "run", "photos/val"]).success();
}
