//! Batches, the check of all images, and the doctor, on small data sets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use regraft_data::doctor::{FindingCode, Severity, examine};
use regraft_data::{
    DataError, DecodeOptions, Format, ImageFolder, ImageReader, Loader, LoaderConfig,
    Preprocessing, SampleRng, Samples, Split, Transform, decode_file, file_digest, file_digests,
    find_bad_images, shuffled_indices, skip_bad_images, verify,
};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn shapes() -> Arc<Samples> {
    let data = ImageFolder::new(fixtures().join("shapes"))
        .load_for_evaluation(&["green".to_owned(), "red".to_owned()])
        .unwrap();
    Arc::new(data.samples)
}

fn small(random: bool) -> Transform {
    let preprocessing = Preprocessing::default().with_input_size([8, 8]);
    if random {
        Transform::training(&preprocessing)
    } else {
        Transform::evaluation(&preprocessing)
    }
}

/// A writable data set of the shapes: `train/<class>/0..2.png` and `val/<class>/2..4.png`.
fn data_set() -> TempDir {
    let root = TempDir::new().unwrap();
    for class in ["green", "red"] {
        for index in 0..4 {
            let split = if index < 2 { "train" } else { "val" };
            let folder = root.path().join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            let from = fixtures().join(format!("shapes/{class}/{index}.png"));
            fs::copy(from, folder.join(format!("{index}.png"))).unwrap();
        }
    }
    root
}

#[test]
fn batches_are_the_same_however_they_are_made() {
    let samples = shapes();
    let order = shuffled_indices(samples.len(), 5, 1);
    let all = |threads, prefetch| {
        let config = LoaderConfig {
            batch_size: 3,
            threads,
            prefetch,
            seed: 5,
            ..LoaderConfig::default()
        };
        let loader = Loader::new(Arc::clone(&samples), small(true), &config).unwrap();
        let mut batches = loader.epoch(1, order.clone());
        assert_eq!(batches.remaining(), 3);
        let mut all = Vec::new();
        while let Some(batch) = batches.next_batch() {
            all.push(batch.unwrap().clone());
        }
        assert_eq!(batches.remaining(), 0);
        assert!(batches.next_batch().is_none());
        all
    };
    let reference = all(1, 0);
    assert_eq!(
        reference
            .iter()
            .map(regraft_data::Batch::len)
            .collect::<Vec<_>>(),
        [3, 3, 2]
    );
    let seen: Vec<usize> = reference
        .iter()
        .flat_map(|batch| batch.indices.clone())
        .collect();
    assert_eq!(seen, order);
    for batch in &reference {
        assert_eq!(batch.images.len(), batch.len() * 8 * 8 * 3);
        for (index, label) in batch.indices.iter().zip(&batch.labels) {
            assert_eq!(samples.get(*index).unwrap().label, *label);
        }
    }
    for (threads, prefetch) in [(2, 0), (5, 0), (1, 1), (2, 1), (3, 4)] {
        assert_eq!(
            all(threads, prefetch),
            reference,
            "{threads} threads, {prefetch} ahead"
        );
    }
}

#[test]
fn a_batch_holds_what_single_images_hold() {
    let samples = shapes();
    let loader = Loader::new(Arc::clone(&samples), small(false), &LoaderConfig::default()).unwrap();
    let mut batches = loader.in_order();
    let batch = batches.next_batch().unwrap().unwrap();
    let mut reader = ImageReader::new(small(false), u64::MAX).unwrap();
    for (image, sample) in batch.images.chunks(8 * 8 * 3).zip(samples.iter()) {
        let mut out = vec![0.0; 8 * 8 * 3];
        reader
            .load_into(&sample.path, &mut SampleRng::new(0, 0, 0), &mut out)
            .unwrap();
        assert_eq!(image, out);
    }
}

#[test]
fn batch_memory_is_used_again() {
    let config = LoaderConfig {
        batch_size: 4,
        threads: 2,
        ..LoaderConfig::default()
    };
    let loader = Loader::new(shapes(), small(false), &config).unwrap();
    let mut batches = loader.in_order();
    let first = batches.next_batch().unwrap().unwrap().images.as_ptr();
    assert_eq!(
        batches.next_batch().unwrap().unwrap().images.as_ptr(),
        first
    );
}

#[test]
fn the_first_bad_image_ends_the_epoch_by_name() {
    let root = data_set();
    fs::write(root.path().join("train/green/1.png"), "no image").unwrap();
    let samples = Arc::new(ImageFolder::new(root.path()).load().unwrap().train);
    for prefetch in [0, 2] {
        let config = LoaderConfig {
            batch_size: 1,
            threads: 2,
            prefetch,
            ..LoaderConfig::default()
        };
        let loader = Loader::new(Arc::clone(&samples), small(false), &config).unwrap();
        let mut batches = loader.in_order();
        assert!(batches.next_batch().unwrap().is_ok());
        match batches.next_batch() {
            Some(Err(DataError::Decode { path, .. })) => assert!(path.ends_with("green/1.png")),
            other => panic!("{other:?}"),
        }
        assert!(batches.next_batch().is_none());
    }
}

#[test]
fn an_epoch_can_be_abandoned() {
    let config = LoaderConfig {
        batch_size: 1,
        prefetch: 2,
        ..LoaderConfig::default()
    };
    let loader = Loader::new(shapes(), small(false), &config).unwrap();
    let mut batches = loader.in_order();
    batches.next_batch().unwrap().unwrap();
    drop(batches);
    assert_eq!(loader.in_order().next_batch().unwrap().unwrap().len(), 1);
}

#[test]
fn impossible_loaders_are_refused() {
    let cases = [
        (
            LoaderConfig {
                batch_size: 0,
                ..LoaderConfig::default()
            },
            "`batch_size` is `0`, expected at least 1",
        ),
        (
            LoaderConfig {
                threads: 0,
                ..LoaderConfig::default()
            },
            "`threads` is `0`, expected at least 1",
        ),
    ];
    for (config, message) in cases {
        let error = Loader::new(shapes(), small(false), &config).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let loader = Loader::new(shapes(), small(false), &LoaderConfig::default()).unwrap();
    let mut batches = loader.epoch(0, vec![99]);
    let error = batches.next_batch().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "sample 99 does not exist, the split has 8 samples"
    );
}

#[test]
fn bad_images_stop_a_run_with_all_their_names() {
    let root = data_set();
    let good = fs::read(fixtures().join("images/jpeg_420.jpg")).unwrap();
    fs::write(root.path().join("train/green/text.jpg"), "just text").unwrap();
    fs::write(
        root.path().join("train/red/cut.jpg"),
        &good[..good.len() / 2],
    )
    .unwrap();
    fs::write(root.path().join("val/red/empty.png"), "").unwrap();
    let mut dataset = ImageFolder::new(root.path()).load().unwrap();
    let seen = AtomicUsize::new(0);
    let options = DecodeOptions::default();
    let error = verify(&dataset, &options, 2, || {
        seen.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap_err();
    assert_eq!(seen.into_inner(), 11);
    assert_eq!(
        error
            .to_string()
            .replace(root.path().to_str().unwrap(), "ROOT"),
        "3 of 11 images cannot be read:\
         \n  `ROOT/train/green/text.jpg`: not an image that can be read: it looks like text\
         \n  `ROOT/train/red/cut.jpg`: truncated JPEG: the file ends before the image does\
         \n  `ROOT/val/red/empty.png`: the file is empty"
    );
    assert!(error.hint().unwrap().contains("--skip-bad-images"));

    let skipped = skip_bad_images(&mut dataset, &options, 2, || {}).unwrap();
    assert_eq!(skipped.len(), 3);
    assert_eq!((dataset.train.len(), dataset.validation.len()), (4, 4));
    verify(&dataset, &options, 1, || {}).unwrap();
}

#[test]
fn a_class_of_bad_images_only_cannot_be_skipped() {
    let root = data_set();
    for index in 0..2 {
        fs::write(root.path().join(format!("train/red/{index}.png")), "").unwrap();
    }
    let mut dataset = ImageFolder::new(root.path()).load().unwrap();
    let error = skip_bad_images(&mut dataset, &DecodeOptions::default(), 1, || {}).unwrap_err();
    assert_eq!(
        error
            .to_string()
            .replace(root.path().to_str().unwrap(), "ROOT"),
        "no readable image is left in class `red` of `ROOT/train`"
    );
}

#[test]
fn a_file_that_vanishes_is_a_bad_image() {
    let root = data_set();
    let dataset = ImageFolder::new(root.path()).load().unwrap();
    fs::remove_file(root.path().join("train/red/0.png")).unwrap();
    let bad = find_bad_images(&dataset.train, &DecodeOptions::default(), 2, || {});
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].index, 2);
}

#[test]
fn files_that_cannot_be_photos_are_not_read_into_memory() {
    let root = data_set();
    let huge = root.path().join("huge.png");
    fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let options = DecodeOptions::default();
    match decode_file(&huge, &options) {
        Err(DataError::Io { source, .. }) => {
            let expected = "1099511627776 bytes are too many for an image file";
            assert_eq!(source.to_string(), expected);
        }
        other => panic!("{other:?}"),
    }
    match decode_file(root.path(), &options) {
        Err(DataError::Io { source, .. }) => assert_eq!(source.to_string(), "not a regular file"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn digests_follow_the_content() {
    let root = data_set();
    let dataset = ImageFolder::new(root.path()).load().unwrap();
    let before = file_digests(&dataset.train, 2).unwrap();
    let path = dataset.train.get(1).unwrap().path;
    assert_eq!(before[1], file_digest(&path).unwrap());
    fs::copy(dataset.train.get(0).unwrap().path, &path).unwrap();
    let after = file_digests(&dataset.train, 3).unwrap();
    assert_eq!(after[1], before[0]);
    assert_eq!(after[2..], before[2..]);
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        file_digests(&dataset.train, 2),
        Err(DataError::Io { .. })
    ));
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let root = data_set();
    let copy = |from: &str, to: &str| {
        fs::copy(fixtures().join(from), root.path().join(to)).unwrap();
    };
    copy("shapes/green/0.png", "val/green/leak.png");
    copy("shapes/red/0.png", "train/green/wrong.png");
    copy("shapes/red/1.png", "train/red/again.png");
    copy("images/exif_6.jpg", "train/red/photo.png");
    fs::write(root.path().join("train/red/cut.jpg"), "").unwrap();
    fs::write(root.path().join("train/red/notes.txt"), "").unwrap();
    for index in 0..50 {
        let content = format!("P2\n# {index}\n1 1\n255\n{index}\n");
        fs::write(
            root.path().join(format!("train/green/{index}.pgm")),
            content,
        )
        .unwrap();
    }
    let dataset = ImageFolder::new(root.path()).load().unwrap();
    let report = examine(&dataset, &DecodeOptions::default(), 2, || {});

    let found: Vec<(Severity, FindingCode, usize)> = report
        .findings
        .iter()
        .map(|finding| (finding.severity, finding.code, finding.count))
        .collect();
    assert_eq!(
        found,
        [
            (Severity::Error, FindingCode::UnreadableImage, 1),
            (Severity::Warning, FindingCode::ConflictingLabels, 1),
            (Severity::Warning, FindingCode::Leakage, 1),
            (Severity::Warning, FindingCode::TinyClass, 0),
            (Severity::Warning, FindingCode::Imbalance, 0),
            (Severity::Note, FindingCode::Duplicate, 1),
            (Severity::Note, FindingCode::WrongExtension, 1),
            (Severity::Note, FindingCode::ExifOrientation, 1),
            (Severity::Note, FindingCode::IgnoredFiles, 1),
        ]
    );
    let leak = &report.findings[2];
    let names: BTreeSet<_> = leak.groups[0]
        .iter()
        .map(|path| path.strip_prefix(root.path()).unwrap().to_path_buf())
        .collect();
    assert_eq!(
        names,
        BTreeSet::from(["train/green/0.png", "val/green/leak.png"].map(PathBuf::from))
    );

    assert_eq!(report.splits.len(), 2);
    assert_eq!(report.splits[0].split, Split::Train);
    assert_eq!(report.splits[0].per_class[0].images, 53);
    assert_eq!(report.images.formats[&Format::Pnm], 50);
    assert_eq!(report.images.formats[&Format::Jpeg], 1);
    assert_eq!(
        (report.images.width_px.min, report.images.width_px.max),
        (1, 13)
    );
    assert_eq!(report.images.height_px.max, 19);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["code"], "unreadable-image");
    assert_eq!(json["findings"][0]["severity"], "error");
}

#[test]
fn the_doctor_has_nothing_to_say_about_good_data() {
    let root = TempDir::new().unwrap();
    for (value, class) in ["a", "b"].into_iter().enumerate() {
        for (split, count) in [("train", 10), ("val", 2)] {
            let folder = root.path().join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for index in 0..count {
                let content = format!("P2\n# {split}\n2 1\n255\n{value} {index}\n");
                fs::write(folder.join(format!("{index}.pgm")), content).unwrap();
            }
        }
    }
    let dataset = ImageFolder::new(root.path()).load().unwrap();
    let report = examine(&dataset, &DecodeOptions::default(), 2, || {});
    assert_eq!(report.findings, []);
}
