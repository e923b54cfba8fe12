//! The engine, the loss and the optimizers against PyTorch, on whole networks; see `tests/parity/README.md`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../tests/parity/fixture.rs"]
mod fixture;

use fixture::{Fixture, Worst};
use regraft_engine::{Mode, Precision, Session, SessionOptions, set_threads};
use regraft_graph::surgery::{fold_batch_norm, set_dropout};
use regraft_graph::{Graph, HostTensor, StateDict};
use regraft_models::{BuildOptions, build, synthetic};
use regraft_train::{AdamConfig, CrossEntropy, Optimizer, ParamGroup, SgdConfig, UpdateRule};

/// PyTorch's own largest error in single precision is up to 2e-4 here (`torch_f32_errors` in the fixtures); ours comes from
/// other orders of summation, so it may be a few times that.
const TOLERANCE: f64 = 5e-4;

/// Of changes by optimizers: Adam divides by the root of the gradient's square, which multiplies errors of small
/// gradients; PyTorch's own error is up to 1e-3.
const UPDATE_TOLERANCE: f64 = 2e-3;

struct Case {
    fixture: Fixture,
    graph: Graph,
    state: StateDict,
    /// Channels-last.
    images: Vec<f32>,
}

impl Case {
    fn load(name: &str) -> Self {
        set_threads(2);
        let fixture = Fixture::load(name);
        let [_, _, h, w] = fixture.image_shape;
        let options = BuildOptions {
            num_classes: Some(fixture.num_classes),
            input_size: Some([h, w]),
            ..BuildOptions::default()
        };
        let mut graph = build(name, &options).unwrap().graph;
        set_dropout(&mut graph, 0.0);
        let state = synthetic::state_dict(&graph);
        let images = synthetic::images(fixture.image_shape).data;
        fixture.check_inputs(&state, &images);
        let images = channels_last(&images, fixture.image_shape);
        Self {
            fixture,
            graph,
            state,
            images,
        }
    }

    fn batch(&self) -> usize {
        self.fixture.image_shape[0]
    }

    fn eval_logits(&self, graph: &Graph, state: &StateDict) -> Vec<f32> {
        let options = SessionOptions {
            mode: Mode::Eval,
            precision: Precision::F32,
        };
        let mut session = Session::new(graph, state, options).unwrap();
        let mut step = session.batch(self.batch()).unwrap();
        step.input_mut("image")
            .unwrap()
            .copy_from_slice(&self.images);
        step.forward(0).unwrap();
        step.output("logits").unwrap().to_vec()
    }

    fn train_session(&self) -> Session {
        let options = SessionOptions {
            mode: Mode::Train,
            precision: Precision::F32,
        };
        Session::new(&self.graph, &self.state, options).unwrap()
    }

    /// Forward, loss and backward. Returns logits and mean loss.
    fn train_step(&self, session: &mut Session) -> (Vec<f32>, f32) {
        let loss = CrossEntropy::new(self.fixture.num_classes, 0.0).unwrap();
        let mut step = session.batch(self.batch()).unwrap();
        step.input_mut("image")
            .unwrap()
            .copy_from_slice(&self.images);
        step.forward(0).unwrap();
        let (logits, gradient) = step.output_and_gradient("logits").unwrap();
        let batch = loss
            .loss_and_gradient(logits, &self.fixture.labels(), gradient)
            .unwrap();
        let logits = logits.to_vec();
        step.backward().unwrap();
        (logits, batch.mean_loss() as f32)
    }

    fn check_evaluation(&self) {
        let error = self
            .fixture
            .error("eval_logits", &self.eval_logits(&self.graph, &self.state));
        assert!(error < TOLERANCE, "eval logits: {error}");
        let fold = fold_batch_norm(&self.graph).unwrap();
        let folded = self.eval_logits(&fold.graph, &fold.apply(&self.state).unwrap());
        let error = self.fixture.error("eval_logits", &folded);
        assert!(error < TOLERANCE, "folded logits: {error}");
    }

    fn check_gradients(&self) {
        let mut session = self.train_session();
        let (logits, loss) = self.train_step(&mut session);
        for (name, got) in [("train_logits", logits.as_slice()), ("loss", &[loss])] {
            let error = self.fixture.error(name, got);
            assert!(error < TOLERANCE, "{name}: {error}");
        }
        let slots = session.trainable().to_vec();
        let gradients = session.values_and_gradients().unwrap().1;
        let gradients: StateDict = slots
            .into_iter()
            .map(|s| {
                (
                    s.name,
                    HostTensor {
                        shape: s.shape,
                        data: gradients[s.range].to_vec(),
                    },
                )
            })
            .collect();
        check("gradient", &self.fixture.gradient(&gradients), TOLERANCE);
        if let Some(worst) = self.fixture.running(&session.state_dict().unwrap()) {
            check("running statistics", &worst, TOLERANCE);
        }
    }

    fn check_optimizer(&self, name: &str) {
        let number = |key: &str| self.fixture.optimizers[name][key].as_f64().unwrap_or(0.0);
        let adam = || {
            let betas = &self.fixture.optimizers[name]["betas"];
            AdamConfig {
                beta1: betas[0].as_f64().unwrap(),
                beta2: betas[1].as_f64().unwrap(),
                eps: number("eps"),
            }
        };
        let rule = match name {
            "adam" => UpdateRule::Adam(adam()),
            "adamw" => UpdateRule::AdamW(adam()),
            _ => UpdateRule::Sgd(SgdConfig {
                momentum: number("momentum"),
                nesterov: false,
            }),
        };
        let mut session = self.train_session();
        let len = session.values_and_gradients().unwrap().0.len();
        let group = ParamGroup {
            range: 0..len,
            lr: number("lr"),
            weight_decay: number("weight_decay"),
        };
        let mut optimizer = Optimizer::new(rule, vec![group], len).unwrap();
        let mut losses = Vec::new();
        for _ in 0..self.fixture.steps {
            losses.push(self.train_step(&mut session).1);
            let (values, gradients) = session.values_and_gradients().unwrap();
            optimizer.step(values, gradients).unwrap();
        }
        let error = self.fixture.error(&format!("{name}.losses"), &losses);
        assert!(error < UPDATE_TOLERANCE, "{name} losses: {error}");
        let worst = self
            .fixture
            .update(name, &self.state, &session.state_dict().unwrap());
        check(name, &worst, UPDATE_TOLERANCE);
    }

    fn check_all(&self) {
        self.check_evaluation();
        self.check_gradients();
        for optimizer in ["adam", "adamw", "sgd"] {
            self.check_optimizer(optimizer);
        }
    }
}

fn check(what: &str, worst: &Worst, tolerance: f64) {
    assert!(
        worst.norm.0 < tolerance && worst.sample.0 < tolerance,
        "{what}: {worst:?}"
    );
}

fn channels_last(images: &[f32], [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    let mut out = Vec::with_capacity(images.len());
    for image in images.chunks(c * h * w).take(n) {
        for position in 0..h * w {
            out.extend((0..c).map(|channel| image[channel * h * w + position]));
        }
    }
    out
}

#[test]
fn resnet18_is_pytorchs() {
    Case::load("resnet18").check_all();
}

#[test]
fn resnext50_is_pytorchs() {
    Case::load("resnext50_32x4d").check_all();
}

#[test]
fn squeezenet_is_pytorchs() {
    Case::load("squeezenet1_1").check_all();
}

#[test]
fn mobilenet_v2_is_pytorchs() {
    Case::load("mobilenet_v2").check_all();
}

#[test]
fn efficientnet_lite0_is_the_reference() {
    Case::load("efficientnet_lite0").check_all();
}
