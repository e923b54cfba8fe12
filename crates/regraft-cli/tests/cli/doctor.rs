//! `regraft doctor`.

use crate::fixture::CliTest;

#[test]
fn the_machine_is_described() {
    let test = CliTest::new();
    let report = test
        .run(&["doctor", "--output-format", "json"])
        .success()
        .json();
    let machine = &report["machine"];
    assert_eq!(machine["threads"], 2);
    assert!(machine["cores"].as_u64().unwrap() >= 1);
    assert!(machine["kernels"].as_str().unwrap().starts_with("oneDNN "));
    let cache = machine["cache_folder"].as_str().unwrap();
    assert_eq!(cache, test.path("cache").to_str().unwrap());
    assert!(machine["cache_free_bytes"].as_u64().unwrap() > 0);
    assert!(report["dataset"].is_null());
    let text = test.run(&["doctor"]).success().stdout();
    assert!(text.starts_with("regraft    "), "{text}");
}

#[test]
fn a_data_set_without_fault_passes() {
    let test = CliTest::with_photos();
    let text = test.run(&["doctor", "photos"]).success().stdout();
    assert!(
        text.contains("train      12 images: blue 6, red 6"),
        "{text}"
    );
    assert!(
        text.contains("validation 6 images: blue 3, red 3"),
        "{text}"
    );
}

#[test]
fn what_would_stop_training_is_an_error() {
    let test = CliTest::with_photos();
    test.write("photos/train/red/broken.jpg", "text");
    let ran = test.run(&["doctor", "photos"]);
    assert_eq!(ran.code(), Some(1), "{ran}");
    assert!(
        ran.stdout()
            .contains("error: 1 of 19 images cannot be read"),
        "{ran}"
    );
    let report = test
        .run(&["doctor", "photos", "--output-format", "json"])
        .json();
    assert_eq!(report["dataset"]["findings"][0]["code"], "unreadable-image");
}

#[test]
fn a_folder_that_is_no_data_set_is_an_error() {
    let test = CliTest::new();
    test.images("photos", 2, [9, 9, 9]);
    let ran = test.run(&["doctor", "photos"]);
    insta::assert_snapshot!(ran.failure(1).snapshot());
}
