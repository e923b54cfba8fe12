//! Every operator's gradient against central differences, on graphs small enough for all of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use regraft_engine::{Mode, Precision, Session, SessionOptions};
use regraft_graph::{
    Activation, AvgPool2d, BatchNorm2d, Conv2d, Graph, GraphBuilder, GraphError, HostTensor,
    Linear, MaxPool2d, NodeId, Shape, SliceChannels, StateDict, surgery,
};

/// Numbers that look random: a linear congruential sequence in [-1, 1).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn random_state(graph: &Graph, numbers: &mut Numbers) -> StateDict {
    graph
        .parameters()
        .iter()
        .map(|p| {
            let positive = p.name.ends_with("running_var");
            let data = (0..p.len())
                .map(|_| {
                    let v = numbers.next();
                    if positive { 1.0 + 0.5 * v } else { v }
                })
                .collect();
            (
                p.name.clone(),
                HostTensor {
                    shape: p.shape.clone(),
                    data,
                },
            )
        })
        .collect()
}

struct Model {
    graph: Graph,
    state: StateDict,
    input: Vec<f32>,
    batch: usize,
    /// Weights of the outputs in the loss: any fixed numbers.
    weights: Vec<f32>,
}

const TRAIN: SessionOptions = SessionOptions {
    mode: Mode::Train,
    precision: Precision::F32,
};
const SEED: u64 = 7;

impl Model {
    fn new(graph: Graph, batch: usize) -> Self {
        let mut numbers = Numbers(42);
        let state = random_state(&graph, &mut numbers);
        let input_node = graph.inputs().next().unwrap();
        let input_len = graph.shape(input_node).sample_len() * batch;
        let (_, output) = graph.outputs()[0].clone();
        let output_len = graph.shape(output).sample_len() * batch;
        let input = (0..input_len).map(|_| numbers.next()).collect();
        let weights = (0..output_len).map(|_| numbers.next()).collect();
        Self {
            graph,
            state,
            input,
            batch,
            weights,
        }
    }

    fn loss(&self, session: &mut Session, state: &StateDict) -> f64 {
        session.load(state).unwrap();
        let mut step = session.batch(self.batch).unwrap();
        step.input_mut("x").unwrap().copy_from_slice(&self.input);
        step.forward(SEED).unwrap();
        let output = step.output("y").unwrap();
        output
            .iter()
            .zip(&self.weights)
            .map(|(o, w)| f64::from(*o) * f64::from(*w))
            .sum()
    }

    /// Checks all gradients. Parameters whose perturbation crosses a kink have different slopes on both sides and are skipped;
    /// two thirds must remain.
    fn check(&self, tolerance: f64) {
        let mut session = Session::new(&self.graph, &self.state, TRAIN).unwrap();
        // Twice: the second step must not depend on what the first left in the arena.
        for _ in 0..2 {
            let mut step = session.batch(self.batch).unwrap();
            step.input_mut("x").unwrap().copy_from_slice(&self.input);
            step.forward(SEED).unwrap();
            step.output_gradient_mut("y")
                .unwrap()
                .copy_from_slice(&self.weights);
            step.backward().unwrap();
        }
        let slots = session.trainable().to_vec();
        let gradients = session.values_and_gradients().unwrap().1.to_vec();
        let (mut checked, mut skipped) = (0, 0);
        let mut moved = self.state.clone();
        for slot in &slots {
            for (i, at) in slot.range.clone().enumerate() {
                let mut loss = |h: f32| {
                    moved.get_mut(&slot.name).unwrap().data[i] += h;
                    let loss = self.loss(&mut session, &moved);
                    moved.get_mut(&slot.name).unwrap().data[i] =
                        self.state.get(&slot.name).unwrap().data[i];
                    loss
                };
                let h = 2e-3;
                let (ahead, here, behind) = (loss(h), loss(0.0), loss(-h));
                let (right, left) = (
                    (ahead - here) / f64::from(h),
                    (here - behind) / f64::from(h),
                );
                let fine = f64::midpoint(left, right);
                if (right - left).abs() > tolerance * (1.0 + fine.abs()) {
                    skipped += 1;
                    continue;
                }
                checked += 1;
                let got = f64::from(gradients[at]);
                assert!(
                    (got - fine).abs() < tolerance * (1.0 + fine.abs()),
                    "{}[{i}]: {got} instead of {fine}",
                    slot.name
                );
            }
        }
        assert!(
            checked >= 2 * skipped,
            "{checked} checked, {skipped} skipped"
        );
    }
}

fn image(
    build: impl FnOnce(&mut GraphBuilder, NodeId) -> Result<NodeId, GraphError>,
    dims: &[usize],
) -> Graph {
    let mut b = GraphBuilder::new();
    let x = b.input("x", Shape::batched(dims));
    let y = build(&mut b, x).unwrap();
    b.finish(&[("y", y)]).unwrap()
}

#[test]
fn convolutions_of_all_kinds() {
    for conv in [
        Conv2d::new(4, 6, 3).stride(2).padding(1).bias(),
        Conv2d::new(4, 4, 3).padding(1).groups(4),
        Conv2d::new(4, 8, 3).padding(2).dilation(2).groups(2).bias(),
        Conv2d::new(4, 6, 1),
        Conv2d::new(4, 4, 3)
            .stride(2)
            .same_padding()
            .groups(4)
            .bias(),
        Conv2d::new(4, 4, 5).stride(2).same_padding(),
        // The last row and column are never reached by a window.
        Conv2d::new(4, 3, 2).stride(3),
    ] {
        let graph = image(
            |b, x| {
                let x = b.conv2d("first", x, Conv2d::new(4, 4, 1).bias())?;
                let x = b.conv2d("conv", x, conv)?;
                b.activation("relu", x, Activation::Relu)
            },
            &[4, 7, 6],
        );
        Model::new(graph, 2).check(2e-2);
    }
}

#[test]
fn residual_blocks_with_batch_norm() {
    let graph = image(
        |b, x| {
            let stem = b.conv2d("stem", x, Conv2d::new(3, 5, 3).padding(1))?;
            let stem = b.batch_norm2d("bn0", stem, BatchNorm2d::new(5))?;
            let stem = b.activation("relu0", stem, Activation::Relu6)?;
            let main = b.conv2d("conv1", stem, Conv2d::new(5, 5, 3).padding(1))?;
            let main = b.batch_norm2d("bn1", main, BatchNorm2d::new(5))?;
            let sum = b.add_values("add", main, stem)?;
            let block = b.activation("relu1", sum, Activation::Relu)?;
            // MobileNetV2's kind: nothing behind the sum; three readers of one value.
            let linear = b.conv2d("conv2", block, Conv2d::new(5, 5, 1))?;
            let linear = b.batch_norm2d("bn2", linear, BatchNorm2d::new(5))?;
            let sum = b.add_values("add2", linear, block)?;
            let side = b.conv2d("conv3", block, Conv2d::new(5, 5, 1))?;
            b.add_values("add3", sum, side)
        },
        &[3, 4, 5],
    );
    Model::new(graph, 3).check(3e-2);
}

#[test]
fn batch_norm_without_a_layer_before_it() {
    let graph = image(
        |b, x| {
            let x = b.conv2d("conv", x, Conv2d::new(2, 3, 1))?;
            let x = b.max_pool2d(
                "pool",
                x,
                MaxPool2d {
                    kernel_size: 2,
                    stride: 2,
                    padding: 0,
                    ceil_mode: false,
                },
            )?;
            let y = b.batch_norm2d("bn", x, BatchNorm2d::new(3))?;
            let y = b.activation("relu", y, Activation::Relu)?;
            b.concat("concat", &[x, y])
        },
        &[2, 4, 6],
    );
    Model::new(graph, 3).check(3e-2);
}

#[test]
fn pooling_concat_flatten_and_linear() {
    let graph = image(
        |b, x| {
            let x = b.conv2d("conv", x, Conv2d::new(2, 4, 3).bias())?;
            let a = b.max_pool2d(
                "max",
                x,
                MaxPool2d {
                    kernel_size: 3,
                    stride: 2,
                    padding: 1,
                    ceil_mode: true,
                },
            )?;
            let pool = AvgPool2d {
                kernel_size: 3,
                stride: 2,
                padding: 1,
                ceil_mode: true,
                count_include_pad: false,
            };
            let c = b.avg_pool2d("avg", x, pool)?;
            let x = b.concat("concat", &[a, c])?;
            let x = b.flatten("flatten", x)?;
            let x = b.linear("fc1", x, Linear::new(8 * 3 * 3, 5))?;
            let x = b.activation("relu", x, Activation::Relu)?;
            b.linear(
                "fc2",
                x,
                Linear {
                    bias: false,
                    ..Linear::new(5, 3)
                },
            )
        },
        &[2, 7, 7],
    );
    Model::new(graph, 2).check(2e-2);
}

#[test]
fn activations_alone() {
    for activation in [
        Activation::Relu,
        Activation::Relu6,
        Activation::Sigmoid,
        Activation::Silu,
        Activation::HardSigmoid,
        Activation::HardSwish,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Tanh,
    ] {
        let graph = image(
            |b, x| {
                let x = b.conv2d("conv", x, Conv2d::new(2, 4, 1).bias())?;
                let x = b.activation("act", x, activation)?;
                let x = b.global_avg_pool("pool", x)?;
                b.flatten("flatten", x)
            },
            &[2, 3, 3],
        );
        Model::new(graph, 2).check(2e-2);
    }
}

#[test]
fn dropout_uses_one_mask_in_both_directions() {
    let graph = image(
        |b, x| {
            let x = b.conv2d("conv", x, Conv2d::new(2, 4, 1).bias())?;
            let x = b.dropout("dropout", x, 0.4)?;
            b.conv2d("head", x, Conv2d::new(4, 2, 1))
        },
        &[2, 4, 4],
    );
    Model::new(graph, 2).check(2e-2);
}

#[test]
fn a_frozen_batch_norm_between_trained_layers_uses_running_statistics() {
    let mut graph = image(
        |b, x| {
            let x = b.conv2d("conv1", x, Conv2d::new(2, 4, 1))?;
            let x = b.batch_norm2d("bn", x, BatchNorm2d::new(4))?;
            let x = b.activation("relu", x, Activation::Relu)?;
            b.conv2d("conv2", x, Conv2d::new(4, 2, 1))
        },
        &[2, 3, 3],
    );
    surgery::freeze(&mut graph, &regraft_graph::NamePattern::new("bn").unwrap()).unwrap();
    let model = Model::new(graph, 2);
    model.check(2e-2);
    let mut session = Session::new(&model.graph, &model.state, TRAIN).unwrap();
    let mut step = session.batch(2).unwrap();
    step.input_mut("x").unwrap().copy_from_slice(&model.input);
    step.forward(0).unwrap();
    let after = session.state_dict().unwrap();
    for name in ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"] {
        assert_eq!(after.get(name), model.state.get(name), "{name} changed");
    }
}

/// Squeeze-and-excitation: pooled, through two layers, and back as a factor for each channel.
fn squeeze_excitation(
    b: &mut GraphBuilder,
    x: NodeId,
    channels: usize,
    [inner, outer]: [Activation; 2],
) -> Result<NodeId, GraphError> {
    let gate = b.global_avg_pool("se.avgpool", x)?;
    let gate = b.conv2d("se.fc1", gate, Conv2d::new(channels, 3, 1).bias())?;
    let gate = b.activation("se.activation", gate, inner)?;
    let gate = b.conv2d("se.fc2", gate, Conv2d::new(3, channels, 1).bias())?;
    let gate = b.activation("se.scale_activation", gate, outer)?;
    b.mul_values("se.mul", x, gate)
}

#[test]
fn squeeze_excitation_blocks() {
    let kinds = [
        (Activation::Silu, [Activation::Silu, Activation::Sigmoid]),
        (
            Activation::HardSwish,
            [Activation::Relu, Activation::HardSigmoid],
        ),
    ];
    for (function, gate) in kinds {
        let graph = image(
            |b, x| {
                let stem = b.conv2d("stem", x, Conv2d::new(3, 5, 3).padding(1))?;
                let stem = b.batch_norm2d("bn0", stem, BatchNorm2d::new(5))?;
                let stem = b.activation("act0", stem, function)?;
                let x = b.conv2d("dw", stem, Conv2d::new(5, 5, 3).padding(1).groups(5))?;
                let x = b.batch_norm2d("bn1", x, BatchNorm2d::new(5))?;
                let x = b.activation("act1", x, function)?;
                let x = squeeze_excitation(b, x, 5, gate)?;
                let x = b.conv2d("project", x, Conv2d::new(5, 5, 1))?;
                let x = b.batch_norm2d("bn2", x, BatchNorm2d::new(5))?;
                let x = b.stochastic_depth("drop", x, 0.4)?;
                b.add_values("add", x, stem)
            },
            &[3, 4, 5],
        );
        Model::new(graph, 4).check(3e-2);
    }
}

#[test]
fn a_gate_of_what_has_other_readers_and_a_product_of_two_images() {
    let graph = image(
        |b, x| {
            let x = b.conv2d("conv", x, Conv2d::new(3, 4, 1).bias())?;
            let y = squeeze_excitation(b, x, 4, [Activation::Silu, Activation::Sigmoid])?;
            let z = b.mul_values("square", x, x)?;
            let z = b.mul_values("mul", z, y)?;
            let pooled = b.global_avg_pool("pool", x)?;
            let gate = b.mul_values("gate_gate", pooled, pooled)?;
            let z = b.mul_values("mul2", z, gate)?;
            b.add_values("add", z, x)
        },
        &[3, 3, 2],
    );
    Model::new(graph, 2).check(2e-2);
}

#[test]
fn channels_sliced_and_shuffled() {
    let slice = |first, channels| SliceChannels { first, channels };
    for groups in [2, 3] {
        let graph = image(
            |b, x| {
                let x = b.conv2d("conv", x, Conv2d::new(3, 6, 1).bias())?;
                let kept = b.slice_channels("kept", x, slice(0, 3))?;
                let other = b.slice_channels("other", x, slice(3, 3))?;
                let other = b.conv2d("branch", other, Conv2d::new(3, 3, 3).padding(1))?;
                let both = b.concat("cat", &[kept, other])?;
                let x = b.channel_shuffle("shuffle", both, groups)?;
                let middle = b.slice_channels("middle", x, slice(1, 3))?;
                b.conv2d("head", middle, Conv2d::new(3, 2, 1))
            },
            &[3, 3, 4],
        );
        Model::new(graph, 2).check(2e-2);
    }
}

#[test]
fn adaptive_pooling_to_fewer_and_to_more_positions() {
    for size in [[2, 3], [1, 1], [5, 4], [7, 2]] {
        let graph = image(
            |b, x| {
                let x = b.conv2d("conv", x, Conv2d::new(2, 3, 1).bias())?;
                let x = b.adaptive_avg_pool2d("pool", x, size)?;
                let x = b.flatten("flatten", x)?;
                b.linear("fc", x, Linear::new(3 * size[0] * size[1], 2))
            },
            &[2, 5, 4],
        );
        Model::new(graph, 2).check(2e-2);
    }
}

#[test]
fn stochastic_depth_drops_whole_samples() {
    let graph = image(
        |b, x| {
            let y = b.conv2d("conv", x, Conv2d::new(2, 2, 1).bias())?;
            b.stochastic_depth("drop", y, 0.5)
        },
        &[2, 2, 2],
    );
    let batch = 64;
    let model = Model::new(graph, batch);
    model.check(2e-2);
    let mut session = Session::new(&model.graph, &model.state, TRAIN).unwrap();
    let mut step = session.batch(batch).unwrap();
    step.input_mut("x").unwrap().copy_from_slice(&model.input);
    step.forward(SEED).unwrap();
    let (kept, dropped): (Vec<_>, Vec<_>) = step
        .output("y")
        .unwrap()
        .chunks(8)
        .partition(|sample| sample.iter().all(|v| *v != 0.0));
    assert!(
        dropped
            .iter()
            .all(|sample| sample.iter().all(|v| *v == 0.0))
    );
    // Four standard deviations of a fair coin.
    assert!(kept.len().abs_diff(batch / 2) <= 16, "{}", kept.len());
}
