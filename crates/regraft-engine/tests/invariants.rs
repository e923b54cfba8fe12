//! What holds of every plan: surgery keeps the function, evaluation changes nothing, frozen parameters stay, equal runs
//! give equal bits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use regraft_engine::{EngineError, Mode, Precision, Session, SessionOptions, set_threads};
use regraft_graph::{
    Activation, BatchNorm2d, Conv2d, Graph, GraphBuilder, Linear, MaxPool2d, NamePattern, Shape,
    SliceChannels, StateDict, surgery,
};
use regraft_models::synthetic;

const EVAL: SessionOptions = SessionOptions {
    mode: Mode::Eval,
    precision: Precision::F32,
};
const TRAIN: SessionOptions = SessionOptions {
    mode: Mode::Train,
    precision: Precision::F32,
};

/// One layer of a random network.
#[derive(Debug, Clone)]
enum Layer {
    Conv {
        out_channels: usize,
        kernel: usize,
        norm: bool,
        activation: bool,
    },
    Residual {
        norm: bool,
    },
    Fire,
    /// Squeeze-and-excitation in a residual branch that may be dropped.
    Gated,
    Shuffle,
    AdaptivePool,
    Pool,
    Dropout,
}

fn layer() -> impl Strategy<Value = Layer> {
    prop_oneof![
        (
            1_usize..9,
            prop_oneof![Just(1_usize), Just(3)],
            any::<bool>(),
            any::<bool>()
        )
            .prop_map(|(out_channels, kernel, norm, activation)| Layer::Conv {
                out_channels,
                kernel,
                norm,
                activation
            }),
        any::<bool>().prop_map(|norm| Layer::Residual { norm }),
        Just(Layer::Fire),
        Just(Layer::Gated),
        Just(Layer::Shuffle),
        Just(Layer::AdaptivePool),
        Just(Layer::Pool),
        Just(Layer::Dropout),
    ]
}

/// A network of `layers` over 9 x 8 images, with a linear head.
fn network(layers: &[Layer]) -> Graph {
    let mut b = GraphBuilder::new();
    let mut x = b.input("image", Shape::batched(&[3, 9, 8]));
    for (i, layer) in layers.iter().enumerate() {
        let channels = b.shape(x).sample().unwrap()[0];
        let name = |part: &str| format!("layer{i}.{part}");
        x = match layer {
            Layer::Conv {
                out_channels,
                kernel,
                norm,
                activation,
            } => {
                let conv = Conv2d::new(channels, *out_channels, *kernel).padding(kernel / 2);
                let conv = if *norm { conv } else { conv.bias() };
                let mut y = b.conv2d(&name("conv"), x, conv).unwrap();
                if *norm {
                    y = b
                        .batch_norm2d(&name("bn"), y, BatchNorm2d::new(*out_channels))
                        .unwrap();
                }
                if *activation {
                    b.activation(&name("relu"), y, Activation::Relu).unwrap()
                } else {
                    y
                }
            }
            Layer::Residual { norm } => {
                let mut y = b
                    .conv2d(
                        &name("conv"),
                        x,
                        Conv2d::new(channels, channels, 3).padding(1).bias(),
                    )
                    .unwrap();
                if *norm {
                    y = b
                        .batch_norm2d(&name("bn"), y, BatchNorm2d::new(channels))
                        .unwrap();
                }
                let sum = b.add_values(&name("add"), x, y).unwrap();
                b.activation(&name("relu"), sum, Activation::Relu6).unwrap()
            }
            Layer::Fire => {
                let small = b
                    .conv2d(&name("e1"), x, Conv2d::new(channels, 3, 1).bias())
                    .unwrap();
                let large = b
                    .conv2d(
                        &name("e3"),
                        x,
                        Conv2d::new(channels, 2, 3).padding(1).bias(),
                    )
                    .unwrap();
                b.concat(&name("cat"), &[small, large]).unwrap()
            }
            Layer::Gated => {
                let y = b
                    .conv2d(&name("conv"), x, Conv2d::new(channels, channels, 1))
                    .unwrap();
                let y = b
                    .batch_norm2d(&name("bn"), y, BatchNorm2d::new(channels))
                    .unwrap();
                let y = b.activation(&name("act"), y, Activation::Silu).unwrap();
                let gate = b.global_avg_pool(&name("pool"), y).unwrap();
                let fc = Conv2d::new(channels, channels, 1).bias();
                let gate = b.conv2d(&name("fc"), gate, fc).unwrap();
                let gate = b
                    .activation(&name("gate"), gate, Activation::Sigmoid)
                    .unwrap();
                let y = b.mul_values(&name("mul"), y, gate).unwrap();
                let y = b.stochastic_depth(&name("drop"), y, 0.5).unwrap();
                b.add_values(&name("add"), y, x).unwrap()
            }
            Layer::Shuffle => {
                let slice = |first, channels| SliceChannels { first, channels };
                let both = b.concat(&name("cat"), &[x, x]).unwrap();
                let x = b.channel_shuffle(&name("shuffle"), both, 2).unwrap();
                b.slice_channels(&name("slice"), x, slice(1, channels))
                    .unwrap()
            }
            Layer::AdaptivePool => b.adaptive_avg_pool2d(&name("pool"), x, [4, 5]).unwrap(),
            Layer::Pool => {
                let pool = MaxPool2d {
                    kernel_size: 3,
                    stride: 2,
                    padding: 1,
                    ceil_mode: false,
                };
                b.max_pool2d(&name("pool"), x, pool).unwrap()
            }
            Layer::Dropout => b.dropout(&name("dropout"), x, 0.5).unwrap(),
        };
    }
    let channels = b.shape(x).sample().unwrap()[0];
    let x = b.global_avg_pool("avgpool", x).unwrap();
    let x = b.flatten("flatten", x).unwrap();
    let x = b.linear("fc", x, Linear::new(channels, 4)).unwrap();
    b.finish(&[("logits", x)]).unwrap()
}

/// Channels-last images of `batch` samples.
fn images(len: usize) -> Vec<f32> {
    synthetic::tensor("image", &[len], 0.0, 1.0).data
}

/// Runs a graph in evaluation mode on named inputs; returns its outputs in order.
fn evaluate(
    graph: &Graph,
    state: &StateDict,
    batch: usize,
    inputs: &[(String, Vec<f32>)],
) -> Vec<(String, Vec<f32>)> {
    let mut session = Session::new(graph, state, EVAL).unwrap();
    let mut step = session.batch(batch).unwrap();
    for (name, data) in inputs {
        step.input_mut(name).unwrap().copy_from_slice(data);
    }
    step.forward(0).unwrap();
    graph
        .outputs()
        .iter()
        .map(|(name, _)| (name.clone(), step.output(name).unwrap().to_vec()))
        .collect()
}

fn assert_close(a: &[f32], b: &[f32]) {
    let scale = b.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() <= 2e-5 * scale, "{x} is not {y}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn folding_keeps_the_function(layers in prop::collection::vec(layer(), 1..5)) {
        let graph = network(&layers);
        let state = synthetic::state_dict(&graph);
        let input = vec![("image".to_owned(), images(2 * 3 * 9 * 8))];
        let fold = surgery::fold_batch_norm(&graph).unwrap();
        let folded = evaluate(&fold.graph, &fold.apply(&state).unwrap(), 2, &input);
        assert_close(&folded[0].1, &evaluate(&graph, &state, 2, &input)[0].1);
    }

    #[test]
    fn cutting_keeps_the_function(
        (layers, trained) in prop::collection::vec(layer(), 1..5).prop_flat_map(|l| { let n = l.len(); (Just(l), 0..=n) })
    ) {
        let mut graph = network(&layers);
        surgery::freeze_all(&mut graph);
        // Trains what follows a random layer; a pattern may match nothing, as in a layer without parameters.
        for i in trained..layers.len() {
            let _ = surgery::unfreeze(&mut graph, &NamePattern::new(&format!("layer{i}")).unwrap());
        }
        surgery::unfreeze(&mut graph, &NamePattern::new("fc").unwrap()).unwrap();
        let state = synthetic::state_dict(&graph);
        let input = vec![("image".to_owned(), images(2 * 3 * 9 * 8))];
        let whole = evaluate(&graph, &state, 2, &input);
        let (prefix, suffix) = surgery::split(&graph, &surgery::frozen_boundary(&graph)).unwrap();
        let crossing = evaluate(&prefix, &state, 2, &input);
        assert_close(&evaluate(&suffix, &state, 2, &crossing)[0].1, &whole[0].1);
        let joined = surgery::join(&prefix, &suffix).unwrap();
        prop_assert_eq!(&evaluate(&joined, &state, 2, &input)[0].1, &whole[0].1);
    }

    #[test]
    fn a_sample_does_not_depend_on_its_batch(layers in prop::collection::vec(layer(), 1..5)) {
        let graph = network(&layers);
        let state = synthetic::state_dict(&graph);
        let batch = images(3 * 3 * 9 * 8);
        let all = &evaluate(&graph, &state, 3, &[("image".to_owned(), batch.clone())])[0].1;
        for i in 0..3 {
            let one = batch[i * 3 * 9 * 8..(i + 1) * 3 * 9 * 8].to_vec();
            assert_close(&evaluate(&graph, &state, 1, &[("image".to_owned(), one)])[0].1, &all[i * 4..(i + 1) * 4]);
        }
    }
}

fn typical() -> Graph {
    network(&[
        Layer::Conv {
            out_channels: 6,
            kernel: 3,
            norm: true,
            activation: true,
        },
        Layer::Residual { norm: true },
        Layer::Dropout,
        Layer::Gated,
        Layer::Conv {
            out_channels: 5,
            kernel: 1,
            norm: true,
            activation: true,
        },
    ])
}

fn train_step(session: &mut Session, batch: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
    let mut step = session.batch(batch).unwrap();
    let input = images(batch * 3 * 9 * 8);
    step.input_mut("image").unwrap().copy_from_slice(&input);
    step.forward(seed).unwrap();
    let (logits, gradient) = step.output_and_gradient("logits").unwrap();
    gradient.copy_from_slice(logits);
    let logits = logits.to_vec();
    step.backward().unwrap();
    (logits, session.values_and_gradients().unwrap().1.to_vec())
}

#[test]
fn evaluation_changes_no_parameter_or_buffer() {
    let graph = typical();
    let state = synthetic::state_dict(&graph);
    let mut session = Session::new(&graph, &state, EVAL).unwrap();
    let mut step = session.batch(2).unwrap();
    step.input_mut("image")
        .unwrap()
        .copy_from_slice(&images(2 * 3 * 9 * 8));
    step.forward(0).unwrap();
    assert_eq!(step.backward(), Err(EngineError::NoBackward));
    assert_eq!(session.state_dict().unwrap(), state);
    assert_eq!(
        session.values_and_gradients().unwrap_err(),
        EngineError::NoBackward
    );
}

#[test]
fn training_moves_only_the_running_statistics_of_trained_norms() {
    let mut graph = typical();
    surgery::freeze(&mut graph, &NamePattern::new("layer0, layer1").unwrap()).unwrap();
    let state = synthetic::state_dict(&graph);
    let mut session = Session::new(&graph, &state, TRAIN).unwrap();
    train_step(&mut session, 2, 1);
    let after = session.state_dict().unwrap();
    for (name, value) in state.iter() {
        let moves = ["layer3.bn.running", "layer4.bn.running"]
            .iter()
            .any(|trained| name.starts_with(trained));
        assert_eq!(after.get(name) != Some(value), moves, "{name}");
    }
}

#[test]
fn equal_seeds_give_equal_bits_and_other_seeds_do_not() {
    set_threads(2);
    let graph = typical();
    let state = synthetic::state_dict(&graph);
    let run = |seed| train_step(&mut Session::new(&graph, &state, TRAIN).unwrap(), 4, seed);
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn plans_of_two_batch_sizes_share_parameters() {
    let graph = typical();
    let state = synthetic::state_dict(&graph);
    let mut session = Session::new(&graph, &state, TRAIN).unwrap();
    let first = train_step(&mut session, 4, 1);
    train_step(&mut session, 3, 1);
    assert_eq!(
        train_step(&mut session, 4, 1),
        first,
        "batch statistics do not depend on what ran before"
    );
    session.values_and_gradients().unwrap().0[0] += 1.0;
    assert_ne!(train_step(&mut session, 4, 1).0, first.0);
}

#[test]
fn mistakes_are_told_by_name() {
    let graph = typical();
    let state = synthetic::state_dict(&graph);
    let mut session = Session::new(&graph, &state, TRAIN).unwrap();
    assert_eq!(session.batch(0).err(), Some(EngineError::EmptyBatch));
    let mut step = session.batch(2).unwrap();
    let error = step.input_mut("picture").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the plan has no input `picture`; it has `image`"
    );
    assert_eq!(
        step.backward(),
        Err(EngineError::NoBackward),
        "backward needs a forward pass first"
    );
    let mut missing = state;
    missing.remove("fc.bias");
    let error = Session::new(&graph, &missing, TRAIN).err().unwrap();
    assert_eq!(error.to_string(), "parameter `fc.bias` has no value");
}

#[test]
fn batch_statistics_of_one_value_are_refused() {
    let mut b = GraphBuilder::new();
    let x = b.input("image", Shape::batched(&[3, 1, 1]));
    let x = b.batch_norm2d("bn", x, BatchNorm2d::new(3)).unwrap();
    let graph = b.finish(&[("y", x)]).unwrap();
    let mut session = Session::new(&graph, &synthetic::state_dict(&graph), TRAIN).unwrap();
    assert!(matches!(
        session.batch(1),
        Err(EngineError::SingleValueBatchNorm { batch: 1, .. })
    ));
    assert!(session.batch(2).is_ok());
}
