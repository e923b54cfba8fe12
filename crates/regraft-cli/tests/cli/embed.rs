//! `regraft embed`.

use crate::fixture::CliTest;
use safetensors::SafeTensors;

const IMAGES: usize = 6;

#[test]
fn safetensors_have_a_row_for_each_file_and_their_list() {
    let test = CliTest::with_run();
    test.run(&["embed", "run", "photos/val", "-o", "out.safetensors"])
        .success();
    let bytes = std::fs::read(test.path("out.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let files = &header.metadata().as_ref().unwrap()["files"];
    let files: Vec<String> = serde_json::from_str(files).unwrap();
    assert_eq!(files.len(), IMAGES);
    assert_eq!(files[0], "photos/val/blue/0.png");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let embeddings = tensors.tensor("embeddings").unwrap();
    assert_eq!(embeddings.shape(), [IMAGES, 512]);
}

#[test]
fn npy_has_the_same_values_and_a_list_beside_it() {
    let test = CliTest::with_run();
    for name in ["out.npy", "out.safetensors"] {
        let args = ["embed", "run", "photos/val", "--layer", "features.3.cat"];
        test.run(&[&args[..], &["-o", name]].concat()).success();
    }
    let npy = std::fs::read(test.path("out.npy")).unwrap();
    let header = String::from_utf8_lossy(&npy[..128]).into_owned();
    assert!(header.contains("'shape': (6, 128, 15, 15)"), "{header}");
    let other = std::fs::read(test.path("out.safetensors")).unwrap();
    assert!(other.ends_with(&npy[128..]));
    let list = std::fs::read_to_string(test.path("out.npy.files.txt")).unwrap();
    assert_eq!(list.lines().count(), IMAGES);
}

#[test]
fn nothing_is_written_when_something_is_wrong() {
    let test = CliTest::with_run();
    test.write("bad.jpg", "text");
    for (args, message) in [
        (
            &["embed", "run", "photos/val", "bad.jpg", "-o", "out.npy"][..],
            "1 of 7 images cannot be read",
        ),
        (
            &["embed", "run", "photos/val", "-o", "out.csv"],
            "expected a name ending in .safetensors or .npy",
        ),
        (
            &[
                "embed",
                "run",
                "photos/val",
                "--layer",
                "cat",
                "-o",
                "out.npy",
            ],
            "`cat`",
        ),
        (
            &["embed", "run", "photos/val", "-o", "none/out.npy"],
            "cannot write `none/out.npy",
        ),
    ] {
        let error = test.run(args).failure(1).stderr();
        assert!(error.contains(message), "{error}");
    }
    let names = std::fs::read_dir(test.path("")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name());
    assert!(names.all(|name| !name.to_string_lossy().starts_with("out")));
}
