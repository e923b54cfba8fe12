//! How fast a model runs on this machine, apart from any data: random weights, random images.

use crate::error::TrainError;
use crate::init;
use crate::loss::CrossEntropy;
use crate::optimizer::{AdamConfig, Optimizer, ParamGroup, UpdateRule};
use regraft_engine::{Mode, Precision, Session, SessionOptions, Step};
use regraft_graph::{Graph, StateDict, surgery};
use regraft_models::Model;
use serde::Serialize;
use std::time::Instant;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BenchmarkMode {
    /// A forward pass with batch norm folded, as in evaluation.
    Forward,
    /// Forward, cross entropy, backward and an update by Adam. What is frozen is computed in every step.
    Train,
}

/// How it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchmarkConfig {
    /// What is measured.
    pub mode: BenchmarkMode,
    /// Images in a step.
    pub batch_size: usize,
    /// Steps that are measured.
    pub steps: usize,
    /// Steps before them that are not.
    pub warmup_steps: usize,
}

impl Default for BenchmarkConfig {
    /// 20 forward passes of 32 images, after two to warm up.
    fn default() -> Self {
        Self {
            mode: BenchmarkMode::Forward,
            batch_size: 32,
            steps: 20,
            warmup_steps: 2,
        }
    }
}

/// More images or steps than any machine can do.
const MAX: usize = 1 << 20;

/// Milliseconds of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepTimes {
    /// Of the fastest.
    pub min: f64,
    /// Of the middle one.
    pub median: f64,
    /// Of the slowest.
    pub max: f64,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measurement {
    /// Images per second in the median step.
    pub samples_per_second: f64,
    /// Milliseconds of a step.
    pub step_ms: StepTimes,
    /// Steps that were measured.
    pub steps: usize,
    /// Milliseconds from graph to first step.
    pub plan_ms: f64,
    /// The most memory that the process has held so far, in MiB; `None` where the system does not tell.
    pub peak_rss_mib: Option<f64>,
    /// Billions of floating-point operations per second in the median step, of convolutions and linear layers; a
    /// multiply-add counts as two.
    pub gflops: f64,
}

/// Measures steps of a model with its parameters marked as they are, on as many threads as the engine is set to.
///
/// # Errors
/// [`TrainError::InvalidSetting`] for no steps or images, or too many, [`TrainError::Engine`] for a model or batch size that cannot be run,
/// [`TrainError::OneInput`] for a model that does not read images alone.
pub fn benchmark(model: &Model, config: &BenchmarkConfig) -> Result<Measurement, TrainError> {
    for (setting, value) in [("steps", config.steps), ("batch_size", config.batch_size)] {
        if !(1..=MAX).contains(&value) {
            return Err(TrainError::InvalidSetting {
                setting,
                value: value.to_string(),
                expected: format!("a number from 1 to {MAX}"),
            });
        }
    }
    let mut state = StateDict::new();
    init::fill_missing(&model.graph, &mut state, 0)?;
    let mut bench = Bench::new(&model.graph, &state, config)?;
    let mut times_ms = Vec::with_capacity(config.steps);
    for number in 0..config.warmup_steps + config.steps {
        let start = Instant::now();
        bench.step()?;
        if number >= config.warmup_steps {
            times_ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let step_ms = StepTimes::of(times_ms);
    let stats = bench.session.stats(config.batch_size).unwrap_or_default();
    Ok(Measurement {
        samples_per_second: config.batch_size as f64 * 1e3 / step_ms.median,
        step_ms,
        steps: config.steps,
        plan_ms: stats.plan_ms,
        peak_rss_mib: peak_rss_mib(),
        gflops: stats.flops as f64 / (step_ms.median * 1e6),
    })
}

/// A model ready to be measured.
struct Bench {
    session: Session,
    batch_size: usize,
    training: Option<Training>,
}

struct Training {
    loss: CrossEntropy,
    labels: Vec<usize>,
    optimizer: Optimizer,
}

impl Bench {
    fn new(graph: &Graph, state: &StateDict, config: &BenchmarkConfig) -> Result<Self, TrainError> {
        let options = |mode| SessionOptions {
            mode,
            precision: Precision::F32,
        };
        let batch_size = config.batch_size;
        let (mut session, training) = match config.mode {
            BenchmarkMode::Forward => {
                let fold = surgery::fold_batch_norm(graph)?;
                let state = fold.apply(state)?;
                let session = Session::new(&fold.graph, &state, options(Mode::Eval))?;
                (session, None)
            }
            BenchmarkMode::Train => {
                let mut session = Session::new(graph, state, options(Mode::Train))?;
                let training = Training::new(graph, &mut session, batch_size)?;
                (session, Some(training))
            }
        };
        let inputs: Vec<_> = graph.inputs().map(|id| &graph.node(id).name).collect();
        let [input] = inputs.as_slice() else {
            return Err(TrainError::OneInput {
                inputs: inputs.len(),
            });
        };
        let mut step = session.batch(batch_size)?;
        fill_with_noise(step.input_mut(input)?);
        Ok(Self {
            session,
            batch_size,
            training,
        })
    }

    fn step(&mut self) -> Result<(), TrainError> {
        let mut step: Step<'_> = self.session.batch(self.batch_size)?;
        step.forward(0)?;
        if let Some(training) = &mut self.training {
            let (logits, gradient) = step.output_and_gradient("logits")?;
            training
                .loss
                .loss_and_gradient(logits, &training.labels, gradient)?;
            step.backward()?;
            let (values, gradients) = self.session.values_and_gradients()?;
            training.optimizer.step(values, gradients)?;
        }
        Ok(())
    }
}

impl Training {
    fn new(graph: &Graph, session: &mut Session, batch_size: usize) -> Result<Self, TrainError> {
        let num_classes = graph
            .outputs()
            .iter()
            .find(|(name, _)| name == "logits")
            .map_or(1, |(_, id)| graph.shape(*id).sample_len());
        let len = session.values_and_gradients()?.0.len();
        // So small that values stay what they are: denormals and infinities would change the speed.
        let lr = 1e-8;
        let group = ParamGroup {
            range: 0..len,
            lr,
            weight_decay: 0.0,
        };
        Ok(Self {
            loss: CrossEntropy::new(num_classes, 0.0)?,
            labels: (0..batch_size).map(|i| i % num_classes).collect(),
            optimizer: Optimizer::new(UpdateRule::Adam(AdamConfig::default()), vec![group], len)?,
        })
    }
}

impl StepTimes {
    fn of(mut times_ms: Vec<f64>) -> Self {
        times_ms.sort_by(f64::total_cmp);
        let at = |index: usize| times_ms.get(index).copied().unwrap_or(f64::NAN);
        let last = times_ms.len().saturating_sub(1);
        Self {
            min: at(0),
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            max: at(last),
        }
    }
}

/// Values between -2 and 2, as normalised photos have: zeros would make some kernels faster than real images.
fn fill_with_noise(values: &mut [f32]) {
    let mut state = 1_u32;
    for value in values {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = (state >> 8) as f32 / (1 << 22) as f32 - 2.0;
    }
}

/// The high-water mark of resident memory, from Linux's `/proc`.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_models::{BuildOptions, build};

    fn measure(mode: BenchmarkMode) -> Measurement {
        let options = BuildOptions {
            input_size: Some([32, 32]),
            ..BuildOptions::default()
        };
        let mut model = build("resnet18", &options).unwrap();
        model.train_last_stages(2).unwrap();
        let config = BenchmarkConfig {
            mode,
            batch_size: 4,
            steps: 3,
            warmup_steps: 1,
        };
        benchmark(&model, &config).unwrap()
    }

    #[test]
    fn numbers_fit_together() {
        for mode in [BenchmarkMode::Forward, BenchmarkMode::Train] {
            let m = measure(mode);
            assert_eq!(m.samples_per_second, 4.0 * 1e3 / m.step_ms.median);
            assert!(m.step_ms.min <= m.step_ms.median && m.step_ms.median <= m.step_ms.max);
            assert!(m.gflops > 0.0 && m.plan_ms > 0.0);
        }
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle() {
        let times = StepTimes::of(vec![4.0, 1.0, 2.0, 8.0]);
        assert_eq!((times.min, times.median, times.max), (1.0, 3.0, 8.0));
    }

    #[test]
    fn no_steps_and_no_images_are_errors() {
        let model = build("squeezenet1_1", &BuildOptions::default()).unwrap();
        let config = BenchmarkConfig {
            steps: 0,
            ..BenchmarkConfig::default()
        };
        let error = benchmark(&model, &config).unwrap_err().to_string();
        assert_eq!(error, "`steps` is `0`, expected a number from 1 to 1048576");
        let config = BenchmarkConfig {
            batch_size: 0,
            ..BenchmarkConfig::default()
        };
        let error = benchmark(&model, &config).unwrap_err().to_string();
        assert_eq!(
            error,
            "`batch_size` is `0`, expected a number from 1 to 1048576"
        );
    }
}
