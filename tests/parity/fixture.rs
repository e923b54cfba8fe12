//! Reads a parity fixture (see `README.md`) and measures how far a result is from it.
//!
//! Included by the tests of several crates, so not everything is used everywhere.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test support, of which no test uses all"
)]

use regraft_graph::StateDict;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What PyTorch computes for one case.
pub(crate) struct Fixture {
    /// The reference implementation and its version.
    pub(crate) reference: String,
    /// `[batch, channels, height, width]`
    pub(crate) image_shape: [usize; 4],
    /// Outputs of the classifier. The label of sample `i` is `i % num_classes`.
    pub(crate) num_classes: usize,
    /// Optimizer steps before the weights are compared.
    pub(crate) steps: usize,
    /// Hyper-parameters by optimizer: `adam`, `adamw`, `sgd`.
    pub(crate) optimizers: BTreeMap<String, serde_json::Value>,
    /// Error of PyTorch in single precision, by quantity: the yardstick for tolerances.
    pub(crate) torch_f32_errors: BTreeMap<String, f64>,
    parameters: Vec<String>,
    buffers: Vec<String>,
    floats: BTreeMap<String, Vec<f32>>,
    integers: BTreeMap<String, Vec<i64>>,
}

/// The largest errors of the tensors of one kind, relative to their root mean square.
#[derive(Debug)]
pub(crate) struct Worst {
    /// Of a norm, and whose.
    pub(crate) norm: (f64, String),
    /// Of a sampled element, and whose.
    pub(crate) sample: (f64, String),
}

impl Fixture {
    pub(crate) fn load(case: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/parity")
            .join(case)
            .join("fixture.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let (mut floats, mut integers) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in tensors.iter() {
            let data = view.data();
            match view.dtype() {
                Dtype::F32 => {
                    let values = data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
                    floats.insert(name.to_owned(), values.collect());
                }
                Dtype::I64 => {
                    let values = data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b));
                    integers.insert(name.to_owned(), values.collect());
                }
                other => panic!("`{name}` has type {other:?}"),
            }
        }
        Self {
            reference: metadata["reference"].clone(),
            image_shape: serde_json::from_str(&metadata["image_shape"]).unwrap(),
            num_classes: metadata["num_classes"].parse().unwrap(),
            steps: metadata["steps"].parse().unwrap(),
            optimizers: serde_json::from_str(&metadata["optimizers"]).unwrap(),
            torch_f32_errors: serde_json::from_str(&metadata["torch_f32_errors"]).unwrap(),
            parameters: serde_json::from_str(&metadata["parameters"]).unwrap(),
            buffers: serde_json::from_str(&metadata["buffers"]).unwrap(),
            floats,
            integers,
        }
    }

    /// Names of the parameters, in the reference's order.
    pub(crate) fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// Names of the running statistics, in the reference's order.
    pub(crate) fn buffers(&self) -> &[String] {
        &self.buffers
    }

    /// The label of every sample.
    pub(crate) fn labels(&self) -> Vec<usize> {
        (0..self.image_shape[0])
            .map(|i| i % self.num_classes)
            .collect()
    }

    /// A whole tensor: `eval_logits`, `train_logits`, `loss`, `adam.losses` (before each step), ...
    pub(crate) fn values(&self, name: &str) -> &[f32] {
        self.floats
            .get(name)
            .unwrap_or_else(|| panic!("the fixture has no `{name}`"))
    }

    /// Largest difference to a whole tensor, relative to its root mean square.
    pub(crate) fn error(&self, name: &str, got: &[f32]) -> f64 {
        let expected = self.values(name);
        assert_eq!(got.len(), expected.len(), "`{name}`");
        let largest = expected
            .iter()
            .zip(got)
            .map(|(e, g)| difference(f64::from(*g), f64::from(*e)))
            .fold(0.0, f64::max);
        largest / (norm(expected.iter().map(|e| f64::from(*e))) / (expected.len() as f64).sqrt())
    }

    /// Compares the gradient of every parameter.
    pub(crate) fn gradient(&self, gradient: &StateDict) -> Worst {
        self.compare("gradient", &self.parameters, |name| {
            (doubles(gradient, name), None)
        })
    }

    /// Compares the running statistics after one forward pass in training. `None` for a network without batch norm.
    pub(crate) fn running(&self, state: &StateDict) -> Option<Worst> {
        let compare = || {
            self.compare("running", &self.buffers, |name| {
                (doubles(state, name), None)
            })
        };
        (!self.buffers.is_empty()).then(compare)
    }

    /// Compares what `steps` steps of `optimizer` have changed in every parameter.
    pub(crate) fn update(&self, optimizer: &str, before: &StateDict, after: &StateDict) -> Worst {
        self.compare(optimizer, &self.parameters, |name| {
            let old = doubles(before, name);
            let update = doubles(after, name)
                .iter()
                .zip(&old)
                .map(|(a, b)| a - b)
                .collect();
            (update, Some(old))
        })
    }

    /// Checks the synthetic values of a model against the reference's, bit by bit.
    pub(crate) fn check_inputs(&self, state: &StateDict, images: &[f32]) {
        assert_eq!(
            checksum(images),
            self.integers["images.checksum"][0],
            "images"
        );
        for (group, names) in [("parameters", &self.parameters), ("buffers", &self.buffers)] {
            let checksums = &self.integers[&format!("{group}.checksums")];
            assert_eq!(checksums.len(), names.len());
            for (name, expected) in names.iter().zip(checksums) {
                let value = state
                    .get(name)
                    .unwrap_or_else(|| panic!("`{name}` is missing"));
                assert_eq!(checksum(&value.data), *expected, "`{name}`");
            }
        }
        assert_eq!(state.len(), self.parameters.len() + self.buffers.len());
    }

    /// `value` gives a tensor and, if it is a change of rounded weights, the weights.
    fn compare(
        &self,
        kind: &str,
        names: &[String],
        value: impl Fn(&str) -> (Vec<f64>, Option<Vec<f64>>),
    ) -> Worst {
        let group = if kind == "running" {
            "buffers"
        } else {
            "parameters"
        };
        let offsets = &self.integers[&format!("{group}.offsets")];
        let indices = &self.integers[&format!("{group}.indices")];
        let norms = self.values(&format!("{kind}.norms"));
        let samples = self.values(&format!("{kind}.samples"));
        let tensors: Vec<_> = names.iter().map(|n| value(n)).collect();

        let known = || norms.iter().zip(&tensors).filter(|(n, _)| !n.is_nan());
        let squares: f64 = known().map(|(n, _)| f64::from(*n).powi(2)).sum();
        let elements: usize = known().map(|(_, (tensor, _))| tensor.len()).sum();
        let whole = (squares / elements as f64).sqrt();

        let mut worst = Worst {
            norm: (0.0, String::new()),
            sample: (0.0, String::new()),
        };
        for (i, (name, (tensor, weights))) in names.iter().zip(&tensors).enumerate() {
            let length = (tensor.len() as f64).sqrt();
            let expected_norm = f64::from(norms[i]);
            let rms = if expected_norm > 0.0 {
                expected_norm / length
            } else {
                whole
            };
            if !expected_norm.is_nan() {
                let error =
                    difference(norm(tensor.iter().copied()), expected_norm) / (rms * length);
                replace_if_larger(&mut worst.norm, error, name);
            }
            for j in offsets[i] as usize..offsets[i + 1] as usize {
                let at = indices[j] as usize;
                // A step rounds a weight twice, after the decay and after the move.
                let rounding = weights.as_ref().map_or(0.0, |w| {
                    self.steps as f64 * 2.0 * f64::from(f32::EPSILON) / 2.0 * w[at].abs()
                });
                if !samples[j].is_nan() {
                    let error = (difference(tensor[at], f64::from(samples[j])) - rounding) / rms;
                    replace_if_larger(&mut worst.sample, error, name);
                }
            }
        }
        worst
    }
}

fn replace_if_larger(worst: &mut (f64, String), error: f64, name: &str) {
    if error > worst.0 {
        *worst = (error, name.to_owned());
    }
}

/// A result that is no number is infinitely wrong; `f64::max` would pass over it.
fn difference(got: f64, expected: f64) -> f64 {
    let difference = (got - expected).abs();
    if difference.is_nan() {
        f64::INFINITY
    } else {
        difference
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

fn doubles(state: &StateDict, name: &str) -> Vec<f64> {
    let tensor = state
        .get(name)
        .unwrap_or_else(|| panic!("`{name}` is missing"));
    tensor.data.iter().map(|v| f64::from(*v)).collect()
}

/// Sum of `bits[i] * (2 i + 1)` modulo 2^64 over the bit patterns of the elements.
fn checksum(values: &[f32]) -> i64 {
    values
        .iter()
        .zip((1u64..).step_by(2))
        .fold(0u64, |sum, (v, odd)| {
            sum.wrapping_add(u64::from(v.to_bits()).wrapping_mul(odd))
        }) as i64
}
