//! Properties of surgery on random graphs, as far as structure goes: nothing is executed here.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail like the test itself"
)]

use proptest::prelude::*;
use regraft_graph::surgery::{
    fold_batch_norm, freeze, freeze_all, frozen_boundary, frozen_nodes, join, split, unfreeze,
};
use regraft_graph::{
    Activation, BatchNorm2d, Conv2d, Graph, GraphBuilder, HostTensor, MaxPool2d, NamePattern,
    NodeId, Op, Shape, SliceChannels, StateDict,
};
use std::collections::{BTreeMap, BTreeSet};

const CHANNELS: usize = 4;

/// One step of building a random graph. Every value has the same shape, so any step can read any value before it; `a`
/// and `b` choose which.
#[derive(Debug, Clone)]
struct Step {
    kind: usize,
    a: prop::sample::Index,
    b: prop::sample::Index,
}

fn add_step(b: &mut GraphBuilder, i: usize, step: &Step, values: &[NodeId]) -> NodeId {
    let x = values[step.a.index(values.len())];
    let y = values[step.b.index(values.len())];
    let conv = Conv2d::new(CHANNELS, CHANNELS, 3).padding(1);
    let half = |first| SliceChannels {
        first,
        channels: CHANNELS / 2,
    };
    match step.kind {
        0 => b.conv2d(&format!("n{i}"), x, conv),
        1 => b.conv2d(&format!("n{i}"), x, conv.groups(2).bias()),
        2 | 3 => b.batch_norm2d(&format!("n{i}"), x, BatchNorm2d::new(CHANNELS)),
        4 => b.activation(&format!("n{i}"), x, Activation::Relu),
        5 => b.dropout(&format!("n{i}"), x, 0.5),
        6 => b.add_values(&format!("n{i}"), x, y),
        7 => {
            let both = b.concat(&format!("n{i}.cat"), &[x, y]).unwrap();
            b.conv2d(
                &format!("n{i}"),
                both,
                Conv2d::new(2 * CHANNELS, CHANNELS, 1),
            )
        }
        8 => {
            let conv = b.conv2d(&format!("n{i}.conv"), x, conv).unwrap();
            b.batch_norm2d(&format!("n{i}"), conv, BatchNorm2d::new(CHANNELS))
        }
        9 => {
            let gate = b.global_avg_pool(&format!("n{i}.pool"), y).unwrap();
            let gate = b
                .conv2d(
                    &format!("n{i}.fc"),
                    gate,
                    Conv2d::new(CHANNELS, CHANNELS, 1),
                )
                .unwrap();
            b.mul_values(&format!("n{i}"), x, gate)
        }
        10 => {
            let kept = b.slice_channels(&format!("n{i}.a"), x, half(0)).unwrap();
            let other = b.slice_channels(&format!("n{i}.b"), y, half(2)).unwrap();
            let both = b.concat(&format!("n{i}.cat"), &[kept, other]).unwrap();
            b.channel_shuffle(&format!("n{i}"), both, 2)
        }
        11 => {
            let dropped = b.stochastic_depth(&format!("n{i}.drop"), x, 0.5).unwrap();
            b.add_values(&format!("n{i}"), dropped, y)
        }
        12 => b.adaptive_avg_pool2d(&format!("n{i}"), x, [6, 6]),
        _ => {
            let pool = MaxPool2d {
                kernel_size: 3,
                stride: 1,
                padding: 1,
                ceil_mode: false,
            };
            b.max_pool2d(&format!("n{i}"), x, pool)
        }
    }
    .unwrap()
}

/// A graph with one or two outputs, everything trainable.
fn graphs() -> impl Strategy<Value = Graph> {
    let step = (
        0..14usize,
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(kind, a, b)| Step { kind, a, b });
    (
        prop::collection::vec(step, 1..24),
        prop::option::of(any::<prop::sample::Index>()),
    )
        .prop_map(|(steps, second)| {
            let mut b = GraphBuilder::new();
            let mut values = vec![b.input("image", Shape::batched(&[CHANNELS, 6, 6]))];
            for (i, step) in steps.iter().enumerate() {
                values.push(add_step(&mut b, i, step, &values));
            }
            let mut outputs = vec![("out", values[values.len() - 1])];
            if let Some(second) = second {
                outputs.push(("second", values[second.index(values.len())]));
            }
            b.finish(&outputs).unwrap()
        })
}

/// A graph of which each tensor is frozen by its own coin; half of the time all before a random node are.
fn partly_frozen_graphs() -> impl Strategy<Value = Graph> {
    let coins = prop::collection::vec(any::<bool>(), 64);
    (graphs(), coins, prop::option::of(0..24usize)).prop_map(|(mut graph, coins, first)| {
        let names: Vec<_> = graph
            .parameters()
            .iter()
            .filter(|p| p.trainable)
            .map(|p| p.name.clone())
            .collect();
        for (i, name) in names.iter().enumerate() {
            let node: usize = name[1..].split('.').next().unwrap().parse().unwrap();
            if first.map_or(coins[i % coins.len()], |first| node < first) {
                freeze(&mut graph, &NamePattern::new(name).unwrap()).unwrap();
            }
        }
        graph
    })
}

/// All that makes a graph, without the order of nodes and parameters.
#[derive(Debug, PartialEq)]
struct Unordered {
    nodes: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
    outputs: Vec<(String, String)>,
}

fn unordered(graph: &Graph) -> Unordered {
    let name = |id: &NodeId| graph.node(*id).name.clone();
    let node = |id: NodeId| {
        let node = graph.node(id);
        let inputs: Vec<_> = node.inputs.iter().map(name).collect();
        let params: Vec<_> = node
            .params
            .iter()
            .map(|p| &graph.parameter(*p).name)
            .collect();
        let text = format!("{:?} {inputs:?} {params:?} {}", node.op, node.shape);
        (node.name.clone(), text)
    };
    Unordered {
        nodes: graph.node_ids().map(node).collect(),
        parameters: graph
            .parameters()
            .iter()
            .map(|p| (p.name.clone(), format!("{p:?}")))
            .collect(),
        outputs: graph
            .outputs()
            .iter()
            .map(|(n, id)| (n.clone(), name(id)))
            .collect(),
    }
}

/// The definition, by walking from every node: a value changes between epochs if a trained parameter or a random
/// dropout is at or before it; a dropout is random if layers with parameters follow and all that come first are trained.
fn frozen_by_definition(graph: &Graph) -> Vec<bool> {
    let users = graph.users();
    let random = |id: NodeId| {
        let mut first_layers = BTreeSet::new();
        let mut open = users[id.index()].clone();
        while let Some(user) = open.pop() {
            if graph.node(user).params.is_empty() {
                open.extend(&users[user.index()]);
            } else {
                first_layers.insert(user);
            }
        }
        matches!(graph.node(id).op, Op::Dropout { .. })
            && !first_layers.is_empty()
            && first_layers.iter().all(|l| graph.is_trainable(*l))
    };
    let changes = |id: NodeId| {
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(&graph.node(id).inputs);
            }
        }
        seen.into_iter()
            .any(|id| graph.is_trainable(id) || random(id))
    };
    graph.node_ids().map(|id| !changes(id)).collect()
}

proptest! {
    #[test]
    fn what_is_split_can_be_joined(graph in partly_frozen_graphs()) {
        let (prefix, suffix) = split(&graph, &frozen_boundary(&graph)).unwrap();
        let joined = join(&prefix, &suffix).unwrap();
        prop_assert_eq!(unordered(&joined), unordered(&graph));
    }

    #[test]
    fn frozen_is_what_no_training_can_change(graph in partly_frozen_graphs()) {
        prop_assert_eq!(frozen_nodes(&graph), frozen_by_definition(&graph));
    }

    #[test]
    fn the_cut_is_the_last_that_is_frozen(graph in partly_frozen_graphs()) {
        let frozen = frozen_nodes(&graph);
        let users = graph.users();
        let cut = frozen_boundary(&graph);
        for id in graph.node_ids() {
            let read_behind = users[id.index()].iter().any(|u| !frozen[u.index()]);
            let is_output = graph.outputs().iter().any(|(_, o)| *o == id);
            let last = frozen[id.index()] && (read_behind || is_output);
            prop_assert_eq!(cut.nodes.contains(&id), last, "{}", graph.node(id).name);
        }
        prop_assert!(cut.nodes.is_sorted());
    }

    #[test]
    fn the_parts_of_a_split_share_the_work(graph in partly_frozen_graphs()) {
        let (prefix, suffix) = split(&graph, &frozen_boundary(&graph)).unwrap();
        prop_assert_eq!(prefix.trainable_parameter_count(), 0);
        prop_assert_eq!(suffix.trainable_parameter_count(), graph.trainable_parameter_count());
        prop_assert_eq!(prefix.parameter_count() + suffix.parameter_count(), graph.parameter_count());
        prop_assert!(frozen_nodes(&prefix).into_iter().all(|f| f));
        // Only its inputs do not change.
        for (id, frozen) in suffix.node_ids().zip(frozen_nodes(&suffix)) {
            prop_assert_eq!(frozen, suffix.node(id).op == Op::Input, "{}", suffix.node(id).name);
        }
        let summary = graph.summary();
        prop_assert_eq!(summary.frozen_multiply_adds, prefix.summary().multiply_adds);
        prop_assert_eq!(
            summary.multiply_adds,
            prefix.summary().multiply_adds + suffix.summary().multiply_adds
        );
    }

    #[test]
    fn freezing_twice_is_freezing_once(graph in graphs(), node in 0..24usize) {
        let Ok(pattern) = NamePattern::new(&format!("n{node}")) else {
            return Err(TestCaseError::fail("the pattern is valid"));
        };
        let mut once = graph.clone();
        let Ok(matched) = freeze(&mut once, &pattern) else {
            // Nothing of this name: nothing may have changed.
            prop_assert_eq!(once, graph);
            return Ok(());
        };
        let mut twice = once.clone();
        prop_assert_eq!(freeze(&mut twice, &pattern), Ok(matched));
        prop_assert_eq!(&twice, &once);
        prop_assert_eq!(unfreeze(&mut twice, &pattern), Ok(matched));
        prop_assert_eq!(&twice, &graph);
    }

    #[test]
    fn freezing_all_leaves_nothing_to_do(mut graph in graphs()) {
        freeze_all(&mut graph);
        prop_assert_eq!(graph.trainable_parameter_count(), 0);
        prop_assert!(frozen_nodes(&graph).into_iter().all(|f| f));
        let mut outputs: Vec<_> = graph.outputs().iter().map(|(_, id)| *id).collect();
        outputs.sort();
        outputs.dedup();
        prop_assert_eq!(frozen_boundary(&graph).nodes, outputs);
    }

    #[test]
    fn folding_removes_exactly_the_norms_behind_a_private_convolution(graph in graphs()) {
        let users = graph.users();
        let foldable = |id: NodeId| {
            let node = graph.node(id);
            matches!(node.op, Op::BatchNorm2d(_))
                && matches!(graph.node(node.inputs[0]).op, Op::Conv2d(_))
                && users[node.inputs[0].index()].len() == 1
                && !graph.outputs().iter().any(|(_, o)| *o == node.inputs[0])
        };
        let kept: Vec<_> =
            graph.node_ids().filter(|id| !foldable(*id)).map(|id| graph.node(id).name.clone()).collect();
        let fold = fold_batch_norm(&graph).unwrap();
        let names: Vec<_> = fold.graph.nodes().iter().map(|n| n.name.clone()).collect();
        prop_assert_eq!(names, kept);
        for ((name, id), (old_name, old)) in fold.graph.outputs().iter().zip(graph.outputs()) {
            prop_assert_eq!(name, old_name);
            prop_assert_eq!(fold.graph.shape(*id), graph.shape(*old));
        }
        let state: StateDict =
            graph.parameters().iter().map(|p| (p.name.clone(), HostTensor::full(&p.shape, 0.5))).collect();
        let folded = fold.apply(&state).unwrap();
        prop_assert!(folded.check(&fold.graph).is_ok());
        prop_assert_eq!(folded.len(), fold.graph.parameters().len());
    }
}

/// `image -> a -> relu -> drop -> b -> head`, with a second reader of the dropout on request.
fn with_dropout(second_reader: bool) -> Graph {
    let mut b = GraphBuilder::new();
    let conv = Conv2d::new(CHANNELS, CHANNELS, 1);
    let x = b.input("image", Shape::batched(&[CHANNELS, 2, 2]));
    let x = b.conv2d("a", x, conv).unwrap();
    let x = b.activation("relu", x, Activation::Relu).unwrap();
    let drop = b.dropout("drop", x, 0.5).unwrap();
    let pooled = b.global_avg_pool("pool", drop).unwrap();
    let x = b.conv2d("b", pooled, conv).unwrap();
    let x = b.conv2d("head", x, conv).unwrap();
    let mut outputs = vec![("logits", x)];
    if second_reader {
        outputs.push(("other", b.conv2d("c", drop, conv).unwrap()));
    }
    b.finish(&outputs).unwrap()
}

fn train_only(graph: &mut Graph, pattern: &str) {
    freeze_all(graph);
    unfreeze(graph, &NamePattern::new(pattern).unwrap()).unwrap();
}

fn cut_names(graph: &Graph) -> Vec<&str> {
    let cut = frozen_boundary(graph);
    cut.nodes
        .into_iter()
        .map(|id| graph.node(id).name.as_str())
        .collect()
}

#[test]
fn dropout_between_frozen_layers_is_part_of_the_frozen_prefix() {
    let mut graph = with_dropout(false);
    train_only(&mut graph, "head");
    assert_eq!(cut_names(&graph), ["b"]);
}

#[test]
fn dropout_before_the_trained_layers_stays_random_even_across_a_pooling() {
    let mut graph = with_dropout(false);
    train_only(&mut graph, "b,head");
    assert_eq!(cut_names(&graph), ["relu"]);
}

#[test]
fn dropout_that_a_frozen_layer_reads_as_well_is_the_identity_for_both() {
    let mut graph = with_dropout(true);
    train_only(&mut graph, "b,head");
    assert_eq!(cut_names(&graph), ["pool", "c"]);
    train_only(&mut graph, "b,c,head");
    assert_eq!(cut_names(&graph), ["relu"]);
}

#[test]
fn dropout_behind_the_last_layer_does_not_thaw_it() {
    let mut b = GraphBuilder::new();
    let x = b.input("image", Shape::batched(&[CHANNELS, 2, 2]));
    let x = b
        .conv2d("a", x, Conv2d::new(CHANNELS, CHANNELS, 1))
        .unwrap();
    let x = b.dropout("drop", x, 0.5).unwrap();
    let mut graph = b.finish(&[("out", x)]).unwrap();
    assert_eq!(cut_names(&graph), ["image"]);
    freeze_all(&mut graph);
    assert_eq!(cut_names(&graph), ["drop"]);
}

#[test]
fn stochastic_depth_goes_with_the_branch_that_it_drops() {
    let mut b = GraphBuilder::new();
    let conv = Conv2d::new(CHANNELS, CHANNELS, 1);
    let x = b.input("image", Shape::batched(&[CHANNELS, 2, 2]));
    let branch = b.conv2d("a", x, conv).unwrap();
    let branch = b.stochastic_depth("drop", branch, 0.5).unwrap();
    let x = b.add_values("add", branch, x).unwrap();
    let x = b.conv2d("head", x, conv).unwrap();
    let mut graph = b.finish(&[("out", x)]).unwrap();
    train_only(&mut graph, "head");
    assert_eq!(cut_names(&graph), ["add"]);
    train_only(&mut graph, "a,head");
    assert_eq!(cut_names(&graph), ["image"]);
}
