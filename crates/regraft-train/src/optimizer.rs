//! Adam, AdamW and SGD over one contiguous block of parameters: PyTorch's formulas, in its order of operations.
//!
//! The block is the engine's: every trainable value and its gradient lie in two slices of the same length, so an
//! update is one fused pass that reads and writes each number once. The reference is `torch.optim` 2.15
//! (`_single_tensor_adam`, `_single_tensor_sgd`): scalars are computed in double precision and rounded once, and
//! multiply-adds are fused where its kernels fuse them.

use crate::error::TrainError;
use multiversion::multiversion;
use regraft_engine::for_each_chunk_mut;
use std::ops::Range;

/// The update rule and its constants. Learning rate and weight decay belong to a [`ParamGroup`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UpdateRule {
    /// Adam (Kingma & Ba 2015); weight decay is added to the gradient.
    Adam(AdamConfig),
    /// AdamW (Loshchilov & Hutter 2019); weight decay shrinks the values directly.
    AdamW(AdamConfig),
    /// Stochastic gradient descent; weight decay is added to the gradient.
    Sgd(SgdConfig),
}

/// Constants of Adam and AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConfig {
    /// Decay of the running mean of the gradient.
    pub beta1: f64,
    /// Decay of the running mean of its square.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
}

impl Default for AdamConfig {
    /// PyTorch's: betas 0.9 and 0.999, `eps` 1e-8.
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
        }
    }
}

/// Constants of SGD. The gradient enters the momentum buffer undamped (`dampening=0`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SgdConfig {
    /// Decay of the momentum buffer; 0 means none.
    pub momentum: f64,
    /// Whether to look ahead along the momentum (Nesterov).
    pub nesterov: bool,
}

/// A range of the block with its own learning rate and weight decay.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamGroup {
    /// Elements of the block.
    pub range: Range<usize>,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// An update rule with the state that it keeps between steps.
#[derive(Debug, Clone)]
pub struct Optimizer {
    rule: UpdateRule,
    groups: Vec<ParamGroup>,
    steps: u64,
    /// Adam's running mean of the gradient, or SGD's momentum buffer. Both states are zeroed pages, which cost no
    /// memory where a rule never writes them.
    first: Vec<f32>,
    /// Adam's running mean of the squared gradient.
    second: Vec<f32>,
}

impl Optimizer {
    /// An optimizer of a block of `len` elements. Elements that are in no group are never changed.
    ///
    /// # Errors
    /// [`TrainError::ParamGroups`] if the groups overlap, are out of order or reach beyond the block.
    pub fn new(rule: UpdateRule, groups: Vec<ParamGroup>, len: usize) -> Result<Self, TrainError> {
        let mut end = 0;
        for ParamGroup { range, .. } in &groups {
            if range.start < end || range.end < range.start || range.end > len {
                return Err(TrainError::ParamGroups {
                    range: range.clone(),
                    after: end,
                    len,
                });
            }
            end = range.end;
        }
        Ok(Self {
            rule,
            groups,
            steps: 0,
            first: vec![0.0; len],
            second: vec![0.0; len],
        })
    }

    /// The groups, for a schedule to change their learning rates.
    pub fn groups_mut(&mut self) -> &mut [ParamGroup] {
        &mut self.groups
    }

    /// Updates `values` by `gradients`, on the engine's threads. The result does not depend on their number.
    ///
    /// # Errors
    /// [`TrainError::BlockLength`] if a slice has another length than the optimizer was made for.
    pub fn step(&mut self, values: &mut [f32], gradients: &[f32]) -> Result<(), TrainError> {
        for got in [values.len(), gradients.len()] {
            if got != self.first.len() {
                return Err(TrainError::BlockLength {
                    expected: self.first.len(),
                    got,
                });
            }
        }
        self.steps += 1;
        for group in &self.groups {
            let update = Update::new(self.rule, group, self.steps);
            let range = group.range.clone();
            let gradients = &gradients[range.clone()];
            let blocks = [
                (&mut values[range.clone()], CHUNK),
                (&mut self.first[range.clone()], CHUNK),
                (&mut self.second[range], CHUNK),
            ];
            for_each_chunk_mut(blocks, |index, [values, first, second]| {
                let start = index * CHUNK;
                let gradients = &gradients[start..start + values.len()];
                update.apply(values, gradients, first, second);
            });
        }
        Ok(())
    }
}

/// The scalars of one step of one group.
#[derive(Debug, Clone, Copy)]
enum Update {
    Adam(AdamUpdate),
    Sgd(SgdUpdate),
}

#[derive(Debug, Clone, Copy)]
struct AdamUpdate {
    /// `1 - lr * weight_decay` of AdamW; 1 for Adam.
    shrink: f32,
    /// Weight decay of Adam; 0 for AdamW.
    decay: f32,
    /// `1 - beta1`
    first_rate: f32,
    beta2: f32,
    /// `1 - beta2`
    second_rate: f32,
    /// `sqrt(1 - beta2 ^ step)`
    correction: f32,
    eps: f32,
    /// `lr / (1 - beta1 ^ step)`
    step_size: f32,
}

#[derive(Debug, Clone, Copy)]
struct SgdUpdate {
    lr: f32,
    decay: f32,
    momentum: f32,
    nesterov: bool,
}

impl Update {
    fn new(rule: UpdateRule, group: &ParamGroup, step: u64) -> Self {
        let (adam, decoupled) = match rule {
            UpdateRule::Adam(adam) => (adam, false),
            UpdateRule::AdamW(adam) => (adam, true),
            UpdateRule::Sgd(sgd) => {
                return Self::Sgd(SgdUpdate {
                    lr: group.lr as f32,
                    decay: group.weight_decay as f32,
                    momentum: sgd.momentum as f32,
                    nesterov: sgd.nesterov,
                });
            }
        };
        let step = step as f64;
        let shrink = 1.0 - group.lr * group.weight_decay;
        Self::Adam(AdamUpdate {
            shrink: if decoupled { shrink as f32 } else { 1.0 },
            decay: if decoupled {
                0.0
            } else {
                group.weight_decay as f32
            },
            first_rate: (1.0 - adam.beta1) as f32,
            beta2: adam.beta2 as f32,
            second_rate: (1.0 - adam.beta2) as f32,
            correction: (1.0 - adam.beta2.powf(step)).sqrt() as f32,
            eps: adam.eps as f32,
            step_size: (group.lr / (1.0 - adam.beta1.powf(step))) as f32,
        })
    }

    fn apply(self, values: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        match self {
            Self::Adam(update) => adam(update, values, gradients, first, second),
            Self::Sgd(update) if update.momentum == 0.0 => sgd(update, values, gradients),
            Self::Sgd(update) => sgd_with_momentum(update, values, gradients, first),
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn adam(
    u: AdamUpdate,
    values: &mut [f32],
    gradients: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let state = first.iter_mut().zip(second);
    for ((value, gradient), (mean, square)) in values.iter_mut().zip(gradients).zip(state) {
        let v = *value * u.shrink;
        let g = u.decay.mul_add(v, *gradient);
        *mean = u.first_rate.mul_add(g - *mean, *mean);
        *square = (u.second_rate * g).mul_add(g, *square * u.beta2);
        let denominator = square.sqrt() / u.correction + u.eps;
        *value = v - u.step_size * *mean / denominator;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn sgd(u: SgdUpdate, values: &mut [f32], gradients: &[f32]) {
    for (value, gradient) in values.iter_mut().zip(gradients) {
        let g = u.decay.mul_add(*value, *gradient);
        *value = (-u.lr).mul_add(g, *value);
    }
}

/// A buffer of zeros makes the first step's buffer the gradient itself, as PyTorch's does.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn sgd_with_momentum(u: SgdUpdate, values: &mut [f32], gradients: &[f32], buffer: &mut [f32]) {
    for ((value, gradient), buffer) in values.iter_mut().zip(gradients).zip(buffer) {
        let g = u.decay.mul_add(*value, *gradient);
        *buffer = *buffer * u.momentum + g;
        let direction = if u.nesterov {
            u.momentum.mul_add(*buffer, g)
        } else {
            *buffer
        };
        *value = (-u.lr).mul_add(direction, *value);
    }
}

/// Elements that one thread takes at a time: enough to outweigh the hand-over, few enough to balance.
const CHUNK: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Fixture {
        initial: Vec<f32>,
        split: usize,
        gradients: Vec<Vec<f32>>,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        optimizer: String,
        lr: [f64; 2],
        weight_decay: [f64; 2],
        momentum: f64,
        nesterov: bool,
        checked: Vec<Checked>,
    }

    #[derive(Deserialize)]
    struct Checked {
        step: usize,
        values: Vec<f32>,
    }

    fn fixture() -> Fixture {
        serde_json::from_str(include_str!("../tests/fixtures/optimizers.json")).unwrap()
    }

    fn rule(case: &Case) -> UpdateRule {
        match case.optimizer.as_str() {
            "adam" => UpdateRule::Adam(AdamConfig::default()),
            "adamw" => UpdateRule::AdamW(AdamConfig::default()),
            _ => UpdateRule::Sgd(SgdConfig {
                momentum: case.momentum,
                nesterov: case.nesterov,
            }),
        }
    }

    fn groups(case: &Case, split: usize, len: usize) -> Vec<ParamGroup> {
        [0..split, split..len]
            .into_iter()
            .zip(case.lr.into_iter().zip(case.weight_decay))
            .map(|(range, (lr, weight_decay))| ParamGroup {
                range,
                lr,
                weight_decay,
            })
            .collect()
    }

    #[test]
    fn trajectories_are_those_of_pytorch() {
        let fixture = fixture();
        for case in &fixture.cases {
            let len = fixture.initial.len();
            let groups = groups(case, fixture.split, len);
            let mut optimizer = Optimizer::new(rule(case), groups, len).unwrap();
            let mut values = fixture.initial.clone();
            for (step, gradients) in fixture.gradients.iter().enumerate() {
                optimizer.step(&mut values, gradients).unwrap();
                let Some(checked) = case.checked.iter().find(|c| c.step == step) else {
                    continue;
                };
                for (got, expected) in values.iter().zip(&checked.values) {
                    // SGD is PyTorch's to the bit; PyTorch's square root in Adam may be off by one unit in the last place.
                    let tolerance = if case.optimizer == "sgd" {
                        0.0
                    } else {
                        2.0 * f32::EPSILON * expected.abs().max(0.01)
                    };
                    assert!(
                        (got - expected).abs() <= tolerance,
                        "{} step {step}: {got} is not {expected}",
                        case.name
                    );
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let len = 9 * CHUNK + 17;
        let gradients: Vec<f32> = (0..len)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) * 1e-3)
            .collect();
        let group = ParamGroup {
            range: 0..len,
            lr: 1e-2,
            weight_decay: 1e-4,
        };
        let run = |threads| {
            let rule = UpdateRule::AdamW(AdamConfig::default());
            let mut optimizer = Optimizer::new(rule, vec![group.clone()], len).unwrap();
            let mut values = vec![0.5; len];
            regraft_engine::set_threads(threads);
            for _ in 0..3 {
                optimizer.step(&mut values, &gradients).unwrap();
            }
            values
        };
        assert!(run(1) == run(3));
    }

    #[test]
    fn elements_of_no_group_stay_as_they_are() {
        let group = ParamGroup {
            range: 1..2,
            lr: 1.0,
            weight_decay: 0.0,
        };
        let rule = UpdateRule::Sgd(SgdConfig::default());
        let mut optimizer = Optimizer::new(rule, vec![group], 3).unwrap();
        let mut values = [1.0; 3];
        optimizer.step(&mut values, &[1.0; 3]).unwrap();
        assert_eq!(values.to_vec(), [1.0, 0.0, 1.0]);
    }

    #[test]
    fn groups_that_overlap_or_reach_too_far_are_errors() {
        let group = |range| ParamGroup {
            range,
            lr: 0.1,
            weight_decay: 0.0,
        };
        for groups in [
            vec![group(0..3), group(2..4)],
            vec![group(2..4), group(0..2)],
            vec![group(0..5)],
        ] {
            let rule = UpdateRule::Sgd(SgdConfig::default());
            assert!(matches!(
                Optimizer::new(rule, groups, 4),
                Err(TrainError::ParamGroups { .. })
            ));
        }
    }

    #[test]
    fn a_block_of_another_length_is_an_error() {
        let rule = UpdateRule::Sgd(SgdConfig::default());
        let mut optimizer = Optimizer::new(rule, Vec::new(), 2).unwrap();
        assert!(matches!(
            optimizer.step(&mut [0.0; 2], &[0.0; 3]),
            Err(TrainError::BlockLength {
                expected: 2,
                got: 3
            })
        ));
    }
}
