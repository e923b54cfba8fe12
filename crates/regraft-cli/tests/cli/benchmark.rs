//! `regraft benchmark`.

use crate::fixture::CliTest;

#[test]
fn json_has_what_the_contract_says() {
    let test = CliTest::new();
    for mode in ["forward", "train"] {
        let ran = test.run(&[
            "benchmark",
            "squeezenet1_1",
            "--image-size",
            "64",
            "--batch-size",
            "2",
            "--steps",
            "3",
            "--mode",
            mode,
            "--output-format",
            "json",
        ]);
        let report = ran.success().json();
        assert_eq!(report["mode"], mode);
        let rate = report["samples_per_second"].as_f64().unwrap();
        let median = report["step_ms"]["median"].as_f64().unwrap();
        assert!((rate - 2000.0 / median).abs() < 1e-6 * rate);
        for key in ["plan_ms", "gflops"] {
            assert!(report[key].as_f64().unwrap() > 0.0, "{key}: {report}");
        }
        if cfg!(target_os = "linux") {
            assert!(report["peak_rss_mib"].as_f64().unwrap() > 1.0);
        }
    }
}

#[test]
fn nothing_to_measure_is_an_error() {
    let test = CliTest::new();
    let benchmark = |args: &[&str]| {
        let ran = test.run(&[&["benchmark", "squeezenet1_1"], args].concat());
        ran.failure(1).stderr()
    };
    let error = benchmark(&["--batch-size", "0"]);
    assert!(error.contains("`batch_size` is `0`"), "{error}");
    let error = benchmark(&["--mode", "train", "--freeze", "*"]);
    assert!(error.contains("nothing is left to train"), "{error}");
}
