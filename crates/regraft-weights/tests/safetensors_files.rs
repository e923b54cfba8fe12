//! Writing safetensors, and folders and shards as Hugging Face keeps them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regraft_weights::{Checkpoint, DType, TensorData, TensorView, WeightsError, write_safetensors};
use tempfile::TempDir;

fn tensor<'a>(name: &'a str, shape: &'a [usize], values: &'a [f32]) -> TensorView<'a> {
    TensorView {
        name,
        shape,
        data: TensorData::F32(values),
    }
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_written_reads_back_bit_for_bit() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.safetensors");
    let weights = [
        1.0,
        -0.0,
        f32::MIN_POSITIVE / 2.0,
        f32::INFINITY,
        3.25,
        f32::MAX,
    ];
    let metadata = BTreeMap::from([("classes".to_owned(), r#"["a \"b\"","ü"]"#.to_owned())]);
    let tensors = [
        TensorView {
            name: "rng",
            shape: &[3],
            data: TensorData::U8(&[1, 2, 255]),
        },
        tensor("fc.weight", &[2, 3], &weights),
        TensorView {
            name: "step",
            shape: &[],
            data: TensorData::I64(&[-(1 << 60)]),
        },
        tensor("empty \"quoted\"", &[0, 7], &[]),
    ];
    write_safetensors(&path, tensors, &metadata).unwrap();

    let checkpoint = Checkpoint::open(&path).unwrap();
    let bits = |values: &[f32]| {
        values
            .iter()
            .map(|value| value.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        bits(&checkpoint.read_f32("fc.weight").unwrap()),
        bits(&weights)
    );
    assert_eq!(checkpoint.read_i64("step").unwrap(), [-(1 << 60)]);
    assert_eq!(checkpoint.read_i64("rng").unwrap(), [1, 2, 255]);
    assert_eq!(checkpoint.info("empty \"quoted\"").unwrap().shape, [0, 7]);
    assert_eq!(checkpoint.info("step").unwrap().dtype, DType::I64);
    assert_eq!(checkpoint.metadata()["classes"], metadata["classes"]);
    assert_eq!(checkpoint.metadata()["format"], "pt");
}

#[test]
fn the_same_weights_give_the_same_bytes_and_the_reference_reads_them() {
    let folder = TempDir::new().unwrap();
    let metadata: BTreeMap<String, String> = (0..20)
        .map(|i| (format!("key{i}"), i.to_string()))
        .collect();
    let bytes: Vec<Vec<u8>> = ["a", "b"]
        .iter()
        .map(|name| {
            let path = folder.path().join(name);
            write_safetensors(&path, [tensor("w", &[2], &[1.0, 2.0])], &metadata).unwrap();
            fs::read(path).unwrap()
        })
        .collect();
    assert_eq!(bytes[0], bytes[1]);
    let reference = safetensors::SafeTensors::deserialize(&bytes[0]).unwrap();
    assert_eq!(
        reference.tensor("w").unwrap().data(),
        [0, 0, 128, 63, 0, 0, 0, 64]
    );
}

#[test]
fn a_shape_that_disagrees_with_the_values_is_refused_and_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let error =
        write_safetensors(&path, [tensor("w", &[2, 2], &[0.0; 3])], &BTreeMap::new()).unwrap_err();
    assert!(
        matches!(
            error,
            WeightsError::ShapeMismatch {
                expected: 4,
                got: 3,
                ..
            }
        ),
        "{error}"
    );
    let error = write_safetensors(
        &path,
        [tensor("w", &[usize::MAX, 2], &[])],
        &BTreeMap::new(),
    )
    .unwrap_err();
    assert!(
        matches!(error, WeightsError::ShapeMismatch { .. }),
        "{error}"
    );
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_that_names_the_file() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing/model.safetensors");
    let error =
        write_safetensors(&missing, [tensor("w", &[1], &[0.0])], &BTreeMap::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot write `{}`", missing.display())),
        "{error}"
    );

    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    let mut permissions = fs::metadata(&locked).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&locked, permissions).unwrap();
    if fs::write(locked.join("probe"), "").is_ok() {
        eprintln!("skipped: this user (root?) writes to read-only folders");
        return;
    }
    let path = locked.join("model.safetensors");
    let error =
        write_safetensors(&path, [tensor("w", &[1], &[0.0])], &BTreeMap::new()).unwrap_err();
    assert!(
        matches!(
            error,
            WeightsError::Io {
                action: "write",
                ..
            }
        ),
        "{error}"
    );
    assert!(files(&locked).is_empty());
}

fn write_shards(folder: &Path) {
    for (file, name) in [
        ("model-00001-of-00002.safetensors", "a"),
        ("model-00002-of-00002.safetensors", "b"),
    ] {
        write_safetensors(
            &folder.join(file),
            [tensor(name, &[2], &[1.0, 2.0])],
            &BTreeMap::new(),
        )
        .unwrap();
    }
    let index = r#" {"metadata":{"total_size":16},"weight_map":{
        "a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
}

#[test]
fn a_folder_prefers_one_safetensors_file_to_shards_to_pytorch_files() {
    let folder = TempDir::new().unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(
        matches!(error, WeightsError::NoCheckpointInFolder { .. }),
        "{error}"
    );

    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/complex.pth");
    fs::copy(fixture, folder.path().join("pytorch_model.bin")).unwrap();
    let names = |checkpoint: &Checkpoint| checkpoint.names().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        names(&Checkpoint::open(folder.path()).unwrap()),
        ["freqs", "weight"]
    );

    write_shards(folder.path());
    let sharded = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(names(&sharded), ["a", "b"]);
    assert_eq!(sharded.read_f32("b").unwrap(), [1.0, 2.0]);
    let by_index = Checkpoint::open(&folder.path().join("model.safetensors.index.json")).unwrap();
    assert_eq!(names(&by_index), ["a", "b"]);

    let whole = folder.path().join("model.safetensors");
    write_safetensors(&whole, [tensor("w", &[1], &[0.5])], &BTreeMap::new()).unwrap();
    assert_eq!(names(&Checkpoint::open(folder.path()).unwrap()), ["w"]);
}

#[test]
fn a_missing_shard_is_named() {
    let folder = TempDir::new().unwrap();
    write_shards(folder.path());
    fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, WeightsError::MissingShard { shard, shards: 2, .. } if shard.starts_with("model-00002")),
        "{error}"
    );
}

#[test]
fn indexes_that_lie_are_refused() {
    let folder = TempDir::new().unwrap();
    write_shards(folder.path());
    let index = folder.path().join("model.safetensors.index.json");
    for (json, reason) in [
        (r#"{"weight_map":{}}"#, "empty"),
        (
            r#"{"weight_map":{"a":"../model.safetensors"}}"#,
            "plain file name",
        ),
        (r#"{"weight_map":{"a":"/etc/passwd"}}"#, "plain file name"),
        (
            r#"{"weight_map":{"c":"model-00001-of-00002.safetensors"}}"#,
            "no shard has it",
        ),
        (r#"{"weights":1}"#, "no index"),
    ] {
        fs::write(&index, json).unwrap();
        let error = Checkpoint::open(folder.path()).unwrap_err();
        assert!(
            matches!(error, WeightsError::Corrupt { .. }) && error.to_string().contains(reason),
            "{error}"
        );
    }
}

#[test]
fn one_name_in_two_shards_is_refused() {
    let folder = TempDir::new().unwrap();
    write_shards(folder.path());
    let second = folder.path().join("model-00002-of-00002.safetensors");
    let tensors = [tensor("a", &[1], &[0.0]), tensor("b", &[1], &[0.0])];
    write_safetensors(&second, tensors, &BTreeMap::new()).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, WeightsError::DuplicateName { name, .. } if name == "a"),
        "{error}"
    );
}

#[test]
fn prefixes_are_stripped_only_when_every_tensor_has_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let names = |tensors: &[&str]| {
        let tensors = tensors.iter().map(|name| tensor(name, &[1], &[0.0]));
        write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
        Checkpoint::open(&path)
            .unwrap()
            .names()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&["module.a", "module.b"]), ["a", "b"]);
    assert_eq!(
        names(&["module._orig_mod.a", "module._orig_mod.b"]),
        ["a", "b"]
    );
    assert_eq!(names(&["n_averaged", "module.a"]), ["n_averaged", "a"]);
    assert_eq!(names(&["module.a", "b"]), ["module.a", "b"]);
    assert_eq!(names(&[]), [""; 0]);
}
