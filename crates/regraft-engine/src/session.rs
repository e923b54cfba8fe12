//! A model ready to run: its parameters, and a plan for each batch size.

use crate::cpu::{Executor, PreparedWeights};
use crate::error::EngineError;
use crate::lower::lower;
use crate::parameters::{ParamSlot, Parameters};
use crate::program::{Program, ValueId};
use regraft_graph::{Graph, StateDict};
use regraft_onednn::{Region, Storage};
use std::collections::BTreeMap;
use std::time::Instant;

/// Whether a plan has a backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Batch statistics where batch norms are trainable, dropout, gradients.
    Train,
    /// Running statistics, no dropout, no gradients; a forward pass changes no parameter or buffer.
    Eval,
}

/// Precision of activations and weights in kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// IEEE single precision.
    F32,
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionOptions {
    /// Training or evaluation.
    pub mode: Mode,
    /// Precision of the kernels.
    pub precision: Precision,
}

/// What a plan costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PlanStats {
    /// Bytes of the arena: activations, gradients, scratchpads.
    pub arena_bytes: usize,
    /// Milliseconds from graph to first step.
    pub plan_ms: f64,
    /// Floating-point operations of the convolutions and linear layers of one step, backward included.
    pub flops: u64,
    /// Kernel calls of one step.
    pub kernels: usize,
}

/// What one kernel call of a plan costs; see [`Step::profile`].
#[derive(Debug, Clone, PartialEq)]
pub struct KernelCost {
    /// Path of the node that the call is for.
    pub node: String,
    /// The kernel.
    pub kernel: &'static str,
    /// Shortest time seen.
    pub milliseconds: f64,
    /// Floating-point operations, if arithmetic is what limits the kernel; else zero.
    pub flops: u64,
    /// Bytes of everything it reads and writes.
    pub bytes: usize,
}

struct Plan {
    program: Program,
    executor: Executor,
    stats: PlanStats,
    /// Seed of the last forward pass: dropout masks are drawn again in backward.
    seed: Option<u64>,
}

/// A graph with its parameters in memory, and a plan for each batch size that was asked for.
pub struct Session {
    graph: Graph,
    options: SessionOptions,
    storage: Storage,
    parameters: Parameters,
    weights: PreparedWeights,
    plans: BTreeMap<usize, Plan>,
}

impl Session {
    /// Copies the parameters of `graph` out of `state`. Compiles nothing yet.
    ///
    /// # Errors
    /// When a value is missing or has the wrong shape, or memory is exhausted.
    pub fn new(
        graph: &Graph,
        state: &StateDict,
        options: SessionOptions,
    ) -> Result<Self, EngineError> {
        let mut storage = Storage::new();
        let parameters = Parameters::new(graph, &mut storage, options.mode == Mode::Train)?;
        parameters.load(graph, state, &mut storage)?;
        Ok(Self {
            graph: graph.clone(),
            options,
            storage,
            parameters,
            weights: PreparedWeights::default(),
            plans: BTreeMap::new(),
        })
    }

    /// The plan for a batch size, compiled at its first use and kept.
    ///
    /// # Errors
    /// When the batch is empty, an operator is not supported, or a batch norm would see a single value.
    pub fn batch(&mut self, batch: usize) -> Result<Step<'_>, EngineError> {
        if !self.plans.contains_key(&batch) {
            let plan = self.compile(batch)?;
            self.plans.insert(batch, plan);
        }
        let plan = self.plans.get_mut(&batch).ok_or(EngineError::EmptyBatch)?;
        Ok(Step {
            plan,
            storage: &mut self.storage,
        })
    }

    fn compile(&mut self, batch: usize) -> Result<Plan, EngineError> {
        let start = Instant::now();
        let program = lower(&self.graph, batch, self.options.mode)?;
        let executor = Executor::new(
            &program,
            &self.parameters,
            &mut self.weights,
            &mut self.storage,
        )?;
        let stats = PlanStats {
            arena_bytes: executor.arena_bytes,
            plan_ms: start.elapsed().as_secs_f64() * 1e3,
            flops: program
                .instructions
                .iter()
                .map(|i| program.flops(&i.kernel))
                .sum(),
            kernels: program.instructions.len(),
        };
        tracing::debug!(batch, ?stats, "compiled a plan");
        Ok(Plan {
            program,
            executor,
            stats,
            seed: None,
        })
    }

    /// What the plan for a batch size costs, if it has been compiled.
    pub fn stats(&self, batch: usize) -> Option<PlanStats> {
        self.plans.get(&batch).map(|p| p.stats)
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What the session is for.
    pub fn options(&self) -> SessionOptions {
        self.options
    }

    /// The trainable parameters, in the order of the contiguous block.
    pub fn trainable(&self) -> &[ParamSlot] {
        &self.parameters.slots
    }

    /// The contiguous block of trainable parameters, to be changed, and the gradients that the last backward pass left.
    /// The elements between slots are zero in both and must stay zero.
    ///
    /// # Errors
    /// [`EngineError::NoBackward`] in evaluation mode.
    pub fn values_and_gradients(&mut self) -> Result<(&mut [f32], &[f32]), EngineError> {
        if self.options.mode == Mode::Eval {
            return Err(EngineError::NoBackward);
        }
        let blocks = (
            self.parameters.gradients_block,
            self.parameters.values_block,
        );
        let ([gradients], [values]) = self.storage.operands([blocks.0], [blocks.1])?;
        Ok((values, gradients))
    }

    /// All parameters and running statistics, by name.
    ///
    /// # Errors
    /// None in practice: every region was made by this session.
    pub fn state_dict(&self) -> Result<StateDict, EngineError> {
        self.parameters.state_dict(&self.graph, &self.storage)
    }

    /// Replaces all parameters and running statistics.
    ///
    /// # Errors
    /// When a value is missing or has the wrong shape; nothing is changed then.
    pub fn load(&mut self, state: &StateDict) -> Result<(), EngineError> {
        self.parameters
            .load(&self.graph, state, &mut self.storage)?;
        Ok(self.weights.refresh(&mut self.storage)?)
    }

    /// Bytes of parameters, gradients, prepared weights and all arenas.
    pub fn bytes(&self) -> usize {
        self.storage.bytes()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("options", &self.options)
            .field("batches", &self.plans.keys())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// One batch size of a session, ready to run: fill the inputs, [`Step::forward`], read the outputs, write their
/// gradients, [`Step::backward`]. Runs without allocating.
pub struct Step<'s> {
    plan: &'s mut Plan,
    storage: &'s mut Storage,
}

impl Step<'_> {
    /// The memory of an input; channels-last if it has rank 4. It keeps its content until it is written again.
    ///
    /// # Errors
    /// [`EngineError::UnknownName`].
    pub fn input_mut(&mut self, name: &str) -> Result<&mut [f32], EngineError> {
        let region = self.region("input", name, &self.plan.program.inputs)?;
        Ok(self.storage.slice_mut(region)?)
    }

    /// Runs the forward pass. `seed` decides which elements dropout drops.
    ///
    /// # Errors
    /// [`EngineError::Kernel`].
    pub fn forward(&mut self, seed: u64) -> Result<(), EngineError> {
        self.plan.seed = Some(seed);
        self.plan.executor.forward(self.storage, seed)
    }

    /// An output of the last forward pass; channels-last if it has rank 4.
    ///
    /// # Errors
    /// [`EngineError::UnknownName`].
    pub fn output(&self, name: &str) -> Result<&[f32], EngineError> {
        let region = self.region("output", name, &self.plan.program.outputs)?;
        Ok(self.storage.slice(region)?)
    }

    /// Where the gradient of the loss with respect to an output goes, before [`Step::backward`].
    ///
    /// # Errors
    /// [`EngineError::UnknownName`], also when nothing trainable lies before the output.
    pub fn output_gradient_mut(&mut self, name: &str) -> Result<&mut [f32], EngineError> {
        let region = self.region("output gradient", name, &self.plan.program.output_gradients)?;
        Ok(self.storage.slice_mut(region)?)
    }

    /// An output and where its gradient goes, at once: what a loss reads and writes.
    ///
    /// # Errors
    /// As [`Step::output`] and [`Step::output_gradient_mut`].
    pub fn output_and_gradient(&mut self, name: &str) -> Result<(&[f32], &mut [f32]), EngineError> {
        let output = self.region("output", name, &self.plan.program.outputs)?;
        let gradient = self.region("output gradient", name, &self.plan.program.output_gradients)?;
        let ([output], [gradient]) = self.storage.operands([output], [gradient])?;
        Ok((output, gradient))
    }

    /// Runs the backward pass; the gradients of all trainable parameters are overwritten.
    ///
    /// # Errors
    /// [`EngineError::NoBackward`], [`EngineError::Kernel`].
    pub fn backward(&mut self) -> Result<(), EngineError> {
        match self.plan.seed.take() {
            Some(seed) if !self.plan.program.output_gradients.is_empty() => {
                self.plan.executor.backward(self.storage, seed)
            }
            _ => Err(EngineError::NoBackward),
        }
    }

    /// Runs the whole plan a few times, backward included, and times every kernel call.
    ///
    /// Values, gradients and running statistics are what a step leaves; the inputs are what was written last.
    ///
    /// # Errors
    /// [`EngineError::Kernel`].
    pub fn profile(&mut self, runs: usize) -> Result<Vec<KernelCost>, EngineError> {
        let seconds = self.plan.executor.profile(self.storage, 0, runs.max(1))?;
        let program = &self.plan.program;
        Ok(program
            .instructions
            .iter()
            .zip(seconds)
            .map(|(instruction, seconds)| KernelCost {
                node: instruction.node.clone(),
                kernel: instruction.kernel.name(),
                milliseconds: seconds * 1e3,
                flops: program.flops(&instruction.kernel),
                bytes: program.bytes(&instruction.kernel),
            })
            .collect())
    }

    fn region(
        &self,
        what: &'static str,
        name: &str,
        known: &[(String, ValueId)],
    ) -> Result<Region, EngineError> {
        known
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, id)| self.plan.executor.region(*id))
            .ok_or_else(|| EngineError::UnknownName {
                what,
                name: name.to_owned(),
                known: known.iter().map(|(n, _)| n.clone()).collect(),
            })
    }
}
