//! Builds a graph node by node, inferring shapes as it goes.

use crate::error::GraphError;
use crate::graph::{Graph, Node, NodeId};
use crate::infer::infer;
use crate::op::{
    Activation, AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Conv2d, Linear, MaxPool2d, Op,
    SliceChannels,
};
use crate::parameter::{Init, ParamId, Parameter, ParameterKind};
use crate::shape::Shape;
use std::collections::HashMap;

/// Builds a [`Graph`]. Each method adds one node and returns its id; new parameters are trainable and get PyTorch's
/// default initial distribution, which [`GraphBuilder::init`] changes.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    nodes: Vec<Node>,
    parameters: Vec<Parameter>,
    node_names: HashMap<String, NodeId>,
    parameter_names: HashMap<String, ParamId>,
}

impl GraphBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues a graph that exists: its ids stay valid, its outputs are forgotten.
    pub fn resume(graph: Graph) -> Self {
        let node_names = graph
            .nodes
            .iter()
            .enumerate()
            .map(|(i, n)| (n.name.clone(), NodeId(i)))
            .collect();
        let parameter_names = graph
            .parameters
            .iter()
            .enumerate()
            .map(|(i, p)| (p.name.clone(), ParamId(i)))
            .collect();
        Self {
            nodes: graph.nodes,
            parameters: graph.parameters,
            node_names,
            parameter_names,
        }
    }

    /// A value handed in from outside. A second input of the same name is the same input.
    pub fn input(&mut self, name: &str, shape: Shape) -> NodeId {
        if let Some(id) = self.node_names.get(name) {
            return *id;
        }
        self.push(Node {
            name: name.to_owned(),
            op: Op::Input,
            inputs: Vec::new(),
            params: Vec::new(),
            shape,
        })
    }

    /// A convolution, with parameters `{name}.weight` and `{name}.bias`.
    ///
    /// # Errors
    /// When the shapes do not fit or the name is taken.
    pub fn conv2d(&mut self, name: &str, x: NodeId, conv: Conv2d) -> Result<NodeId, GraphError> {
        let shape = conv.weight_shape();
        let init = Init::torch_default(shape[1] * shape[2] * shape[3]);
        let mut params =
            vec![self.parameter(name, "weight", &shape, ParameterKind::Weight, init)?];
        if conv.bias {
            params.push(self.parameter(
                name,
                "bias",
                &[conv.out_channels],
                ParameterKind::Bias,
                init,
            )?);
        }
        self.add(name, Op::Conv2d(conv), &[x], params)
    }

    /// A batch normalisation, with parameters `weight`, `bias`, `running_mean` and `running_var`.
    ///
    /// # Errors
    /// When the shapes do not fit or the name is taken.
    pub fn batch_norm2d(
        &mut self,
        name: &str,
        x: NodeId,
        norm: BatchNorm2d,
    ) -> Result<NodeId, GraphError> {
        let shape = [norm.channels];
        let params = vec![
            self.parameter(
                name,
                "weight",
                &shape,
                ParameterKind::NormWeight,
                Init::Ones,
            )?,
            self.parameter(name, "bias", &shape, ParameterKind::NormBias, Init::Zeros)?,
            self.parameter(
                name,
                "running_mean",
                &shape,
                ParameterKind::RunningMean,
                Init::Zeros,
            )?,
            self.parameter(
                name,
                "running_var",
                &shape,
                ParameterKind::RunningVar,
                Init::Ones,
            )?,
        ];
        self.add(name, Op::BatchNorm2d(norm), &[x], params)
    }

    /// A linear layer, with parameters `{name}.weight` and `{name}.bias`.
    ///
    /// # Errors
    /// When the shapes do not fit or the name is taken.
    pub fn linear(&mut self, name: &str, x: NodeId, linear: Linear) -> Result<NodeId, GraphError> {
        let init = Init::torch_default(linear.in_features);
        let shape = [linear.out_features, linear.in_features];
        let mut params =
            vec![self.parameter(name, "weight", &shape, ParameterKind::Weight, init)?];
        if linear.bias {
            params.push(self.parameter(name, "bias", &shape[..1], ParameterKind::Bias, init)?);
        }
        self.add(name, Op::Linear(linear), &[x], params)
    }

    /// An element-wise non-linearity.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn activation(
        &mut self,
        name: &str,
        x: NodeId,
        activation: Activation,
    ) -> Result<NodeId, GraphError> {
        self.add(name, Op::Activation(activation), &[x], Vec::new())
    }

    /// A maximum over windows.
    ///
    /// # Errors
    /// When the shapes do not fit or the name is taken.
    pub fn max_pool2d(
        &mut self,
        name: &str,
        x: NodeId,
        pool: MaxPool2d,
    ) -> Result<NodeId, GraphError> {
        self.add(name, Op::MaxPool2d(pool), &[x], Vec::new())
    }

    /// A mean over windows.
    ///
    /// # Errors
    /// When the shapes do not fit or the name is taken.
    pub fn avg_pool2d(
        &mut self,
        name: &str,
        x: NodeId,
        pool: AvgPool2d,
    ) -> Result<NodeId, GraphError> {
        self.add(name, Op::AvgPool2d(pool), &[x], Vec::new())
    }

    /// A mean over height and width.
    ///
    /// # Errors
    /// When the shapes do not fit or the name is taken.
    pub fn global_avg_pool(&mut self, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        self.add(name, Op::GlobalAvgPool, &[x], Vec::new())
    }

    /// A mean over as many parts of the image as `output_size`, height and width, has positions.
    ///
    /// # Errors
    /// When an extent is zero, the shapes do not fit or the name is taken.
    pub fn adaptive_avg_pool2d(
        &mut self,
        name: &str,
        x: NodeId,
        output_size: [usize; 2],
    ) -> Result<NodeId, GraphError> {
        let op = Op::AdaptiveAvgPool2d(AdaptiveAvgPool2d { output_size });
        self.add(name, op, &[x], Vec::new())
    }

    /// All dimensions after the batch made one.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn flatten(&mut self, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        self.add(name, Op::Flatten, &[x], Vec::new())
    }

    /// Dropout with probability `p`.
    ///
    /// # Errors
    /// When `p` is not in `[0, 1)` or the name is taken.
    pub fn dropout(&mut self, name: &str, x: NodeId, p: f32) -> Result<NodeId, GraphError> {
        self.add(name, Op::Dropout { p }, &[x], Vec::new())
    }

    /// Stochastic depth: a sample of the value is dropped with probability `p`.
    ///
    /// # Errors
    /// When `p` is not in `[0, 1)` or the name is taken.
    pub fn stochastic_depth(
        &mut self,
        name: &str,
        x: NodeId,
        p: f32,
    ) -> Result<NodeId, GraphError> {
        self.add(name, Op::StochasticDepth { p }, &[x], Vec::new())
    }

    /// The sum of two values of one shape.
    ///
    /// # Errors
    /// When the shapes differ or the name is taken.
    pub fn add_values(&mut self, name: &str, a: NodeId, b: NodeId) -> Result<NodeId, GraphError> {
        self.add(name, Op::Add, &[a, b], Vec::new())
    }

    /// The product of two values of one shape, or of an image and one factor for each of its channels, `[B, C, 1, 1]`.
    ///
    /// # Errors
    /// When the shapes do not fit or the name is taken.
    pub fn mul_values(&mut self, name: &str, a: NodeId, b: NodeId) -> Result<NodeId, GraphError> {
        self.add(name, Op::Mul, &[a, b], Vec::new())
    }

    /// Values joined along the channels.
    ///
    /// # Errors
    /// When the other dimensions differ or the name is taken.
    pub fn concat(&mut self, name: &str, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        self.add(name, Op::Concat, inputs, Vec::new())
    }

    /// Some of the channels of a value.
    ///
    /// # Errors
    /// When it does not have these channels or the name is taken.
    pub fn slice_channels(
        &mut self,
        name: &str,
        x: NodeId,
        slice: SliceChannels,
    ) -> Result<NodeId, GraphError> {
        self.add(name, Op::SliceChannels(slice), &[x], Vec::new())
    }

    /// Channels dealt in turn from `groups` runs of them.
    ///
    /// # Errors
    /// When the channels cannot be divided so or the name is taken.
    pub fn channel_shuffle(
        &mut self,
        name: &str,
        x: NodeId,
        groups: usize,
    ) -> Result<NodeId, GraphError> {
        self.add(name, Op::ChannelShuffle { groups }, &[x], Vec::new())
    }

    /// Changes how a parameter is drawn when no checkpoint gives its value.
    ///
    /// # Errors
    /// [`GraphError::MissingValue`] if there is no such parameter.
    pub fn init(&mut self, parameter: &str, init: Init) -> Result<(), GraphError> {
        match self.parameter_names.get(parameter) {
            Some(id) => {
                self.parameters[id.0].init = init;
                Ok(())
            }
            None => Err(GraphError::MissingValue {
                name: parameter.to_owned(),
            }),
        }
    }

    /// Shape of a node that was added.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.nodes[id.0].shape
    }

    /// The finished graph, computing the named outputs. Nodes that no output needs are dropped.
    ///
    /// # Errors
    /// [`GraphError::NoOutputs`] if there are none.
    pub fn finish(self, outputs: &[(&str, NodeId)]) -> Result<Graph, GraphError> {
        let whole = Graph {
            nodes: self.nodes,
            parameters: self.parameters,
            outputs: Vec::new(),
        };
        let outputs: Vec<_> = outputs
            .iter()
            .map(|(name, id)| ((*name).to_owned(), *id))
            .collect();
        whole.with_outputs(&outputs)
    }

    pub(crate) fn add(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[NodeId],
        params: Vec<ParamId>,
    ) -> Result<NodeId, GraphError> {
        if self.node_names.contains_key(name) {
            return Err(GraphError::DuplicateNode {
                name: name.to_owned(),
            });
        }
        let shapes: Vec<_> = inputs.iter().map(|i| &self.nodes[i.0].shape).collect();
        let shape = infer(name, &op, &shapes)?;
        Ok(self.push(Node {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
            params,
            shape,
        }))
    }

    fn push(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.node_names.insert(node.name.clone(), id);
        self.nodes.push(node);
        id
    }

    /// The parameter of another graph under its own name; one that is here already is shared.
    pub(crate) fn adopt(&mut self, parameter: &Parameter) -> ParamId {
        *self
            .parameter_names
            .entry(parameter.name.clone())
            .or_insert_with(|| {
                self.parameters.push(parameter.clone());
                ParamId(self.parameters.len() - 1)
            })
    }

    fn parameter(
        &mut self,
        node: &str,
        role: &str,
        shape: &[usize],
        kind: ParameterKind,
        init: Init,
    ) -> Result<ParamId, GraphError> {
        let name = format!("{node}.{role}");
        if self.parameter_names.contains_key(&name) {
            return Err(GraphError::DuplicateParameter { name });
        }
        let id = ParamId(self.parameters.len());
        self.parameter_names.insert(name.clone(), id);
        self.parameters.push(Parameter {
            name,
            shape: shape.to_vec(),
            kind,
            init,
            trainable: !kind.is_buffer(),
        });
        Ok(id)
    }
}
