//! What a model consists of, layer by layer: names, shapes, parameters, multiply-adds, frozen or trained.

use crate::graph::{Graph, NodeId};
use crate::op::Op;
use crate::parameter::Parameter;
use crate::shape::Shape;

/// One node of a model, in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryRow {
    /// Path of the node.
    pub name: String,
    /// Its operator.
    pub op: &'static str,
    /// Shape of its output.
    pub shape: Shape,
    /// Elements of its parameters, without running statistics.
    pub parameters: usize,
    /// How many of them training changes.
    pub trainable: usize,
    /// Multiply-adds per sample (convolutions and linear layers).
    pub multiply_adds: u64,
    /// Whether it is computed once per sample: it lies before the frozen boundary.
    pub frozen: bool,
}

/// A model in numbers; see [`Graph::summary`].
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// One row a node, inputs before users.
    pub rows: Vec<SummaryRow>,
    /// Elements of all parameters, without running statistics.
    pub parameters: usize,
    /// How many of them training changes.
    pub trainable: usize,
    /// Multiply-adds per sample.
    pub multiply_adds: u64,
    /// The part of them that lies before the frozen boundary.
    pub frozen_multiply_adds: u64,
}

impl Graph {
    /// Counts parameters and multiply-adds of every node.
    pub fn summary(&self) -> Summary {
        let frozen = crate::surgery::frozen_nodes(self);
        let rows: Vec<_> = self
            .node_ids()
            .map(|id| {
                let node = self.node(id);
                let count = |keep: fn(&Parameter) -> bool| {
                    node.params
                        .iter()
                        .map(|p| self.parameter(*p))
                        .filter(|p| keep(p))
                        .map(Parameter::len)
                        .sum()
                };
                SummaryRow {
                    name: node.name.clone(),
                    op: node.op.name(),
                    shape: node.shape.clone(),
                    parameters: count(|p| !p.kind.is_buffer()),
                    trainable: count(|p| p.trainable),
                    multiply_adds: self.multiply_adds(id),
                    frozen: frozen[id.index()],
                }
            })
            .collect();
        Summary {
            parameters: self.parameter_count(),
            trainable: self.trainable_parameter_count(),
            multiply_adds: rows.iter().map(|r| r.multiply_adds).sum(),
            frozen_multiply_adds: rows
                .iter()
                .filter(|r| r.frozen)
                .map(|r| r.multiply_adds)
                .sum(),
            rows,
        }
    }

    /// Multiply-adds of one node per sample.
    pub fn multiply_adds(&self, id: NodeId) -> u64 {
        let node = self.node(id);
        let out = node.shape.sample_len() as u64;
        match &node.op {
            Op::Conv2d(c) => {
                let per_output = c.in_channels / c.groups * c.kernel_size[0] * c.kernel_size[1];
                out * per_output as u64
            }
            Op::Linear(l) => out * l.in_features as u64,
            _ => 0,
        }
    }
}
