//! How data sets are found on disk, and every way they can be wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use regraft_data::{
    DataError, Dataset, ImageFolder, Note, Sample, Samples, Split, Validation, stratified_split,
};
use tempfile::TempDir;

/// A folder with empty files at the given paths.
fn tree(files: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for file in files {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    root
}

fn relative(samples: &Samples, root: &Path) -> Vec<(String, usize)> {
    samples
        .iter()
        .map(|Sample { path, label }| {
            let path = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            (path, label)
        })
        .collect()
}

fn load(root: &TempDir) -> Result<Dataset, DataError> {
    ImageFolder::new(root.path()).load()
}

fn message(root: &TempDir, error: &DataError) -> String {
    error
        .to_string()
        .replace(root.path().to_str().unwrap(), "ROOT")
}

#[test]
fn splits_are_found_by_any_of_their_names() {
    for (train, validation) in [
        ("train", "val"),
        ("Training", "VALID"),
        ("train", "validation"),
        ("training", "eval"),
    ] {
        let root = tree(&[
            &format!("{train}/cat/1.jpg"),
            &format!("{train}/dog/1.png"),
            &format!("{validation}/cat/2.jpg"),
            &format!("{validation}/dog/2.jpg"),
            "test/dog/3.jpg",
        ]);
        let dataset = load(&root).unwrap();
        assert_eq!(dataset.classes, ["cat", "dog"]);
        assert_eq!(
            (
                dataset.train.len(),
                dataset.validation.len(),
                dataset.test.len()
            ),
            (2, 2, 1)
        );
        assert_eq!(dataset.test.get(0).unwrap().label, 1);
        assert_eq!(
            dataset.notes,
            [Note::ClassesWithoutImages {
                split: Split::Test,
                classes: vec!["cat".to_owned()]
            }]
        );
    }
}

#[test]
fn files_are_listed_as_torchvision_lists_them() {
    let root = tree(&[
        "train/b/z.JPG",
        "train/b/sub-a/1.jpeg",
        "train/b/sub/1.tif",
        "train/b/sub/x/1.jpg",
        "train/b/A.webp",
        "train/a/1.ppm",
        "train/a/notes.txt",
        "train/a/anim.gif",
        "train/a/.hidden.jpg",
        "train/.ipynb_checkpoints/1.jpg",
        "train/__MACOSX/1.jpg",
        "train/stray.jpg",
        "val/a/1.bmp",
        "docs/readme.png",
    ]);
    let dataset = load(&root).unwrap();
    assert_eq!(dataset.classes, ["a", "b"]);
    let expected = [
        ("train/a/1.ppm", 0),
        ("train/b/A.webp", 1),
        ("train/b/z.JPG", 1),
        ("train/b/sub/1.tif", 1),
        ("train/b/sub-a/1.jpeg", 1),
        // Whole path strings are compared, and `-` sorts before `/`.
        ("train/b/sub/x/1.jpg", 1),
    ];
    assert_eq!(
        relative(&dataset.train, root.path()),
        expected.map(|(path, label)| (path.to_owned(), label))
    );
    assert_eq!(dataset.ignored.count, 2);
    assert_eq!(dataset.ignored.by_extension["gif"], 1);
    let notes: Vec<String> = dataset.notes.iter().map(ToString::to_string).collect();
    let text = notes
        .join("\n")
        .replace(root.path().to_str().unwrap(), "ROOT");
    assert!(text.contains("folder `ROOT/docs` is not used"), "{text}");
    assert!(
        text.contains("1 image directly in `ROOT/train` belongs to no class"),
        "{text}"
    );
    assert!(text.contains("the first is `ROOT/train/a/"), "{text}");
}

#[test]
fn a_root_of_class_folders_is_split_automatically() {
    let files: Vec<String> = (0..10)
        .flat_map(|i| [format!("cat/{i}.jpg"), format!("dog/{i}.jpg")])
        .collect();
    let root = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let dataset = load(&root).unwrap();
    assert_eq!(dataset.train.class_counts(2), [8, 8]);
    assert_eq!(dataset.validation.class_counts(2), [2, 2]);
    let [
        Note::AutomaticSplit {
            fraction,
            train: 16,
            validation: 4,
            has_test: false,
            ..
        },
    ] = dataset.notes[..]
    else {
        panic!("{:?}", dataset.notes);
    };
    assert!((fraction - 0.2).abs() < 1e-12);
    let other = ImageFolder::new(root.path()).seed(1).load().unwrap();
    assert_ne!(
        relative(&dataset.validation, root.path()),
        relative(&other.validation, root.path())
    );
    let half = ImageFolder::new(root.path())
        .validation("0.5".parse().unwrap())
        .load()
        .unwrap();
    assert_eq!(half.validation.len(), 10);
}

#[test]
fn a_test_folder_is_left_for_evaluation() {
    let root = tree(&[
        "train/a/1.jpg",
        "train/a/2.jpg",
        "train/b/1.jpg",
        "train/b/2.jpg",
        "test/a/3.jpg",
    ]);
    let dataset = load(&root).unwrap();
    assert_eq!(
        (
            dataset.train.len(),
            dataset.validation.len(),
            dataset.test.len()
        ),
        (2, 2, 1)
    );
    let note = dataset
        .notes
        .iter()
        .map(ToString::to_string)
        .collect::<String>();
    assert!(
        note.contains("the test folder is left for `evaluate`"),
        "{note}"
    );
}

#[test]
fn a_flat_test_folder_is_not_used() {
    let root = tree(&[
        "train/a/1.jpg",
        "train/b/1.jpg",
        "train/b/2.jpg",
        "test/1.jpg",
    ]);
    let dataset = load(&root).unwrap();
    assert!(dataset.test.is_empty());
    assert!(dataset.notes.contains(&Note::UnusedFolder {
        path: root.path().join("test")
    }));
}

#[test]
fn validation_can_be_named() {
    let root = tree(&[
        "train/a/1.jpg",
        "train/b/1.jpg",
        "val/a/2.jpg",
        "val/b/2.jpg",
        "held/a/3.jpg",
    ]);
    let held = root.path().join("held");
    let dataset = ImageFolder::new(root.path())
        .validation(held.to_str().unwrap().parse().unwrap())
        .load()
        .unwrap();
    assert_eq!(
        relative(&dataset.validation, root.path()),
        [("held/a/3.jpg".to_owned(), 0)]
    );
    assert!(dataset.notes.contains(&Note::UnusedFolder {
        path: root.path().join("val")
    }));
    for text in ["0", "1", "-0.5", "nan", "7"] {
        let error = text.parse::<Validation>().unwrap_err();
        assert!(matches!(error, DataError::InvalidFraction { .. }), "{text}");
    }
    assert_eq!(
        "./0.2".parse::<Validation>().unwrap(),
        Validation::Folder("./0.2".into())
    );
}

#[test]
fn classes_may_be_called_like_splits() {
    let root = tree(&[
        "train/1.jpg",
        "train/2.jpg",
        "bus/1.jpg",
        "bus/2.jpg",
        "car/1.jpg",
        "car/2.jpg",
    ]);
    assert_eq!(load(&root).unwrap().classes, ["bus", "car", "train"]);
}

#[test]
fn labels_are_aligned_by_name() {
    let root = tree(&[
        "train/a/1.jpg",
        "train/b/1.jpg",
        "train/c/1.jpg",
        "val/a/1.jpg",
        "val/c/1.jpg",
    ]);
    let dataset = load(&root).unwrap();
    assert_eq!(
        relative(&dataset.validation, root.path()),
        [("val/a/1.jpg".to_owned(), 0), ("val/c/1.jpg".to_owned(), 2)]
    );
    assert_eq!(
        dataset.notes,
        [Note::ClassesWithoutImages {
            split: Split::Validation,
            classes: vec!["b".to_owned()]
        }]
    );
}

#[test]
fn evaluation_takes_the_best_split_and_the_models_labels() {
    let root = tree(&[
        "train/a/1.jpg",
        "train/b/1.jpg",
        "val/b/2.jpg",
        "test/b/3.jpg",
    ]);
    let classes = ["b", "a"].map(String::from);
    let data = ImageFolder::new(root.path())
        .load_for_evaluation(&classes)
        .unwrap();
    assert_eq!(data.split, Some(Split::Test));
    assert_eq!(
        relative(&data.samples, root.path()),
        [("test/b/3.jpg".to_owned(), 0)]
    );
    let inner = ImageFolder::new(root.path().join("val"))
        .load_for_evaluation(&classes)
        .unwrap();
    assert_eq!(inner.split, None);
    assert_eq!(inner.samples.len(), 1);
    let error = ImageFolder::new(root.path())
        .load_for_evaluation(&["a".to_owned()])
        .unwrap_err();
    assert!(matches!(error, DataError::UnknownClasses { .. }), "{error}");
}

#[test]
fn every_wrong_layout_has_its_own_message() {
    let cases: [(&[&str], &str); 9] = [
        (
            &["1.jpg", "2.jpg"],
            "`ROOT` holds 2 images such as `1.jpg` but no class folders, expected one sub-folder of images per class",
        ),
        (
            &["readme.txt"],
            "no class folders in `ROOT`, expected one sub-folder of images per class",
        ),
        (
            &["a/1.jpg"],
            "`ROOT` has only one class, `a`; a classifier needs at least two",
        ),
        (
            &["a/1.jpg", "b/notes.txt"],
            "class folder `ROOT/b` holds no image (1 other file), expected files ending in \
             .jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp",
        ),
        (
            &[
                "train/a/1.jpg",
                "train/b/1.jpg",
                "val/a/1.jpg",
                "val/B/1.jpg",
            ],
            "`ROOT/val` has 1 class that are not among the 2 training classes: `B`; the training classes are `a`, `b`",
        ),
        (
            &["val/a/1.jpg", "test/a/1.jpg"],
            "no `train` folder in `ROOT`, which holds only `val`, `test`",
        ),
        (
            &["train/a/1.jpg", "training/a/1.jpg"],
            "`ROOT` has both `train` and `training`, expected one train folder",
        ),
        (
            &["a/1.jpg", "b/1.jpg"],
            "`ROOT` has too few images for an automatic validation split: every class has a single image",
        ),
        (
            &["train/a/1.jpg", "train/b/1.jpg", "val/1.jpg"],
            "`ROOT/val` holds 1 images such as `1.jpg` but no class folders, expected one sub-folder of images per class",
        ),
    ];
    for (files, expected) in cases {
        let root = tree(files);
        let error = load(&root).unwrap_err();
        assert_eq!(message(&root, &error), expected);
    }
}

#[test]
fn a_missing_folder_names_its_neighbours() {
    let root = tree(&["hymenoptera/a/1.jpg", "other/a/1.jpg"]);
    let wrong = root.path().join("hymenoptra");
    let error = ImageFolder::new(&wrong).load().unwrap_err();
    assert_eq!(
        message(&root, &error),
        "folder `ROOT/hymenoptra` does not exist, did you mean `hymenoptera`?"
    );
    let error = ImageFolder::new(root.path().join("xyz"))
        .load()
        .unwrap_err();
    assert_eq!(message(&root, &error), "folder `ROOT/xyz` does not exist");
    let error = ImageFolder::new(root.path().join("other/a/1.jpg"))
        .load()
        .unwrap_err();
    assert_eq!(
        message(&root, &error),
        "`ROOT/other/a/1.jpg` is a file, expected a folder with one sub-folder per class"
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let root = tree(&[
        "a/1.jpg",
        "a/deep/2.jpg",
        "b/1.jpg",
        "b/2.jpg",
        "far/away/3.jpg",
    ]);
    let data = TempDir::new().unwrap();
    symlink(root.path().join("a"), data.path().join("a")).unwrap();
    symlink(root.path().join("b"), data.path().join("b")).unwrap();
    symlink(root.path().join("a"), root.path().join("a/deep/again")).unwrap();
    symlink(root.path().join("far"), root.path().join("a/far")).unwrap();
    symlink(root.path().join("a"), root.path().join("far/back")).unwrap();
    symlink(
        root.path().join("nowhere.jpg"),
        root.path().join("b/gone.jpg"),
    )
    .unwrap();
    let dataset = ImageFolder::new(data.path()).load().unwrap();
    let counts = dataset.train.class_counts(2);
    let held_back = dataset.validation.class_counts(2);
    // The dangling link counts: the check of the images is where it is named.
    assert_eq!([counts[0] + held_back[0], counts[1] + held_back[1]], [3, 3]);
    let skipped = dataset
        .notes
        .iter()
        .filter(|note| matches!(note, Note::SkippedLink { .. }))
        .count();
    assert_eq!(skipped, 2);
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_files_but_no_classes() {
    use std::os::unix::ffi::OsStrExt;
    let odd = OsStr::from_bytes(b"caf\xe9.jpg");
    let root = tree(&["a/1.jpg", "a/2.jpg", "b/1.jpg"]);
    fs::write(root.path().join("b").join(odd), "").unwrap();
    let dataset = load(&root).unwrap();
    assert!(
        [&dataset.train, &dataset.validation]
            .into_iter()
            .flat_map(Samples::iter)
            .any(|sample| sample.path.file_name() == Some(odd))
    );
    fs::create_dir(root.path().join(OsStr::from_bytes(b"\xff"))).unwrap();
    assert!(matches!(
        load(&root).unwrap_err(),
        DataError::ClassNameNotUtf8 { .. }
    ));
}

#[cfg(target_os = "linux")]
#[test]
fn pipes_are_never_opened() {
    let root = tree(&["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]);
    let pipe = root.path().join("b/pipe.jpg");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no `mkfifo`");
        return;
    }
    let dataset = load(&root).unwrap();
    assert_eq!(dataset.train.len() + dataset.validation.len(), 4);
    assert_eq!(dataset.ignored.examples, [pipe]);
}

fn sample(class: usize, number: usize) -> Sample {
    Sample {
        path: PathBuf::from(format!("class{class}/{number}.jpg")),
        label: class,
    }
}

fn paths(samples: &Samples) -> Vec<PathBuf> {
    let mut paths: Vec<_> = samples.iter().map(|sample| sample.path).collect();
    paths.sort();
    paths
}

proptest! {
    #[test]
    fn splits_are_disjoint_exhaustive_stratified_and_stable(
        counts in prop::collection::vec(1usize..40, 1..8),
        fraction in 0.01f64..0.99,
        seed: u64,
        rotation: usize,
    ) {
        let mut all: Vec<Sample> = counts
            .iter()
            .enumerate()
            .flat_map(|(class, count)| (0..*count).map(move |number| sample(class, number)))
            .collect();
        let samples = Samples::from_list(all.clone());
        let result = stratified_split(&samples, fraction, seed);
        if counts.iter().all(|count| *count == 1) {
            let refused = matches!(result, Err(DataError::TooFewToSplit { .. }));
            prop_assert!(refused);
            return Ok(());
        }
        let (train, validation) = result.unwrap();

        let mut together = paths(&train);
        together.extend(paths(&validation));
        together.sort();
        prop_assert_eq!(together, paths(&samples));

        let kept = train.class_counts(counts.len());
        let held = validation.class_counts(counts.len());
        for ((&count, &kept), &held) in counts.iter().zip(&kept).zip(&held) {
            prop_assert!(kept >= 1);
            prop_assert_eq!(held >= 1, count >= 2);
            if count >= 2 {
                prop_assert!((held as f64 - count as f64 * fraction).abs() <= 1.0);
            }
        }

        let middle = rotation % all.len();
        all.rotate_left(middle);
        all.reverse();
        let (again, _) = stratified_split(&Samples::from_list(all), fraction, seed).unwrap();
        prop_assert_eq!(paths(&again), paths(&train));
    }
}
