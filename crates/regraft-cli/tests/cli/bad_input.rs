//! Mistakes that people make with `regraft train`: each is one clear error and exit code 1, and leaves no run folder.

use crate::fixture::{CliTest, QUICK, Ran, skipped};
use std::fs;
use std::io::Write;
use std::process::Command;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Trains with one error, and shows it.
#[track_caller]
fn train(test: &CliTest, args: &[&str]) -> String {
    let ran = test.run(&[&["train", "photos"], QUICK, args].concat());
    ran.failure(1);
    assert!(!test.path("runs/train").exists(), "{ran}");
    ran.snapshot()
}

/// A data set of one folder, without splits.
fn two_classes() -> CliTest {
    let test = CliTest::new();
    test.images("photos/blue", 4, [0, 0, 255]);
    test.images("photos/red", 4, [255, 0, 0]);
    test
}

#[test]
fn missing_folder() {
    let test = CliTest::new();
    fs::create_dir(test.path("photo")).unwrap();
    insta::assert_snapshot!(train(&test, &[]));
}

#[test]
fn config_without_a_folder() {
    let test = CliTest::new();
    test.write("config.toml", "epochs = 3\n");
    let error = test.run(&["train", "--config", "config.toml"]);
    let error = error.failure(1).stderr();
    assert!(error.contains("a folder of photos"), "{error}");
}

#[test]
fn empty_class() {
    let test = two_classes();
    test.write("photos/green/readme.txt", "no photos yet");
    insta::assert_snapshot!(train(&test, &[]));
}

#[test]
fn one_class() {
    let test = CliTest::new();
    test.images("photos/cats", 3, [9, 9, 9]);
    insta::assert_snapshot!(train(&test, &[]));
}

#[test]
fn images_without_class_folders() {
    let test = CliTest::new();
    test.images("photos", 3, [9, 9, 9]);
    insta::assert_snapshot!(train(&test, &[]));
}

#[test]
fn corrupt_jpeg_and_text_file_and_empty_file() {
    let test = two_classes();
    test.write(
        "photos/red/corrupt.jpg",
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
    );
    test.write("photos/red/text.jpg", "this is no photo");
    test.write("photos/blue/empty.jpg", "");
    insta::assert_snapshot!(train(&test, &[]));
    // Without a cache images are decoded elsewhere.
    insta::assert_snapshot!("bad_images_without_cache", train(&test, &["--no-cache"]));
}

#[test]
fn label_mismatch_between_train_and_val() {
    let test = CliTest::with_photos();
    test.images("photos/val/green", 1, [0, 255, 0]);
    insta::assert_snapshot!(train(&test, &[]));
}

#[test]
fn unknown_model() {
    let test = two_classes();
    insta::assert_snapshot!(train(&test, &["--model", "resnet-18"]));
}

#[test]
fn unknown_pattern() {
    let test = two_classes();
    insta::assert_snapshot!(train(&test, &["--unfreeze", "layer4"]));
}

#[test]
fn batch_size_zero() {
    let test = two_classes();
    insta::assert_snapshot!(train(&test, &["--batch-size", "0"]));
}

#[test]
fn learning_rate_that_is_no_number() {
    let test = two_classes();
    insta::assert_snapshot!(train(&test, &["--lr", "nan"]));
}

#[test]
fn config_with_a_typing_error() {
    let test = two_classes();
    test.write("config.toml", "epoch = 3\n");
    insta::assert_snapshot!(train(&test, &["--config", "config.toml"]));
}

#[test]
fn existing_run_folder() {
    let test = two_classes();
    test.write("results/notes.txt", "mine");
    insta::assert_snapshot!(train(&test, &["--output", "results"]));
    assert_eq!(fs::read_dir(test.path("results")).unwrap().count(), 1);
}

#[test]
fn output_below_a_file() {
    let test = two_classes();
    test.write("file", "");
    insta::assert_snapshot!(train(&test, &["--output", "file/run"]));
}

#[cfg(unix)]
#[test]
fn read_only_output() {
    use std::os::unix::fs::PermissionsExt;
    let test = two_classes();
    let folder = test.path("locked");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(folder.join("probe"), "").is_ok() {
        return skipped("this user may write to read-only folders");
    }
    insta::assert_snapshot!(train(&test, &["--output", "locked/run"]));
}

#[test]
fn missing_weights() {
    let test = two_classes();
    insta::assert_snapshot!(train(&test, &["--weights", "none.safetensors"]));
}

#[test]
fn truncated_safetensors() {
    let test = two_classes();
    let header = r#"{"conv1.weight":{"dtype":"F32","shape":[4,4],"data_offsets":[0,64]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend([0; 10]);
    test.write("weights.safetensors", file);
    insta::assert_snapshot!(train(&test, &["--weights", "weights.safetensors"]));
}

#[test]
fn safetensors_with_a_lying_header() {
    let test = two_classes();
    let mut file = (1_u64 << 60).to_le_bytes().to_vec();
    file.extend(b"{}");
    test.write("weights.safetensors", file);
    insta::assert_snapshot!(train(&test, &["--weights", "weights.safetensors"]));
}

/// A `.pth` as `torch.save` packs it, around a pickle and a storage of 16 bytes.
fn pth(pickle: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in [
        ("archive/data.pkl", pickle),
        ("archive/byteorder", b"little"),
        ("archive/data/0", &[0; 16]),
        ("archive/version", b"3\n"),
    ] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn pth_that_holds_code() {
    let test = two_classes();
    let touch = b"\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch pwned\x85R.";
    test.write("weights.pth", pth(touch));
    insta::assert_snapshot!(train(&test, &["--weights", "weights.pth"]));
    assert!(!test.path("pwned").exists());
}

#[test]
fn pth_with_a_lying_header() {
    let test = two_classes();
    // {"w": a tensor of 1000 x 1000 in a storage of 4 elements}
    let pickle = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(\
        (X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ\
        K\x00M\xe8\x03M\xe8\x03\x86M\xe8\x03K\x01\x86\x89}tRs.";
    test.write("weights.pth", pth(pickle));
    insta::assert_snapshot!(train(&test, &["--weights", "weights.pth"]));
}

#[test]
fn weights_of_another_architecture() {
    let test = CliTest::with_run();
    let args = ["--model", "resnet18", "--weights", "run/model.safetensors"];
    insta::assert_snapshot!(train(&test, &args));
}

/// Trains where files cannot grow beyond `blocks` of 512 bytes: what a full disk does, without one.
#[cfg(target_os = "linux")]
fn train_with_little_room(test: &CliTest, output: &str) -> Ran {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!(
        "trap '' XFSZ; ulimit -f 64; exec '{}' train photos --no-cache --output {output} {}",
        env!("CARGO_BIN_EXE_regraft"),
        QUICK.join(" ")
    ));
    test.isolate(&mut command);
    test.finish(&mut command)
}

#[cfg(target_os = "linux")]
#[test]
fn files_that_cannot_grow() {
    let test = two_classes();
    let ran = train_with_little_room(&test, "run");
    let error = ran.failure(1).stderr();
    assert!(
        error.contains("cannot write `run/model.safetensors`"),
        "{ran}"
    );
    assert!(error.contains("File too large"), "{ran}");
}

/// A file system that is gone when the test is over.
#[cfg(target_os = "linux")]
struct Tmpfs(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk() {
    let test = two_classes();
    let disk = test.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(&disk)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return skipped("this user may not mount a small disk");
    }
    let _unmount = Tmpfs(disk);
    let ran = test.run(&[&["train", "photos", "--output", "disk/run"], QUICK].concat());
    let error = ran.failure(1).stderr();
    assert!(error.contains("No space left on device"), "{ran}");
}
