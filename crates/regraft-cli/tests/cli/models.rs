//! `regraft models`.

use crate::fixture::{CliTest, keys};
use std::process::Stdio;

#[test]
fn a_pattern_selects() {
    let test = CliTest::new();
    let ran = test.run(&["models", "squeezenet"]);
    insta::assert_snapshot!(ran.success().snapshot());
    let glob = test.run(&["models", "resnet*", "--output-format", "json"]);
    let names: Vec<_> = glob
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["name"].as_str().unwrap().to_owned())
        .collect();
    let resnets = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"];
    assert_eq!(names, resnets);
}

#[test]
fn json_has_what_scripts_need() {
    let test = CliTest::new();
    let models = test.run(&["models", "--output-format", "json"]).json();
    let models = models.as_array().unwrap();
    assert!(models.len() >= 14);
    assert_eq!(models.iter().filter(|m| m["default"] == true).count(), 1);
    let resnet = models.iter().find(|m| m["name"] == "resnet18").unwrap();
    assert_eq!(resnet["parameters"], 11_689_512);
    assert_eq!(resnet["input_size"][1], 224);
    let weights = &resnet["weights"][0];
    assert_eq!(keys(weights), ["license", "source", "tag", "top1", "top5"]);
    assert_eq!(weights["source"], "hub:timm/resnet18.tv_in1k");
}

#[test]
fn a_name_that_is_none_gets_names_like_it() {
    let test = CliTest::new();
    let ran = test.run(&["models", "resnet81"]);
    insta::assert_snapshot!(ran.failure(1).snapshot());
}

#[test]
fn nobody_reading_on_is_no_failure() {
    let test = CliTest::new();
    let mut child = test
        .command()
        .arg("models")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}
