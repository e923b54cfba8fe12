//! The parity fixtures fit the graphs: same parameters, same synthetic values to the last bit. What the values make a
//! network compute is compared where it can be computed, in the engine's tests.

#![expect(
    clippy::panic,
    reason = "the helpers of a test fail like the test itself"
)]

#[path = "../../../tests/parity/fixture.rs"]
mod fixture;

use fixture::Fixture;
use regraft_graph::{HostTensor, StateDict};
use regraft_models::{BuildOptions, Model, build, synthetic};

const CASES: &[&str] = &[
    "efficientnet_lite0",
    "mobilenet_v2",
    "resnet18",
    "resnext50_32x4d",
    "squeezenet1_1",
];

fn load(case: &str) -> (Fixture, Model) {
    let fixture = Fixture::load(case);
    let [_, channels, height, width] = fixture.image_shape;
    let options = BuildOptions {
        num_classes: Some(fixture.num_classes),
        input_size: Some([height, width]),
        in_channels: Some(channels),
    };
    let model = build(case, &options).unwrap_or_else(|e| panic!("{case}: {e}"));
    (fixture, model)
}

#[test]
fn synthetic_weights_and_images_are_those_of_the_reference() {
    for case in CASES {
        let (fixture, model) = load(case);
        let state = synthetic::state_dict(&model.graph);
        state.check(&model.graph).unwrap();
        fixture.check_inputs(&state, &synthetic::images(fixture.image_shape).data);
    }
}

#[test]
fn parameters_come_in_the_order_of_the_reference() {
    for case in CASES {
        let (fixture, model) = load(case);
        let names = |buffers| {
            let kept = model
                .graph
                .parameters()
                .iter()
                .filter(move |p| p.kind.is_buffer() == buffers);
            kept.map(|p| p.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(false), fixture.parameters(), "{case}");
        assert_eq!(names(true), fixture.buffers(), "{case}");
        let outputs = fixture.image_shape[0] * fixture.num_classes;
        assert_eq!(fixture.values("eval_logits").len(), outputs);
        assert_eq!(fixture.values("train_logits").len(), outputs);
        for optimizer in ["adam", "adamw", "sgd"] {
            assert_eq!(
                fixture.values(&format!("{optimizer}.losses")).len(),
                fixture.steps
            );
            assert!(fixture.optimizers[optimizer]["lr"].as_f64() > Some(0.0));
        }
    }
}

#[test]
fn the_recorded_error_of_pytorch_leaves_room_for_a_sharp_tolerance() {
    for case in CASES {
        for (quantity, error) in &load(case).0.torch_f32_errors {
            // Optimizers divide a gradient by its size, which makes its small elements as coarse as its large ones.
            let update = ["adam", "sgd"].iter().any(|o| quantity.starts_with(o));
            let limit = if update { 1e-3 } else { 2e-4 };
            assert!(*error < limit, "{case}: {quantity} {error}");
        }
    }
}

#[test]
fn a_comparison_finds_a_wrong_tensor() {
    let (fixture, model) = load("squeezenet1_1");
    let zeros: StateDict = model
        .graph
        .parameters()
        .iter()
        .map(|p| (p.name.clone(), HostTensor::full(&p.shape, 0.0)))
        .collect();
    let worst = fixture.gradient(&zeros);
    assert!(
        (worst.norm.0 - 1.0).abs() < 1e-6 && worst.sample.0 > 0.5,
        "{worst:?}"
    );
    assert!(fixture.update("sgd", &zeros, &zeros).norm.0 > 0.5);
    let mut logits = fixture.values("eval_logits").to_vec();
    assert!(fixture.error("eval_logits", &logits) < 1e-12);
    logits[3] = f32::NAN;
    assert!(fixture.error("eval_logits", &logits).is_infinite());
}
