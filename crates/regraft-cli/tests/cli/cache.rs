//! `regraft cache`.

use crate::fixture::{CliTest, QUICK};

#[test]
fn it_lists_and_clears() {
    let test = CliTest::with_run();
    let list = || test.run(&["cache", "--output-format", "json"]).json();
    let full = list();
    assert_eq!(full["spaces"][0]["model"], "squeezenet1_1");
    assert_eq!(full["spaces"][0]["cut"][0], "features.12.cat");
    assert_eq!(full["spaces"][0]["rows"], 18);
    assert!(full["bytes"].as_u64().unwrap() > 0);
    let text = test.run(&["cache"]).success().stdout();
    assert!(
        text.contains("squeezenet1_1  features.12.cat      18"),
        "{text}"
    );

    test.run(&["cache", "clear"]).success();
    assert_eq!(list()["bytes"], 0);
    assert_eq!(list()["spaces"].as_array().unwrap().len(), 0);
}

#[test]
fn an_empty_cache_is_no_error() {
    let test = CliTest::new();
    for action in ["list", "clear"] {
        test.run(&["cache", action]).success();
    }
    assert!(!test.path("cache").exists());
}

#[test]
fn training_without_it_leaves_none() {
    let test = CliTest::with_photos();
    test.run(&[&["train", "photos", "--no-cache"], QUICK].concat())
        .success();
    assert!(!test.path("cache").exists());
}
