//! Matching checkpoints with models: what may differ, what must not, and what the error says.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use regraft_weights::{
    Checkpoint, DoesNotFit, LoadOptions, LoadReport, TensorData, TensorView, WeightsError,
    write_safetensors,
};
use tempfile::TempDir;

type Shapes<'a> = &'a [(&'a str, &'a [usize])];

const TRUNK: Shapes<'_> = &[
    ("conv1.weight", &[4, 3, 3, 3]),
    ("bn1.weight", &[4]),
    ("bn1.running_mean", &[4]),
    ("bn1.num_batches_tracked", &[]),
];
const MODEL: Shapes<'_> = &[
    ("conv1.weight", &[4, 3, 3, 3]),
    ("bn1.weight", &[4]),
    ("bn1.running_mean", &[4]),
    ("bn1.num_batches_tracked", &[]),
    ("fc.weight", &[2, 4]),
    ("fc.bias", &[2]),
];
const HEAD: &[&str] = &["fc"];

/// A checkpoint of zeros with these names and shapes.
fn checkpoint(shapes: Shapes<'_>) -> (TempDir, Checkpoint) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let zeros = [0.0; 256];
    let view = |&(name, shape): &(&'static str, &'static [usize])| TensorView {
        name,
        shape,
        data: TensorData::F32(&zeros[..shape.iter().product()]),
    };
    let shapes: Vec<(&'static str, &'static [usize])> = shapes
        .iter()
        .map(|&(name, shape)| (&*name.to_owned().leak(), &*shape.to_vec().leak()))
        .collect();
    write_safetensors(&path, shapes.iter().map(view), &BTreeMap::new()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    (folder, checkpoint)
}

fn matched(file: Shapes<'_>, options: &LoadOptions<'_>) -> Result<LoadReport, WeightsError> {
    let (_folder, checkpoint) = checkpoint(file);
    checkpoint.match_parameters(MODEL.iter().copied(), options)
}

fn with_head() -> LoadOptions<'static> {
    LoadOptions {
        head: HEAD,
        ..LoadOptions::default()
    }
}

fn misfit(file: Shapes<'_>, options: &LoadOptions<'_>) -> DoesNotFit {
    match matched(file, options) {
        Err(WeightsError::DoesNotFit(misfit)) => *misfit,
        other => panic!("expected a misfit, got {other:?}"),
    }
}

fn joined(a: Shapes<'static>, b: Shapes<'static>) -> Vec<(&'static str, &'static [usize])> {
    [a, b].concat()
}

#[test]
fn an_equal_model_loads_whole() {
    let report = matched(MODEL, &LoadOptions::default()).unwrap();
    let loaded: Vec<&str> = report
        .loaded
        .iter()
        .map(|source| source.name.as_str())
        .collect();
    assert_eq!(
        loaded,
        MODEL.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
    assert!(
        report.missing.is_empty()
            && report.unexpected.is_empty()
            && report.replaced_head.is_empty()
    );
}

#[test]
fn another_class_count_replaces_the_head_whole() {
    let file = joined(TRUNK, &[("fc.weight", &[10, 4]), ("fc.bias", &[2])]);
    let report = matched(&file, &with_head()).unwrap();
    assert_eq!(report.replaced_head, ["fc.weight", "fc.bias"]);
    assert_eq!(report.mismatched[0].got, [10, 4]);
    assert_eq!(report.loaded.len(), TRUNK.len());
}

#[test]
fn a_trunk_without_a_head_loads() {
    let report = matched(TRUNK, &with_head()).unwrap();
    assert_eq!(report.missing, ["fc.weight", "fc.bias"]);
    assert_eq!(report.replaced_head, ["fc.weight", "fc.bias"]);
}

#[test]
fn a_head_of_another_structure_is_left_over_without_harm() {
    let file = joined(TRUNK, &[("fc.0.weight", &[8, 4]), ("fc.2.weight", &[2, 8])]);
    let report = matched(&file, &with_head()).unwrap();
    assert_eq!(report.unexpected, ["fc.0.weight", "fc.2.weight"]);
}

#[test]
fn a_missing_or_misshapen_head_is_an_error_where_no_head_is_replaced() {
    assert_eq!(
        misfit(TRUNK, &LoadOptions::default()).missing,
        ["fc.weight", "fc.bias"]
    );
    let file = joined(TRUNK, &[("fc.weight", &[10, 4]), ("fc.bias", &[10])]);
    assert_eq!(misfit(&file, &LoadOptions::default()).mismatched.len(), 2);
}

#[test]
fn head_names_match_whole_path_segments() {
    let file = joined(
        TRUNK,
        &[
            ("fc.weight", &[2, 4]),
            ("fc.bias", &[2]),
            ("fc2.weight", &[1]),
        ],
    );
    assert_eq!(misfit(&file, &with_head()).unexpected, ["fc2.weight"]);
}

#[test]
fn a_larger_model_of_the_same_family_is_not_mistaken_for_this_one() {
    let file = joined(
        MODEL,
        &[
            ("layer1.2.conv1.weight", &[4]),
            ("layer1.2.bn1.num_batches_tracked", &[]),
        ],
    );
    let misfit = misfit(&file, &with_head());
    assert_eq!((misfit.loaded, misfit.expected), (6, 6));
    assert_eq!(misfit.unexpected, ["layer1.2.conv1.weight"]);
    let report = matched(
        &file,
        &LoadOptions {
            allow_unexpected: true,
            ..with_head()
        },
    )
    .unwrap();
    assert_eq!(report.unexpected, ["layer1.2.conv1.weight"]);
}

#[test]
fn batch_counters_may_be_missing_or_left_over() {
    let without: Vec<_> = MODEL
        .iter()
        .copied()
        .filter(|(name, _)| !name.ends_with("tracked"))
        .collect();
    assert_eq!(
        matched(&without, &LoadOptions::default())
            .unwrap()
            .missing
            .len(),
        0
    );
    let (_folder, checkpoint) = checkpoint(MODEL);
    let report = checkpoint
        .match_parameters(without, &LoadOptions::default())
        .unwrap();
    assert!(report.unexpected.is_empty());
}

#[test]
fn a_scalar_accepts_one_element() {
    let (_folder, checkpoint) = checkpoint(&[("scale", &[1])]);
    let report = checkpoint
        .match_parameters([("scale", &[][..])], &LoadOptions::default())
        .unwrap();
    assert_eq!(report.loaded[0].tensor, "scale");
}

#[test]
fn renaming_maps_to_the_models_names_and_keeps_the_files() {
    let (_folder, checkpoint) = checkpoint(&[("encoder.w", &[2]), ("decoder.w", &[3])]);
    let rename = |name: &str| Some(name.strip_prefix("encoder.")?.to_owned());
    let options = LoadOptions {
        rename: Some(&rename),
        ..LoadOptions::default()
    };
    let report = checkpoint
        .match_parameters([("w", &[2][..])], &options)
        .unwrap();
    assert_eq!(
        (
            report.loaded[0].name.as_str(),
            report.loaded[0].tensor.as_str()
        ),
        ("w", "encoder.w")
    );

    let all_to_one = |_: &str| Some("w".to_owned());
    let options = LoadOptions {
        rename: Some(&all_to_one),
        ..LoadOptions::default()
    };
    let error = checkpoint
        .match_parameters([("w", &[2][..])], &options)
        .unwrap_err();
    assert!(matches!(error, WeightsError::DuplicateName { name, .. } if name == "w"));
}

#[test]
fn weights_of_another_architecture_name_file_counts_and_first_names() {
    let file: Shapes<'_> = &[
        ("features.0.weight", &[4]),
        ("features.1.weight", &[4]),
        ("features.2.weight", &[4]),
        ("features.3.weight", &[4]),
        ("features.4.weight", &[4]),
        ("bn1.weight", &[8]),
    ];
    let options = LoadOptions {
        hint: Some("the model is `tiny`".to_owned()),
        ..with_head()
    };
    let (folder, checkpoint) = checkpoint(file);
    let message = checkpoint
        .match_parameters(MODEL.iter().copied(), &options)
        .unwrap_err()
        .to_string();
    let path = folder.path().join("model.safetensors");
    assert_eq!(
        message,
        format!(
            "`{}` does not fit the model: 0 of 6 parameters match; \
             4 missing: `conv1.weight`, `bn1.running_mean`, `fc.weight`, `fc.bias`; \
             1 of another shape: `bn1.weight` expected [4], got [8]; \
             5 unexpected: `features.0.weight`, `features.1.weight`, `features.2.weight`, `features.3.weight`, …; \
             the model is `tiny`",
            path.display()
        )
    );
}

#[test]
fn a_file_that_fills_nothing_is_refused_even_if_only_the_head_is_expected() {
    let (_folder, checkpoint) = checkpoint(&[("fc.weight", &[10, 4])]);
    let error = checkpoint
        .match_parameters([("fc.weight", &[2, 4][..])], &with_head())
        .unwrap_err();
    assert!(matches!(error, WeightsError::DoesNotFit(misfit) if misfit.mismatched.len() == 1));
}
