//! The graph: nodes in topological order, parameters, outputs.

use crate::error::GraphError;
use crate::op::Op;
use crate::parameter::{ParamId, Parameter};
use crate::shape::Shape;

/// Identifies a node of one graph. Ids are topologically ordered: inputs come before their users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// Position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// One operation of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Path of the module in the reference implementation, for example `layer1.0.conv1`.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The values it reads.
    pub inputs: Vec<NodeId>,
    /// Its parameters, in the order that [`Op`] documents.
    pub params: Vec<ParamId>,
    /// Shape of its output.
    pub shape: Shape,
}

/// A model: nodes, parameters and the names of its outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) outputs: Vec<(String, NodeId)>,
}

impl Graph {
    /// All nodes, inputs before users.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Ids of all nodes, inputs before users.
    pub fn node_ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The node of this id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Shape of a node's output.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.nodes[id.0].shape
    }

    /// The node of this name.
    ///
    /// # Errors
    /// [`GraphError::UnknownNode`], with names that look like it.
    pub fn find(&self, name: &str) -> Result<NodeId, GraphError> {
        self.nodes
            .iter()
            .position(|n| n.name == name)
            .map(NodeId)
            .ok_or_else(|| GraphError::UnknownNode {
                name: name.to_owned(),
                near: self
                    .nodes
                    .iter()
                    .filter(|n| n.name.ends_with(name) || n.name.starts_with(name))
                    .take(3)
                    .map(|n| n.name.clone())
                    .collect(),
            })
    }

    /// All parameters and buffers, in the order of the nodes that own them.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The parameter of this id.
    pub fn parameter(&self, id: ParamId) -> &Parameter {
        &self.parameters[id.0]
    }

    /// The parameter of this name.
    pub fn parameter_named(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }

    /// The inputs, in the order they were declared.
    pub fn inputs(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.node_ids().filter(|id| self.node(*id).op == Op::Input)
    }

    /// Names of the outputs and the nodes that compute them.
    pub fn outputs(&self) -> &[(String, NodeId)] {
        &self.outputs
    }

    /// For each node, the nodes that read it.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for id in self.node_ids() {
            for input in &self.node(id).inputs {
                users[input.0].push(id);
            }
        }
        users
    }

    /// Number of elements of all parameters, without running statistics.
    pub fn parameter_count(&self) -> usize {
        self.parameters
            .iter()
            .filter(|p| !p.kind.is_buffer())
            .map(Parameter::len)
            .sum()
    }

    /// Number of elements of the parameters that training changes.
    pub fn trainable_parameter_count(&self) -> usize {
        self.parameters
            .iter()
            .filter(|p| p.trainable)
            .map(Parameter::len)
            .sum()
    }

    /// Whether a node has a parameter that training changes.
    pub fn is_trainable(&self, id: NodeId) -> bool {
        self.node(id)
            .params
            .iter()
            .any(|p| self.parameter(*p).trainable)
    }

    /// The same graph computing other nodes: what no output needs is dropped. Names are kept, ids change.
    ///
    /// # Errors
    /// [`GraphError::NoOutputs`] if `outputs` is empty.
    pub fn with_outputs(&self, outputs: &[(String, NodeId)]) -> Result<Self, GraphError> {
        self.extract(&[], outputs)
    }

    /// The part of the graph between `inputs` (which become input nodes; none means the graph's own) and `outputs`.
    pub(crate) fn extract(
        &self,
        inputs: &[NodeId],
        outputs: &[(String, NodeId)],
    ) -> Result<Self, GraphError> {
        if outputs.is_empty() {
            return Err(GraphError::NoOutputs);
        }
        let mut needed = vec![false; self.nodes.len()];
        for (_, id) in outputs {
            needed[id.0] = true;
        }
        for id in self.node_ids().rev() {
            if needed[id.0] && !inputs.contains(&id) {
                for input in &self.node(id).inputs {
                    needed[input.0] = true;
                }
            }
        }
        let mut node_map = vec![None; self.nodes.len()];
        let mut param_map = vec![None; self.parameters.len()];
        let mut part = Self {
            nodes: Vec::new(),
            parameters: Vec::new(),
            outputs: Vec::new(),
        };
        for id in self.node_ids().filter(|id| needed[id.0]) {
            let mut node = self.node(id).clone();
            if inputs.contains(&id) {
                node.op = Op::Input;
                node.inputs.clear();
                node.params.clear();
            }
            node.inputs = node.inputs.iter().filter_map(|i| node_map[i.0]).collect();
            for p in &mut node.params {
                *p = *param_map[p.0].get_or_insert_with(|| {
                    part.parameters.push(self.parameters[p.0].clone());
                    ParamId(part.parameters.len() - 1)
                });
            }
            node_map[id.0] = Some(NodeId(part.nodes.len()));
            part.nodes.push(node);
        }
        for (name, id) in outputs {
            if let Some(mapped) = node_map[id.0] {
                part.outputs.push((name.clone(), mapped));
            }
        }
        Ok(part)
    }
}
