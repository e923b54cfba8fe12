//! Checkpoints written by PyTorch itself (`fixtures/generate.py`) read as PyTorch reads them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use regraft_weights::{Checkpoint, DType, Format, WRAPPERS, WeightsError};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn refusal(name: &str) -> WeightsError {
    Checkpoint::open(&fixture(name)).expect_err(name)
}

fn assert_reads_as_expected(checkpoint: &Checkpoint) {
    let expected = open("expected.safetensors");
    for name in checkpoint.names() {
        let shape = &checkpoint.info(name).unwrap().shape;
        assert_eq!(shape, &expected.info(name).expect(name).shape, "{name}");
        if expected.info(name).unwrap().dtype == DType::I64 {
            assert_eq!(
                checkpoint.read_i64(name).unwrap(),
                expected.read_i64(name).unwrap(),
                "{name}"
            );
        }
        let got: Vec<u32> = checkpoint
            .read_f32(name)
            .unwrap()
            .into_iter()
            .map(f32::to_bits)
            .collect();
        let want: Vec<u32> = expected
            .read_f32(name)
            .unwrap()
            .into_iter()
            .map(f32::to_bits)
            .collect();
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn zip_state_dict_reads_bit_for_bit() {
    let checkpoint = open("state_dict.pth");
    assert_eq!(
        (checkpoint.format(), checkpoint.len()),
        (Format::TorchZip, 27)
    );
    assert_eq!(checkpoint.names().next(), Some("f32"));
    assert_eq!(checkpoint.wrapper(), None);
    assert_reads_as_expected(&checkpoint);
}

#[test]
fn legacy_state_dict_reads_bit_for_bit() {
    let checkpoint = open("state_dict_legacy.pth");
    assert_eq!(
        (checkpoint.format(), checkpoint.len()),
        (Format::TorchLegacy, 24)
    );
    assert_reads_as_expected(&checkpoint);
}

#[test]
fn element_types_are_those_of_the_file() {
    let checkpoint = open("state_dict.pth");
    for (name, dtype) in [
        ("f64", DType::F64),
        ("f16", DType::F16),
        ("bf16_transposed", DType::BF16),
        ("f8_e4m3", DType::F8E4M3),
        ("u16", DType::U16),
        ("bool", DType::Bool),
        ("bn.num_batches_tracked", DType::I64),
    ] {
        assert_eq!(checkpoint.info(name).unwrap().dtype, dtype, "{name}");
    }
    assert_eq!(checkpoint.info("scalar").unwrap().shape, [0usize; 0]);
    assert_eq!(checkpoint.read_i64("bn.num_batches_tracked").unwrap(), [17]);
    assert_eq!(checkpoint.read_f32("empty").unwrap(), [0f32; 0]);
}

#[test]
fn wrapped_and_prefixed_state_dicts_are_found() {
    for name in ["wrapped.pth", "wrapped_legacy.pth"] {
        let checkpoint = open(name);
        assert_eq!(
            checkpoint.names().collect::<Vec<_>>(),
            ["fc.weight", "fc.bias"],
            "{name}"
        );
        assert_eq!(checkpoint.wrapper(), Some("model.state_dict"), "{name}");
        assert_eq!(checkpoint.read_f32("fc.bias").unwrap().len(), 2, "{name}");
    }
}

#[test]
fn code_is_refused_by_name_and_not_run() {
    for name in ["code.pth", "code_legacy.pth"] {
        let error = refusal(name);
        assert!(
            matches!(&error, WeightsError::RefusedCode { global, .. } if global == "posix.system"),
            "{error}"
        );
        let message = error.to_string();
        assert!(
            message.contains(name) && message.contains("asks to run `posix.system`"),
            "{message}"
        );
    }
    assert!(!Path::new("/tmp/regraft-was-here").exists());
}

#[test]
fn a_whole_pickled_model_is_refused_with_the_remedy() {
    for name in ["whole_model.pth", "whole_model_legacy.pth"] {
        let error = refusal(name);
        assert!(
            matches!(&error, WeightsError::PickledModule { class, .. } if class == "__main__.Net"),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("torch.save(model.state_dict(), path)"),
            "{error}"
        );
    }
}

#[test]
fn quantized_tensors_are_refused() {
    let error = refusal("quantized.pth");
    assert!(
        matches!(&error, WeightsError::Unsupported { what, .. } if what.contains("torch.QUInt8Storage")),
        "{error}"
    );
}

#[test]
fn complex_tensors_are_listed_but_not_converted() {
    let checkpoint = open("complex.pth");
    assert_eq!(checkpoint.read_f32("weight").unwrap(), [1.0, 1.0]);
    let error = checkpoint.read_f32("freqs").unwrap_err();
    assert!(
        matches!(
            error,
            WeightsError::UnsupportedDType {
                dtype: DType::C64,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_file_without_a_state_dict_says_what_it_holds() {
    let error = refusal("list.pth");
    assert!(
        matches!(&error, WeightsError::NoStateDict { found, wrappers: WRAPPERS, .. } if found == "a list of 1"),
        "{error}"
    );
}

#[test]
fn a_wrong_name_type_or_length_is_an_error() {
    let checkpoint = open("state_dict.pth");
    assert!(
        matches!(checkpoint.read_f32("nope"), Err(WeightsError::TensorNotFound { name, .. }) if name == "nope")
    );
    assert!(matches!(
        checkpoint.read_i64("f32"),
        Err(WeightsError::UnsupportedDType {
            wanted: DType::I64,
            ..
        })
    ));
    assert!(matches!(
        checkpoint.read_f32_into("f32", &mut [0.0; 14]),
        Err(WeightsError::WrongLength {
            expected: 15,
            got: 14,
            ..
        })
    ));
}

#[test]
fn metadata_of_safetensors_is_kept() {
    let checkpoint = open("expected.safetensors");
    assert_eq!(checkpoint.format(), Format::Safetensors);
    assert_eq!(
        checkpoint.metadata().get("made_by").map(String::as_str),
        Some("generate.py")
    );
}
