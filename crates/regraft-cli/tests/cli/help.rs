//! Help and version.

use crate::fixture::CliTest;
use std::time::{Duration, Instant};

#[test]
fn help_of_every_verb() {
    let test = CliTest::new();
    let help = |args: &[&str]| {
        let ran = test.finish(test.command().args(args));
        ran.success().stdout()
    };
    insta::assert_snapshot!("regraft", help(&["--help"]));
    for verb in [
        "models",
        "inspect",
        "train",
        "evaluate",
        "predict",
        "embed",
        "benchmark",
        "doctor",
        "cache",
    ] {
        insta::assert_snapshot!(format!("regraft_{verb}"), help(&[verb, "--help"]));
    }
}

#[test]
fn version_names_the_kernel_library() {
    let test = CliTest::new();
    let version = test.run(&["--version"]).success().stdout();
    let expected = format!("regraft {} (oneDNN ", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&expected), "{version}");
}

#[test]
fn help_comes_at_once() {
    let test = CliTest::new();
    let fastest = (0..20)
        .map(|_| {
            let start = Instant::now();
            test.finish(test.command().arg("--help")).success();
            start.elapsed()
        })
        .min();
    assert!(fastest < Some(Duration::from_millis(20)), "{fastest:?}");
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    let test = CliTest::new();
    for args in [&["trane"][..], &["models", "--color"], &["train"], &[]] {
        let ran = test.finish(test.command().args(args));
        assert_eq!(ran.code(), Some(2), "{ran}");
        assert!(ran.stdout().is_empty(), "{ran}");
    }
}

#[test]
fn values_that_are_not_there_yet_are_told_what_is() {
    let test = CliTest::new();
    let train = |flag: &str, value: &str| {
        let ran = test.finish(test.command().args(["train", "photos", flag, value]));
        ran.failure(2).stderr()
    };
    assert!(train("--strategy", "lora").contains("expected `probe`, `full` or `last:N`"));
    assert!(train("--precision", "bf16").contains("expected `f32`"));
    assert!(train("--device", "cuda").contains("computes on the CPU only"));
    assert!(train("--optimizer", "lion").contains("expected `adam`, `adamw` or `sgd`"));
}
