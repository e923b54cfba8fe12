//! From a graph to a program: fusion and the forward pass here, the backward pass in [`backward`] and [`terms`].

mod backward;
mod fuse;
mod terms;

use crate::error::EngineError;
use crate::program::{
    ConvShape, Instruction, Kernel, NormParams, Place, PoolKind, PoolShape, Program, Statistics,
    Value, ValueId,
};
use crate::session::Mode;
use fuse::Group;
use regraft_graph::{Graph, NodeId, Op, ParamId};

/// Compiles a graph for a batch size.
pub(crate) fn lower(graph: &Graph, batch: usize, mode: Mode) -> Result<Program, EngineError> {
    if batch == 0 {
        return Err(EngineError::EmptyBatch);
    }
    let mut lowering = Lowering::new(graph, batch, mode);
    lowering.forward()?;
    lowering.program.forward_len = lowering.program.instructions.len();
    if mode == Mode::Train {
        lowering.backward();
    }
    Ok(lowering.program)
}

struct Lowering<'g> {
    graph: &'g Graph,
    batch: usize,
    mode: Mode,
    program: Program,
    /// Value of each node that has one of its own.
    node_values: Vec<Option<ValueId>>,
    param_values: Vec<Option<ValueId>>,
    groups: Vec<Group>,
    /// What a batch norm or pooling left for its backward pass, by node.
    saved: Vec<Option<ValueId>>,
    /// For each node, whether a gradient must reach it: it has a trainable parameter or lies behind one.
    needs_gradient: Vec<bool>,
    /// For each node, whether it is a dropout, of elements or samples, that is more than the identity.
    random: Vec<bool>,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, batch: usize, mode: Mode) -> Self {
        let mut needs_gradient = vec![false; graph.nodes().len()];
        if mode == Mode::Train {
            for id in graph.node_ids() {
                let inherited = graph
                    .node(id)
                    .inputs
                    .iter()
                    .any(|i| needs_gradient[i.index()]);
                needs_gradient[id.index()] = inherited || graph.is_trainable(id);
            }
        }
        let random = random_nodes(graph, mode);
        Self {
            graph,
            batch,
            mode,
            program: Program::default(),
            node_values: vec![None; graph.nodes().len()],
            param_values: vec![None; graph.parameters().len()],
            groups: fuse::group(graph, mode, &random),
            saved: vec![None; graph.nodes().len()],
            needs_gradient,
            random,
        }
    }

    fn forward(&mut self) -> Result<(), EngineError> {
        for group in self.groups.clone() {
            self.forward_group(&group)?;
        }
        for (name, id) in self.graph.outputs() {
            if let Some(value) = self.node_values[id.index()] {
                self.pin(value);
                self.program.outputs.push((name.clone(), value));
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "one arm an operator")]
    fn forward_group(&mut self, group: &Group) -> Result<(), EngineError> {
        let node = self.graph.node(group.root);
        let dims = self.dims(group.root);
        let inputs: Vec<ValueId> = node.inputs.iter().map(|i| self.node_value(*i)).collect();
        let residual = group.residual.map(|r| self.node_value(r));
        let activation = group.activation;
        match &node.op {
            Op::Input => {
                let value = self.value(dims, Place::Pinned);
                self.program.inputs.push((node.name.clone(), value));
                self.node_values[group.root.index()] = Some(value);
            }
            Op::Conv2d(_) => {
                let shape = self.conv_shape(group.root);
                let weight = self.parameter(node.params[0]);
                let bias = node.params.get(1).map(|p| self.parameter(*p));
                let y = self.output(group, dims);
                let kernel = if is_product(&shape) && residual.is_none() {
                    Kernel::Linear {
                        x: inputs[0],
                        weight,
                        bias,
                        activation,
                        y,
                    }
                } else {
                    Kernel::Conv2d {
                        shape,
                        x: inputs[0],
                        weight,
                        bias,
                        residual,
                        activation,
                        y,
                    }
                };
                self.push(group.root, kernel);
            }
            Op::Linear(_) => {
                let weight = self.parameter(node.params[0]);
                let bias = node.params.get(1).map(|p| self.parameter(*p));
                let y = self.output(group, dims);
                self.push(
                    group.root,
                    Kernel::Linear {
                        x: inputs[0],
                        weight,
                        bias,
                        activation,
                        y,
                    },
                );
            }
            Op::BatchNorm2d(_) => {
                let params = self.norm_params(group.root)?;
                let scale_shift = self.value(vec![4, dims[1]], Place::Arena);
                self.saved[group.root.index()] = Some(scale_shift);
                let y = self.output(group, dims);
                let kernel = Kernel::BatchNorm {
                    x: inputs[0],
                    params,
                    residual,
                    activation,
                    y,
                    scale_shift,
                };
                self.push(group.root, kernel);
            }
            Op::Activation(activation) => {
                let y = self.output(group, dims);
                self.push(
                    group.root,
                    Kernel::Activation {
                        activation: *activation,
                        x: inputs[0],
                        y,
                    },
                );
            }
            Op::MaxPool2d(_) | Op::AvgPool2d(_) => {
                let shape = self.pool_shape(group.root);
                // The workspace holds one index of at most four bytes for each output.
                let keeps = shape.kind == PoolKind::Max && self.needs_gradient[group.root.index()];
                let workspace = keeps.then(|| self.value(dims.clone(), Place::Arena));
                self.saved[group.root.index()] = workspace;
                let y = self.output(group, dims);
                self.push(
                    group.root,
                    Kernel::Pool {
                        shape,
                        x: inputs[0],
                        y,
                        workspace,
                    },
                );
            }
            Op::GlobalAvgPool => {
                let y = self.output(group, dims);
                self.push(group.root, Kernel::GlobalAvgPool { x: inputs[0], y });
            }
            Op::AdaptiveAvgPool2d(_) => {
                if dims == self.dims(node.inputs[0]) {
                    self.node_values[group.root.index()] = Some(inputs[0]);
                    return Ok(());
                }
                let y = self.output(group, dims);
                self.push(group.root, Kernel::AdaptiveAvgPool { x: inputs[0], y });
            }
            Op::Flatten => {
                let y = if self.flatten_is_free(group.root) {
                    self.node_values[group.root.index()] = Some(inputs[0]);
                    return Ok(());
                } else {
                    self.output(group, dims)
                };
                self.push(group.root, Kernel::ToChannelsFirst { x: inputs[0], y });
            }
            Op::Dropout { p } => {
                if self.random[group.root.index()] {
                    let y = self.output(group, dims);
                    self.push(
                        group.root,
                        Kernel::Dropout {
                            p: *p,
                            stream: stream_of(group.root),
                            x: inputs[0],
                            y,
                        },
                    );
                } else {
                    self.node_values[group.root.index()] = Some(inputs[0]);
                }
            }
            Op::StochasticDepth { p } => {
                if self.random[group.root.index()] {
                    let y = self.output(group, dims);
                    self.push(
                        group.root,
                        Kernel::StochasticDepth {
                            p: *p,
                            stream: stream_of(group.root),
                            x: inputs[0],
                            residual,
                            y,
                        },
                    );
                } else {
                    self.node_values[group.root.index()] = Some(inputs[0]);
                }
            }
            Op::Add => {
                let y = self.output(group, dims);
                self.push(group.root, Kernel::Sum { terms: inputs, y });
            }
            Op::Mul => {
                let [x, gate] = [inputs[0], inputs[1]];
                if self.is_gate(group.root) {
                    let y = if self.is_last_reader(group.root, node.inputs[0]) {
                        self.node_values[group.last.index()] = Some(x);
                        x
                    } else {
                        self.output(group, dims)
                    };
                    let kernel = Kernel::ScaleChannels {
                        x,
                        gate: Some(gate),
                        mean: None,
                        y,
                    };
                    self.push(group.root, kernel);
                } else {
                    let y = self.output(group, dims);
                    self.push(group.root, Kernel::Product { a: x, b: gate, y });
                }
            }
            Op::SliceChannels(slice) => {
                let y = self.output(group, dims);
                let first = slice.first;
                self.push(
                    group.root,
                    Kernel::SliceChannels {
                        first,
                        x: inputs[0],
                        y,
                    },
                );
            }
            Op::ChannelShuffle { groups } => {
                let y = self.output(group, dims);
                let groups = *groups;
                self.push(
                    group.root,
                    Kernel::ShuffleChannels {
                        groups,
                        x: inputs[0],
                        y,
                    },
                );
            }
            Op::Concat => {
                let y = self.output(group, dims);
                self.push(group.root, Kernel::Concat { inputs, y });
            }
            op => {
                return Err(EngineError::UnsupportedOp {
                    node: node.name.clone(),
                    op: op.name(),
                });
            }
        }
        Ok(())
    }

    /// The value of a group's last node.
    fn output(&mut self, group: &Group, dims: Vec<usize>) -> ValueId {
        let y = self.value(dims, Place::Arena);
        self.node_values[group.last.index()] = Some(y);
        y
    }

    fn value(&mut self, dims: Vec<usize>, place: Place) -> ValueId {
        self.program.values.push(Value { dims, place });
        ValueId(self.program.values.len() - 1)
    }

    fn pin(&mut self, id: ValueId) {
        let value = &mut self.program.values[id.0];
        if value.place == Place::Arena {
            value.place = Place::Pinned;
        }
    }

    fn push(&mut self, node: NodeId, kernel: Kernel) {
        self.program.instructions.push(Instruction {
            kernel,
            node: self.graph.node(node).name.clone(),
        });
    }

    fn parameter(&mut self, id: ParamId) -> ValueId {
        if let Some(value) = self.param_values[id.index()] {
            return value;
        }
        let value = self.value(self.graph.parameter(id).shape.clone(), Place::Parameter(id));
        self.param_values[id.index()] = Some(value);
        value
    }

    /// The value of a node that an earlier group computed.
    fn node_value(&self, id: NodeId) -> ValueId {
        // Groups are emitted in topological order and only the inside of a group has no value, which nothing outside
        // reads: fusion looks at the users.
        #[expect(clippy::expect_used, reason = "an invariant of fusion")]
        self.node_values[id.index()].expect("inputs are computed before their users")
    }

    fn dims(&self, id: NodeId) -> Vec<usize> {
        self.graph.shape(id).bind(self.batch)
    }

    fn dims4(&self, id: NodeId) -> [usize; 4] {
        let dims = self.dims(id);
        std::array::from_fn(|i| dims.get(i).copied().unwrap_or(1))
    }

    fn conv_shape(&self, id: NodeId) -> ConvShape {
        let node = self.graph.node(id);
        match node.op {
            Op::Conv2d(op) => ConvShape {
                op,
                src: self.dims4(node.inputs[0]),
                dst: self.dims4(id),
            },
            _ => unreachable!("called for convolutions only"),
        }
    }

    fn pool_shape(&self, id: NodeId) -> PoolShape {
        let node = self.graph.node(id);
        let (src, dst) = (self.dims4(node.inputs[0]), self.dims4(id));
        match node.op {
            Op::MaxPool2d(m) => PoolShape {
                kind: PoolKind::Max,
                kernel: m.kernel_size,
                stride: m.stride,
                padding: m.padding,
                src,
                dst,
            },
            Op::AvgPool2d(a) => PoolShape {
                kind: if a.count_include_pad {
                    PoolKind::AverageIncludePadding
                } else {
                    PoolKind::AverageExcludePadding
                },
                kernel: a.kernel_size,
                stride: a.stride,
                padding: a.padding,
                src,
                dst,
            },
            _ => unreachable!("called for poolings only"),
        }
    }

    fn norm_params(&mut self, id: NodeId) -> Result<NormParams, EngineError> {
        let node = self.graph.node(id);
        let Op::BatchNorm2d(norm) = node.op else {
            unreachable!("called for batch norms only")
        };
        let statistics = if self.mode == Mode::Train && self.graph.is_trainable(id) {
            let [n, _, h, w] = self.dims4(id);
            if n * h * w == 1 {
                return Err(EngineError::SingleValueBatchNorm {
                    node: node.name.clone(),
                    batch: self.batch,
                });
            }
            Statistics::Batch {
                momentum: norm.momentum,
            }
        } else {
            Statistics::Running
        };
        let [weight, bias, running_mean, running_var] =
            [0, 1, 2, 3].map(|i| self.parameter(node.params[i]));
        Ok(NormParams {
            weight,
            bias,
            running_mean,
            running_var,
            eps: norm.eps,
            statistics,
        })
    }

    /// Whether a product scales the channels of an image.
    fn is_gate(&self, id: NodeId) -> bool {
        let [a, b] = [0, 1].map(|i| self.dims(self.graph.node(id).inputs[i]));
        a != b
    }

    /// Whether `reader` may write over the value of `x`: only what runs before it reads that, and no backward pass will.
    fn is_last_reader(&self, reader: NodeId, x: NodeId) -> bool {
        let value = self.node_values[x.index()];
        let one_node = self.node_values.iter().filter(|v| **v == value).count() == 1;
        let is_output = self.graph.outputs().iter().any(|(_, id)| *id == x);
        let in_arena = value.is_some_and(|v| self.program.value(v).place == Place::Arena);
        let is_read_later = self.graph.node_ids().any(|id| {
            id != reader
                && self.node_values[id.index()].is_none()
                && self.graph.node(id).inputs.contains(&x)
        });
        self.mode == Mode::Eval && one_node && !is_output && in_arena && !is_read_later
    }

    /// Whether channels-last and channels-first are the same order. They also are with a single channel, but then the
    /// extents of the flat value, which a gradient brings back, would not tell channels from positions.
    fn flatten_is_free(&self, id: NodeId) -> bool {
        let [_, _, h, w] = self.dims4(self.graph.node(id).inputs[0]);
        h * w == 1
    }
}

/// For each node, whether it is a dropout that does anything: in training, unless it lies in the frozen part (a graph that
/// is trained is cut at the frozen boundary, so that what is left of dropouts before anything trainable is the random
/// kind).
fn random_nodes(graph: &Graph, mode: Mode) -> Vec<bool> {
    let frozen = regraft_graph::surgery::frozen_nodes(graph);
    let drops = |op: &Op| match op {
        Op::Dropout { p } | Op::StochasticDepth { p } => *p > 0.0,
        _ => false,
    };
    graph
        .node_ids()
        .map(|id| mode == Mode::Train && drops(&graph.node(id).op) && !frozen[id.index()])
        .collect()
}

/// Whether a convolution is the product of a matrix and one vector a sample, as those of squeeze-and-excitation are.
fn is_product(shape: &ConvShape) -> bool {
    let unpadded = (0..2).all(|axis| {
        let stride = shape.op.stride[axis];
        shape.op.padding.along(axis, 1, 1, stride) == (0, 0)
    });
    shape.src[2..] == [1, 1] && shape.op.kernel_size == [1, 1] && shape.op.groups == 1 && unpadded
}

/// Dropouts draw from streams of their own.
fn stream_of(id: NodeId) -> u32 {
    id.index() as u32
}
