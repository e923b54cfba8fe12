//! The frozen boundary: what depends on no trainable parameter is computed once per sample.

use crate::error::GraphError;
use crate::graph::{Graph, NodeId};
use crate::op::Op;

/// Where a graph is cut in two: the nodes whose values cross from the frozen part to the trained one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The last frozen nodes, in topological order.
    pub nodes: Vec<NodeId>,
}

impl Cut {
    /// Elements that cross the cut for one sample.
    pub fn sample_len(&self, graph: &Graph) -> usize {
        self.nodes
            .iter()
            .map(|n| graph.shape(*n).sample_len())
            .sum()
    }
}

/// For each node, whether its value is the same in every epoch: neither it nor anything before it is trained or random.
///
/// Dropout between two frozen layers belongs to the frozen part and is the identity; dropout that feeds only trainable
/// layers (as before a new head) belongs to them and stays random, so the boundary lies before it. Stochastic depth belongs
/// to the residual branch that it drops: it is random if that is trained.
pub fn frozen_nodes(graph: &Graph) -> Vec<bool> {
    let random = random_dropouts(graph);
    let mut frozen = vec![false; graph.nodes.len()];
    for id in graph.node_ids() {
        frozen[id.0] = !graph.is_trainable(id)
            && !random[id.0]
            && graph.node(id).inputs.iter().all(|input| frozen[input.0]);
    }
    frozen
}

/// For each node, whether it is a dropout that stays random: every parameter that is next behind it is trainable.
fn random_dropouts(graph: &Graph) -> Vec<bool> {
    // Whether a value meets a frozen, or a trainable, layer first on some path behind it.
    let mut meets_frozen = vec![false; graph.nodes.len()];
    let mut meets_trainable = vec![false; graph.nodes.len()];
    for id in graph.node_ids().rev() {
        let node = graph.node(id);
        let (to_frozen, to_trainable) = if node.params.is_empty() {
            (meets_frozen[id.0], meets_trainable[id.0])
        } else {
            (!graph.is_trainable(id), graph.is_trainable(id))
        };
        for input in &node.inputs {
            meets_frozen[input.0] |= to_frozen;
            meets_trainable[input.0] |= to_trainable;
        }
    }
    graph
        .node_ids()
        .map(|id| {
            matches!(graph.node(id).op, Op::Dropout { .. })
                && meets_trainable[id.0]
                && !meets_frozen[id.0]
        })
        .collect()
}

/// The boundary between the frozen part and the rest. Without anything trainable the cut is at the outputs; with
/// everything trainable it is at the inputs.
pub fn frozen_boundary(graph: &Graph) -> Cut {
    let frozen = frozen_nodes(graph);
    let mut crosses = vec![false; graph.nodes.len()];
    for id in graph.node_ids().filter(|id| !frozen[id.0]) {
        for input in graph.node(id).inputs.iter().filter(|i| frozen[i.0]) {
            crosses[input.0] = true;
        }
    }
    for (_, id) in graph.outputs.iter().filter(|(_, id)| frozen[id.0]) {
        crosses[id.0] = true;
    }
    Cut {
        nodes: graph.node_ids().filter(|id| crosses[id.0]).collect(),
    }
}

/// Cuts a graph in two: the prefix computes the cut's nodes (as outputs of their names), the suffix takes them as
/// inputs of the same names. Parameters keep names and marks.
///
/// # Errors
/// [`GraphError::NoOutputs`] if the cut or the graph has none.
pub fn split(graph: &Graph, cut: &Cut) -> Result<(Graph, Graph), GraphError> {
    let crossing: Vec<_> = cut
        .nodes
        .iter()
        .map(|id| (graph.node(*id).name.clone(), *id))
        .collect();
    Ok((
        graph.extract(&[], &crossing)?,
        graph.extract(&cut.nodes, &graph.outputs)?,
    ))
}

/// Joins what [`split`] cut: the suffix's inputs become the prefix's outputs of the same names.
///
/// # Errors
/// [`GraphError::UnknownNode`] if an input of the suffix is no output of the prefix.
pub fn join(prefix: &Graph, suffix: &Graph) -> Result<Graph, GraphError> {
    let mut builder = crate::GraphBuilder::resume(prefix.clone());
    let mut map = vec![None; suffix.nodes.len()];
    for id in suffix.node_ids() {
        let node = suffix.node(id);
        let joined = if node.op == Op::Input {
            prefix
                .outputs
                .iter()
                .find(|(name, _)| *name == node.name)
                .map(|(_, id)| *id)
                .ok_or_else(|| GraphError::UnknownNode {
                    name: node.name.clone(),
                    near: prefix.outputs.iter().map(|(n, _)| n.clone()).collect(),
                })?
        } else {
            let inputs: Vec<_> = node.inputs.iter().filter_map(|i| map[i.0]).collect();
            let params = node
                .params
                .iter()
                .map(|p| builder.adopt(suffix.parameter(*p)))
                .collect();
            builder.add(&node.name, node.op, &inputs, params)?
        };
        map[id.0] = Some(joined);
    }
    let outputs: Vec<_> = suffix
        .outputs
        .iter()
        .filter_map(|(name, id)| Some((name.as_str(), map[id.0]?)))
        .collect();
    builder.finish(&outputs)
}
