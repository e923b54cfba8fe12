//! Runs a program on the CPU: every kernel call becomes a primitive of oneDNN or, where memory is the limit, a loop of
//! ours on the same threads.

mod adaptive_pooling;
mod batch_norm;
mod convolution;
mod dropout;
mod gate;
mod linear;
mod pooling;
mod primitives;
mod shuffle;
mod simd;
mod sum;
mod weights;

use crate::arena::{self, Request};
use crate::error::EngineError;
use crate::parameters::Parameters;
use crate::program::{Kernel, Place, Program, ValueId};
use regraft_onednn::{OnednnError, Region, Storage, Stream, on_one_thread};
use std::time::Instant;
pub(crate) use weights::PreparedWeights;

/// A region of nothing, for operands that a kernel does not have.
const EMPTY: Region = Region {
    segment: 0,
    offset: 0,
    bytes: 0,
};

/// What a kernel needs to know of a step.
struct Run<'a> {
    stream: &'a Stream,
    seed: u64,
}

/// A kernel call with its memory.
trait CpuKernel: Send {
    fn run(&self, storage: &mut Storage, run: &Run<'_>) -> Result<(), OnednnError>;
}

/// A kernel call before it has memory: it tells how much temporary memory it wants.
trait Prototype {
    /// Bytes of each temporary.
    fn temporaries(&self) -> Result<Vec<usize>, OnednnError>;

    /// The kernel with its memory.
    fn bind(
        self: Box<Self>,
        bind: &mut Bind<'_>,
        temporaries: &[Region],
    ) -> Result<Box<dyn CpuKernel>, OnednnError>;
}

/// What binding a kernel needs.
struct Bind<'a> {
    regions: &'a [Region],
    storage: &'a mut Storage,
    weights: &'a mut PreparedWeights,
    stream: &'a Stream,
}

impl Bind<'_> {
    fn region(&self, id: ValueId) -> Region {
        self.regions[id.0]
    }

    fn optional(&self, id: Option<ValueId>) -> Region {
        id.map_or(EMPTY, |id| self.region(id))
    }
}

/// A program bound to memory.
pub(crate) struct Executor {
    kernels: Vec<Box<dyn CpuKernel>>,
    forward_len: usize,
    regions: Vec<Region>,
    stream: Stream,
    on_one_thread: bool,
    pub(crate) arena_bytes: usize,
}

impl Executor {
    /// Chooses kernels, lays out the arena and binds everything.
    pub(crate) fn new(
        program: &Program,
        parameters: &Parameters,
        weights: &mut PreparedWeights,
        storage: &mut Storage,
    ) -> Result<Self, EngineError> {
        if program.is_tiny() {
            on_one_thread(|| Self::bind(program, parameters, weights, storage))
        } else {
            Self::bind(program, parameters, weights, storage)
        }
    }

    fn bind(
        program: &Program,
        parameters: &Parameters,
        weights: &mut PreparedWeights,
        storage: &mut Storage,
    ) -> Result<Self, EngineError> {
        let mut prototypes = Vec::new();
        let mut temporaries = Vec::new();
        for instruction in &program.instructions {
            let no_kernel = |source| EngineError::NoKernel {
                node: instruction.node.clone(),
                source,
            };
            let prototype =
                prototype(program, &instruction.kernel, parameters).map_err(no_kernel)?;
            temporaries.push(prototype.temporaries().map_err(no_kernel)?);
            prototypes.push(prototype);
        }
        let layout = Layout::new(program, &temporaries);
        let arena_region = storage.add_segment(layout.bytes)?;
        let regions: Vec<Region> = program
            .values
            .iter()
            .zip(&layout.value_offsets)
            .map(|(value, offset)| match value.place {
                Place::Arena | Place::Pinned => Region {
                    segment: arena_region.segment,
                    offset: *offset,
                    bytes: value.len() * 4,
                },
                Place::Parameter(id) => parameters.region(id),
                Place::Gradient(id) => parameters.gradient(id).unwrap_or(EMPTY),
            })
            .collect();
        let stream = Stream::new()?;
        let mut bind = Bind {
            regions: &regions,
            storage,
            weights,
            stream: &stream,
        };
        let mut kernels = Vec::new();
        for (i, prototype) in prototypes.into_iter().enumerate() {
            let temporaries: Vec<Region> = layout.temporary_offsets[i]
                .iter()
                .zip(&temporaries[i])
                .map(|(offset, bytes)| Region {
                    segment: arena_region.segment,
                    offset: *offset,
                    bytes: *bytes,
                })
                .collect();
            let kernel = prototype.bind(&mut bind, &temporaries).map_err(|source| {
                EngineError::NoKernel {
                    node: program.instructions[i].node.clone(),
                    source,
                }
            })?;
            kernels.push(kernel);
        }
        Ok(Self {
            kernels,
            forward_len: program.forward_len,
            regions,
            stream,
            on_one_thread: program.is_tiny(),
            arena_bytes: layout.bytes,
        })
    }

    pub(crate) fn region(&self, id: ValueId) -> Region {
        self.regions[id.0]
    }

    pub(crate) fn forward(&self, storage: &mut Storage, seed: u64) -> Result<(), EngineError> {
        self.run(0..self.forward_len, storage, seed)
    }

    pub(crate) fn backward(&self, storage: &mut Storage, seed: u64) -> Result<(), EngineError> {
        self.run(self.forward_len..self.kernels.len(), storage, seed)
    }

    /// Shortest time of each kernel call over some runs of the whole plan, in seconds.
    pub(crate) fn profile(
        &self,
        storage: &mut Storage,
        seed: u64,
        runs: usize,
    ) -> Result<Vec<f64>, EngineError> {
        let run = Run {
            stream: &self.stream,
            seed,
        };
        let mut seconds = vec![f64::INFINITY; self.kernels.len()];
        for _ in 0..runs {
            for (kernel, shortest) in self.kernels.iter().zip(&mut seconds) {
                let start = Instant::now();
                kernel.run(storage, &run)?;
                *shortest = shortest.min(start.elapsed().as_secs_f64());
            }
        }
        Ok(seconds)
    }

    fn run(
        &self,
        range: std::ops::Range<usize>,
        storage: &mut Storage,
        seed: u64,
    ) -> Result<(), EngineError> {
        let run = Run {
            stream: &self.stream,
            seed,
        };
        let kernels = &self.kernels[range];
        let mut all = || kernels.iter().try_for_each(|k| k.run(storage, &run));
        if self.on_one_thread {
            on_one_thread(all)?;
        } else {
            all()?;
        }
        Ok(())
    }
}

/// The kernel for a call.
fn prototype(
    program: &Program,
    kernel: &Kernel,
    parameters: &Parameters,
) -> Result<Box<dyn Prototype>, OnednnError> {
    let dims = |id: ValueId| program.value(id).dims.as_slice();
    Ok(match kernel {
        Kernel::Conv2d { .. } => Box::new(convolution::forward(program, kernel, parameters)?),
        Kernel::Conv2dBackwardData { .. } => {
            Box::new(convolution::backward_data(program, kernel, parameters)?)
        }
        Kernel::Conv2dBackwardWeights { .. } => Box::new(convolution::backward_weights(kernel)?),
        Kernel::Linear { .. } => Box::new(linear::forward(program, kernel, parameters)?),
        Kernel::LinearBackwardData { .. } => {
            Box::new(linear::backward_data(program, kernel, parameters)?)
        }
        Kernel::LinearBackwardWeights { .. } => {
            Box::new(linear::backward_weights(program, kernel)?)
        }
        Kernel::BatchNorm { .. } => Box::new(batch_norm::Forward::new(program, kernel)),
        Kernel::BatchNormBackward { .. } => Box::new(batch_norm::Backward::new(program, kernel)),
        Kernel::Activation { activation, x, y } => {
            Box::new(primitives::activation(*activation, dims(*x), *x, *y)?)
        }
        Kernel::ActivationBackward {
            activation,
            data,
            dy,
            dx,
        } => Box::new(primitives::activation_backward(
            *activation,
            dims(*dy),
            *data,
            *dy,
            *dx,
        )?),
        Kernel::Pool { .. } | Kernel::PoolBackward { .. } => Box::new(pooling::prototype(kernel)?),
        Kernel::GlobalAvgPool { x, y } => Box::new(pooling::GlobalMean::new(dims(*x), *x, *y)),
        Kernel::GlobalAvgPoolBackward { dy, dx } => {
            Box::new(pooling::GlobalMeanBackward::new(dims(*dx), *dy, *dx))
        }
        Kernel::AdaptiveAvgPool { x, y } => {
            Box::new(adaptive_pooling::AdaptiveMean::new(program, *x, *y))
        }
        Kernel::AdaptiveAvgPoolBackward { dy, dx } => Box::new(
            adaptive_pooling::AdaptiveMeanBackward::new(program, *dy, *dx),
        ),
        Kernel::StochasticDepth {
            p,
            stream,
            x,
            residual,
            y,
        } => Box::new(dropout::StochasticDepth::new(
            program,
            (*p, *stream),
            [*x, *y],
            *residual,
        )),
        Kernel::ScaleChannels { x, gate, mean, y } => {
            Box::new(gate::ScaleChannels::new(program, [*x, *y], *gate, *mean))
        }
        Kernel::GateGradient { x, dy, dgate } => {
            Box::new(gate::GateGradient::new(program, *x, *dy, *dgate))
        }
        Kernel::Product { a, b, y } => Box::new(gate::Product::new(*a, *b, *y)),
        Kernel::Dropout { p, stream, x, y } => Box::new(dropout::Dropout::new(*p, *stream, *x, *y)),
        Kernel::Sum { terms, y } => Box::new(sum::Sum::new(terms, *y)),
        Kernel::ToChannelsFirst { x, y } => {
            Box::new(primitives::to_channels_first(dims(*x), *x, *y)?)
        }
        Kernel::FromChannelsFirst { dy, dx } => {
            Box::new(primitives::from_channels_first(dims(*dx), *dy, *dx)?)
        }
        Kernel::Concat { inputs, y } => Box::new(shuffle::Concat::new(program, inputs, *y)),
        Kernel::SliceChannels { first, x, y } => {
            Box::new(shuffle::Slice::new(program, *first, *x, *y))
        }
        Kernel::PadChannels { first, x, y } => Box::new(shuffle::Pad::new(program, *first, *x, *y)),
        Kernel::ShuffleChannels { groups, x, y } => {
            Box::new(shuffle::Shuffle::new(program, *groups, *x, *y))
        }
    })
}

/// Offsets of everything in the arena.
struct Layout {
    value_offsets: Vec<usize>,
    temporary_offsets: Vec<Vec<usize>>,
    bytes: usize,
}

impl Layout {
    fn new(program: &Program, temporaries: &[Vec<usize>]) -> Self {
        let end = program.instructions.len();
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; program.values.len()];
        for (i, instruction) in program.instructions.iter().enumerate() {
            for id in instruction
                .kernel
                .reads()
                .into_iter()
                .chain(instruction.kernel.writes())
            {
                let life = lives[id.0].get_or_insert((i, i));
                life.1 = i;
            }
        }
        let mut requests: Vec<Request> = program
            .values
            .iter()
            .zip(&lives)
            .map(|(value, life)| match (value.place, life) {
                (Place::Pinned, _) => Request {
                    bytes: value.len() * 4,
                    first: 0,
                    last: end,
                },
                (Place::Arena, Some((first, last))) => Request {
                    bytes: value.len() * 4,
                    first: *first,
                    last: *last,
                },
                _ => Request {
                    bytes: 0,
                    first: 0,
                    last: 0,
                },
            })
            .collect();
        for (i, sizes) in temporaries.iter().enumerate() {
            requests.extend(sizes.iter().map(|bytes| Request {
                bytes: *bytes,
                first: i,
                last: i,
            }));
        }
        let (offsets, bytes) = arena::plan(&requests);
        let (value_offsets, mut rest) = offsets.split_at(program.values.len());
        let temporary_offsets = temporaries
            .iter()
            .map(|sizes| {
                let (own, others) = rest.split_at(sizes.len());
                rest = others;
                own.to_vec()
            })
            .collect();
        Self {
            value_offsets: value_offsets.to_vec(),
            temporary_offsets,
            bytes,
        }
    }
}
