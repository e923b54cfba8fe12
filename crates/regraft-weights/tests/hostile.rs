//! Damaged and malicious files: each gives one clear error, none panics, hangs or takes memory it has no right to.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use regraft_weights::{Checkpoint, TensorData, TensorView, WeightsError, write_safetensors};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

/// Opens `bytes` as a file and reads every tensor.
fn read_all(name: &str, bytes: &[u8]) -> Result<usize, WeightsError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let checkpoint = Checkpoint::open(&path)?;
    for tensor in checkpoint.names() {
        // Complex tensors cannot be converted; that is no failure here.
        let _ = checkpoint.read_f32(tensor);
        let _ = checkpoint.read_i64(tensor);
    }
    Ok(checkpoint.len())
}

fn refusal(name: &str, bytes: &[u8]) -> String {
    let error = read_all(name, bytes).expect_err(name);
    let message = error.to_string();
    assert!(message.contains(name), "the file is not named: {message}");
    message
}

fn assert_corrupt(name: &str, bytes: &[u8], reason: &str) {
    let message = refusal(name, bytes);
    assert!(
        message.contains("is damaged") && message.contains(reason),
        "{message}"
    );
}

/// A safetensors file of any header.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// A zip as torch.save makes it, of any pickle and storages.
fn torch_zip(members: &[(&str, &[u8], CompressionMethod)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content, method) in members {
        let options = SimpleFileOptions::default().compression_method(*method);
        writer
            .start_file(format!("archive/{name}"), options)
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The pickle of `{"w": _rebuild_tensor_v2(FloatStorage "0" of numel, offset, shape, strides)}`.
fn tensor_pickle(numel: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
    let int = |pickle: &mut Vec<u8>, value: i64| {
        pickle.extend([0x8a, 8]);
        pickle.extend(value.to_le_bytes());
    };
    pickle.extend(b"X\x01\0\0\x000X\x03\0\0\0cpu");
    int(&mut pickle, numel);
    pickle.extend(b"tQ");
    int(&mut pickle, offset);
    for values in [shape, strides] {
        pickle.push(b'(');
        for &value in values {
            int(&mut pickle, value);
        }
        pickle.push(b't');
    }
    pickle.extend(b"\x89NtRs.");
    pickle
}

fn tensor_file(numel: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let pickle = tensor_pickle(numel, offset, shape, strides);
    torch_zip(&[
        ("data.pkl", &pickle, CompressionMethod::Stored),
        ("data/0", &[0; 24], CompressionMethod::Stored),
    ])
}

#[test]
fn the_handmade_torch_file_is_sound() {
    assert_eq!(
        read_all("a.pth", &tensor_file(6, 0, &[2, 3], &[3, 1])).unwrap(),
        1
    );
    assert_eq!(
        read_all("a.pth", &tensor_file(6, 1, &[2, 2], &[2, 1])).unwrap(),
        1
    );
}

#[test]
fn a_tensor_beyond_its_storage_is_refused() {
    for (offset, shape, strides) in [
        (0, &[2i64, 4][..], &[4i64, 1][..]),
        (1, &[2, 3], &[3, 1]),
        (0, &[2, 2], &[5, 1]),
        (i64::MAX, &[1], &[1]),
        (0, &[2], &[i64::MAX]),
    ] {
        let message = refusal("beyond.pth", &tensor_file(6, offset, shape, strides));
        assert!(message.contains("`w`"), "{message}");
    }
}

#[test]
fn a_storage_larger_than_its_bytes_is_refused() {
    assert_corrupt(
        "storage.pth",
        &tensor_file(7, 0, &[7], &[1]),
        "should have 28 bytes, got 24",
    );
    assert_corrupt(
        "storage.pth",
        &tensor_file(i64::MAX, 0, &[1], &[1]),
        "impossible shape",
    );
}

#[test]
fn impossible_and_repeated_shapes_take_no_memory() {
    assert_corrupt(
        "huge.pth",
        &tensor_file(6, 0, &[1 << 40, 1 << 40], &[0, 0]),
        "impossible shape",
    );
    assert_corrupt(
        "huge.pth",
        &tensor_file(6, 0, &[1 << 40], &[0]),
        "claims 1099511627776 elements",
    );
    assert_corrupt(
        "huge.pth",
        &tensor_file(6, 0, &[-1], &[1]),
        "arguments that make no tensor",
    );
    assert_corrupt(
        "huge.pth",
        &tensor_file(6, 0, &[1; 65], &[1; 65]),
        "arguments that make no tensor",
    );
    assert_corrupt(
        "huge.pth",
        &tensor_file(6, 0, &[2, 2], &[1]),
        "arguments that make no tensor",
    );
}

#[test]
fn a_missing_storage_is_named() {
    let pickle = tensor_pickle(6, 0, &[6], &[1]);
    let file = torch_zip(&[("data.pkl", &pickle, CompressionMethod::Stored)]);
    assert_corrupt("missing.pth", &file, "the storage `0` of `w` is missing");
}

#[test]
fn compressed_storages_are_refused() {
    let pickle = tensor_pickle(6, 0, &[6], &[1]);
    let zeros = vec![0; 1 << 20];
    let file = torch_zip(&[
        ("data.pkl", &pickle, CompressionMethod::Stored),
        ("data/0", &zeros, CompressionMethod::Deflated),
    ]);
    let message = refusal("bomb.pth", &file);
    assert!(message.contains("compressed"), "{message}");
}

#[test]
fn big_endian_files_are_refused() {
    let pickle = tensor_pickle(6, 0, &[6], &[1]);
    let file = torch_zip(&[
        ("data.pkl", &pickle, CompressionMethod::Stored),
        ("byteorder", b"big", CompressionMethod::Stored),
        ("data/0", &[0; 24], CompressionMethod::Stored),
    ]);
    assert!(refusal("big.pth", &file).contains("big-endian"));

    let mut legacy = fixture("state_dict_legacy.pth");
    let flag = legacy
        .windows(13)
        .position(|window| window == b"little_endian")
        .unwrap()
        + 13;
    let opcode = flag
        + legacy[flag..]
            .iter()
            .position(|&byte| byte == 0x88)
            .unwrap();
    legacy[opcode] = 0x89;
    assert!(refusal("big_legacy.pth", &legacy).contains("big-endian"));
}

/// A zip whose only content is this pickle.
fn pickle_file(pickle: &[u8]) -> Vec<u8> {
    torch_zip(&[("data.pkl", pickle, CompressionMethod::Stored)])
}

#[test]
fn every_spelling_of_a_call_is_refused() {
    let spellings: [&[u8]; 6] = [
        b"cos\nsystem\n(X\x02\0\0\0idtR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
        b"(X\x02\0\0\0idios\nsystem\n.",
        b"(cos\nsystem\nX\x02\0\0\0ido.",
        b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nN)}tR.",
        // Through the memo, as an item of a list.
        b"](cos\nsystem\nq\x00N0h\x00X\x02\0\0\0id\x85Re.",
    ];
    for pickle in spellings {
        let error = read_all("code.pth", &pickle_file(pickle)).expect_err("refused");
        assert!(
            matches!(&error, WeightsError::RefusedCode { global, .. } if global == "os.system"),
            "{error}"
        );
    }
    for global in [
        "builtins.eval",
        "builtins.getattr",
        "subprocess.Popen",
        "torch.load",
        "torch.hub.load",
    ] {
        let (module, name) = global.rsplit_once('.').unwrap();
        let pickle = format!("c{module}\n{name}\n(X\x02\0\0\0idtR.");
        let error = read_all("code.pth", &pickle_file(pickle.as_bytes())).expect_err(global);
        assert!(
            matches!(&error, WeightsError::RefusedCode { global: named, .. } if named == global),
            "{error}"
        );
    }
}

#[test]
fn naming_or_constructing_a_class_runs_nothing_and_is_harmless_beside_weights() {
    let mut pickle = tensor_pickle(6, 0, &[6], &[1]);
    pickle.truncate(pickle.len() - 1);
    pickle.extend(b"X\x01\0\0\0xcos\nsystem\nsX\x01\0\0\0ycsubprocess\nPopen\n)\x81}bs.");
    let file = torch_zip(&[
        ("data.pkl", &pickle, CompressionMethod::Stored),
        ("data/0", &[0; 24], CompressionMethod::Stored),
    ]);
    assert_eq!(read_all("class.pth", &file).unwrap(), 1);
}

#[test]
fn special_tensors_are_named() {
    let pickle = b"ctorch._utils\n_rebuild_sparse_tensor\n(NNtR.";
    let message = refusal("sparse.pth", &pickle_file(pickle));
    assert!(
        message.contains("special tensor (`torch._utils._rebuild_sparse_tensor`)"),
        "{message}"
    );
}

#[test]
fn broken_pickles_are_refused() {
    for (pickle, reason) in [
        (&b""[..], "cut off"),
        (b"\x80\x02}", "cut off"),
        (b"X\xff\xff\xff\x7fabc.", "cut off"),
        (b"X\xff\xff\xff\xffabc.", "negative length"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.", "cut off"),
        (b"X\x01\0\0\0\xff.", "not UTF-8"),
        (b".", "never made"),
        (b"(.", "never made"),
        (b"t.", "never made"),
        (b"N(\x85.", "never made"),
        (b"h\x05.", "slot 5"),
        (b"gx\n.", "bad memo slot"),
        (b"NNa.", "no list"),
        (b"]NNs.", "no dictionary"),
        (b"}(Nu.", "key without a value"),
        (b"NN\x93.", "something else than text"),
        (b"N)R.", "no name"),
        (b"N)\x81.", "no name"),
        (b"\xff", "unknown instruction 0xff"),
        (b"NQ.", "storage in an unknown way"),
    ] {
        assert_corrupt("broken.pth", &pickle_file(pickle), reason);
    }
    assert!(refusal("ext.pth", &pickle_file(b"\x82\x01.")).contains("instruction 0x82"));
}

#[test]
fn nesting_a_million_deep_needs_no_stack() {
    let mut pickle = b"N".to_vec();
    pickle.extend(std::iter::repeat_n(0x85, 1_000_000));
    pickle.push(b'.');
    assert!(refusal("deep.pth", &pickle_file(&pickle)).contains("holds no state dict"));
    // A dictionary that contains itself under a wrapper's name.
    assert!(
        refusal("loop.pth", &pickle_file(b"}q\x00X\x05\0\0\0modelh\x00s."))
            .contains("holds no state dict")
    );
}

#[test]
fn copying_a_dictionary_over_and_over_is_refused() {
    let mut pickle = b"](".to_vec();
    for _ in 0..2000 {
        pickle.extend(b"](NNe");
    }
    pickle.extend(b"e\x85q\x010");
    for _ in 0..2000 {
        pickle.extend(b"ccollections\nOrderedDict\nh\x01R");
    }
    pickle.push(b'.');
    assert_corrupt("copies.pth", &pickle_file(&pickle), "over and over");
}

#[test]
fn cut_torch_files_are_refused_at_every_length() {
    for name in [
        "state_dict.pth",
        "state_dict_legacy.pth",
        "expected.safetensors",
    ] {
        let whole = fixture(name);
        for length in (0..whole.len()).step_by(41) {
            let message = refusal(name, &whole[..length]);
            assert!(!message.is_empty());
        }
    }
}

#[test]
fn lying_legacy_storage_tables_are_refused() {
    let whole = fixture("state_dict_legacy.pth");
    // The last storage's element count lies before its last bytes.
    let count = 6u64.to_le_bytes();
    let position = whole
        .windows(8)
        .rposition(|window| window == count)
        .unwrap();
    for lie in [u64::MAX, i64::MAX as u64, 1 << 40] {
        let mut bytes = whole.clone();
        bytes[position..position + 8].copy_from_slice(&lie.to_le_bytes());
        assert_corrupt("lying.pth", &bytes, "beyond the end of the file");
    }
}

#[test]
fn lying_safetensors_headers_are_refused() {
    let entry = |shape: &str, end: u64| {
        format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let data = [0; 24];
    assert_eq!(
        read_all("fine.safetensors", &safetensors(&entry("[2,3]", 24), &data)).unwrap(),
        1
    );
    for (header, reason) in [
        (entry("[2,4]", 24), "invalid shape"),
        (entry("[2,3]", 20), "invalid shape"),
        (entry("[3,3]", 36), "do not end where the file does"),
        (entry("[1]", 4), "do not end where the file does"),
        (entry("[4294967296,4294967296,4294967296]", 24), "overflow"),
        (entry("[-1]", 24), "JSON"),
        (
            r#"{"w":{"dtype":"Q9","shape":[6],"data_offsets":[0,24]}}"#.to_owned(),
            "JSON",
        ),
        (
            r#"{"w":{"dtype":"F32","shape":[6],"data_offsets":[24,0]}}"#.to_owned(),
            "offset",
        ),
        (
            r#"{"w":{"dtype":"F32","shape":[5],"data_offsets":[4,24]}}"#.to_owned(),
            "offset",
        ),
        ("{nonsense".to_owned(), "JSON"),
    ] {
        assert_corrupt("lying.safetensors", &safetensors(&header, &data), reason);
    }
    let mut long = safetensors(&entry("[6]", 24), &data);
    long[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    assert_corrupt(
        "long.safetensors",
        &long,
        "its header claims 1152921504606846976 bytes, the file has",
    );
    long[..8].copy_from_slice(&200u64.to_le_bytes());
    assert_corrupt(
        "long.safetensors",
        &long,
        "its header claims 200 bytes, the file has",
    );
    assert_corrupt("short.safetensors", b"abc", "more than 3 bytes");
    let mut not_text = safetensors(&entry("[6]", 24), &data);
    not_text[10] = 0xff;
    assert_corrupt("not_text.safetensors", &not_text, "UTF-8");
}

#[test]
fn one_name_for_two_tensors_is_refused() {
    let header = r#"{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"w":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#;
    assert_corrupt("twice.safetensors", &safetensors(header, &[0; 4]), "offset");
    let tensor = TensorView {
        name: "w",
        shape: &[1],
        data: TensorData::F32(&[1.0]),
    };
    let folder = TempDir::new().unwrap();
    let error = write_safetensors(&folder.path().join("w"), [tensor, tensor], &BTreeMap::new())
        .unwrap_err();
    assert!(matches!(error, WeightsError::DuplicateName { name, .. } if name == "w"));
}

#[test]
fn unusual_types_of_safetensors_are_named() {
    let header = r#"{"w":{"dtype":"F8_E8M0","shape":[2],"data_offsets":[0,2]}}"#;
    let message = refusal("scales.safetensors", &safetensors(header, &[0; 2]));
    assert!(message.contains("`w` of the type F8_E8M0"), "{message}");
}

#[test]
fn wrong_files_are_recognised() {
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let header = torch_zip(&[("other.txt", b"hi", CompressionMethod::Stored)]);
    for (bytes, looks_like) in [
        (&b""[..], "an empty file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (
            b"\x80\x04\x95\x03\0\0\0\0\0\0\0}\x94.",
            "torch.save did not write",
        ),
        (b"\x1f\x8b\x08", "gzip"),
        (b"hello", "unknown format"),
        (&tar, "tar archive"),
        (&header, "without `data.pkl`"),
    ] {
        let message = refusal("wrong.pth", bytes);
        assert!(message.contains(looks_like), "{message}");
    }
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = Checkpoint::open(&PathBuf::from("/nowhere/model.pth")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot open `/nowhere/model.pth`: No such file"),
        "{error}"
    );
}

fn flips() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
}

fn mutated(name: &str, flips: Vec<(prop::sample::Index, u8)>) -> Vec<u8> {
    let mut bytes = fixture(name);
    for (index, value) in flips {
        let index = index.index(bytes.len());
        bytes[index] = value;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_zip_files_never_panic(flips in flips()) {
        let _ = read_all("a.pth", &mutated("state_dict.pth", flips));
    }

    // Nothing in this format has a checksum, so mutations reach the pickle machine and everything behind it.
    #[test]
    fn mutated_legacy_files_never_panic(flips in flips(), name in prop::sample::select(vec![
        "state_dict_legacy.pth", "wrapped_legacy.pth", "code_legacy.pth", "whole_model_legacy.pth",
    ])) {
        let _ = read_all("a.pth", &mutated(name, flips));
    }

    #[test]
    fn mutated_safetensors_never_panic(flips in flips()) {
        let _ = read_all("a.safetensors", &mutated("expected.safetensors", flips));
    }

    #[test]
    fn random_pickles_never_panic(pickle in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_all("a.pth", &pickle_file(&pickle));
    }
}
