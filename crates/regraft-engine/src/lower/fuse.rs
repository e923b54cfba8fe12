//! Which nodes run as one kernel: a layer, a residual sum behind it, an activation behind that.

use crate::session::Mode;
use regraft_graph::{Activation, Graph, NodeId, Op};

/// Nodes that run as one kernel; `root` alone in the simplest case.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// The layer.
    pub(super) root: NodeId,
    /// The other operand of the sum behind it.
    pub(super) residual: Option<NodeId>,
    /// The activation behind that.
    pub(super) activation: Option<Activation>,
    /// The node whose value the kernel computes.
    pub(super) last: NodeId,
}

/// The groups of a graph, in an order in which every group comes after what it reads. `random` tells which dropouts, of
/// elements or whole samples, are more than the identity.
pub(super) fn group(graph: &Graph, mode: Mode, random: &[bool]) -> Vec<Group> {
    let users = graph.users();
    let is_output = |id: NodeId| graph.outputs().iter().any(|(_, o)| *o == id);
    let only_user = |id: NodeId| match users[id.index()].as_slice() {
        [user] if !is_output(id) => Some(*user),
        _ => None,
    };
    // The last of the dropouts behind a node that do nothing, else the node.
    let behind_dropout = |mut id: NodeId| {
        while let Some(user) = only_user(id)
            && is_dropout(&graph.node(user).op)
            && !random[user.index()]
        {
            id = user;
        }
        id
    };
    let mut grouped = vec![false; graph.nodes().len()];
    let mut groups = Vec::new();
    for id in graph.node_ids() {
        if grouped[id.index()] {
            continue;
        }
        let mut group = Group {
            root: id,
            residual: None,
            activation: None,
            last: id,
        };
        let takes_residual = match graph.node(id).op {
            Op::Conv2d(_) | Op::BatchNorm2d(_) => true,
            Op::StochasticDepth { .. } => random[id.index()],
            _ => false,
        };
        let branch = behind_dropout(id);
        if takes_residual
            && let Some(sum) = only_user(branch)
            && graph.node(sum).op == Op::Add
            && !grouped[sum.index()]
            && let Some(other) = graph.node(sum).inputs.iter().find(|i| **i != branch)
        {
            group.residual = Some(*other);
            group.last = sum;
        }
        if takes_activation(&graph.node(id).op)
            && let Some(user) = only_user(behind_dropout(group.last))
            && let Op::Activation(activation) = graph.node(user).op
            && can_fuse(&graph.node(id).op, activation, &group, mode)
        {
            group.activation = Some(activation);
            group.last = user;
        }
        // The nodes between root and last are single-user chains of root.
        let mut inner = id;
        while inner != group.last {
            let Some(next) = only_user(inner) else { break };
            grouped[next.index()] = true;
            inner = next;
        }
        groups.push(group);
    }
    // A group runs where its last node stands: by then the other operand of its sum has been computed.
    groups.sort_by_key(|g| g.last);
    groups
}

fn is_dropout(op: &Op) -> bool {
    matches!(op, Op::Dropout { .. } | Op::StochasticDepth { .. })
}

fn takes_activation(op: &Op) -> bool {
    matches!(op, Op::Conv2d(_) | Op::BatchNorm2d(_) | Op::Linear(_))
}

/// In training the value before the activation is gone after fusion, so only activations fuse whose derivative can be
/// read off their output; a batch norm without residual computes that value again.
fn can_fuse(op: &Op, activation: Activation, group: &Group, mode: Mode) -> bool {
    match op {
        Op::BatchNorm2d(_) => match activation {
            Activation::Relu | Activation::Relu6 => true,
            Activation::Silu | Activation::HardSwish => group.residual.is_none(),
            _ => false,
        },
        _ => mode == Mode::Eval || from_output(activation),
    }
}

/// Whether the derivative of an activation is read off its output.
pub(super) fn from_output(activation: Activation) -> bool {
    matches!(
        activation,
        Activation::Relu | Activation::Relu6 | Activation::Sigmoid | Activation::Tanh
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_graph::{BatchNorm2d, Conv2d, GraphBuilder, Shape};

    /// ResNet's block with a projected shortcut: two batch norms meet in one sum.
    fn block() -> Graph {
        let mut b = GraphBuilder::new();
        let x = b.input("image", Shape::batched(&[2, 4, 4]));
        let main = b.conv2d("conv", x, Conv2d::new(2, 2, 1)).unwrap();
        let main = b.batch_norm2d("bn", main, BatchNorm2d::new(2)).unwrap();
        let side = b.conv2d("downsample.0", x, Conv2d::new(2, 2, 1)).unwrap();
        let side = b
            .batch_norm2d("downsample.1", side, BatchNorm2d::new(2))
            .unwrap();
        let sum = b.add_values("add", main, side).unwrap();
        let y = b.activation("relu", sum, Activation::Relu).unwrap();
        b.finish(&[("y", y)]).unwrap()
    }

    #[test]
    fn one_branch_takes_the_sum_and_runs_after_the_other() {
        let graph = block();
        let groups = group(&graph, Mode::Train, &[false; 7]);
        let names: Vec<_> = groups
            .iter()
            .map(|g| {
                (
                    graph.node(g.root).name.as_str(),
                    graph.node(g.last).name.as_str(),
                )
            })
            .collect();
        assert_eq!(
            names,
            [
                ("image", "image"),
                ("conv", "conv"),
                ("downsample.0", "downsample.0"),
                ("downsample.1", "downsample.1"),
                ("bn", "relu")
            ]
        );
        let fused = &groups[4];
        assert_eq!(fused.residual, Some(graph.find("downsample.1").unwrap()));
        assert_eq!(fused.activation, Some(Activation::Relu));
    }

    #[test]
    fn an_output_is_never_swallowed() {
        let mut b = GraphBuilder::new();
        let x = b.input("image", Shape::batched(&[2, 4, 4]));
        let conv = b.conv2d("conv", x, Conv2d::new(2, 2, 1)).unwrap();
        let relu = b.activation("relu", conv, Activation::Relu).unwrap();
        let graph = b.finish(&[("features", conv), ("y", relu)]).unwrap();
        assert!(
            group(&graph, Mode::Eval, &[false; 3])
                .iter()
                .all(|g| g.root == g.last)
        );
    }

    /// EfficientNet's block: stochastic depth between the batch norm and the sum.
    #[test]
    fn stochastic_depth_takes_the_sum_if_it_is_random_and_leaves_it_to_the_layer_else() {
        let mut b = GraphBuilder::new();
        let x = b.input("image", Shape::batched(&[2, 4, 4]));
        let y = b.conv2d("conv", x, Conv2d::new(2, 2, 1)).unwrap();
        let y = b.stochastic_depth("drop", y, 0.5).unwrap();
        let y = b.add_values("add", y, x).unwrap();
        let graph = b.finish(&[("y", y)]).unwrap();
        let drop = graph.find("drop").unwrap();
        let roots = |mode, random: &[bool]| -> Vec<_> {
            let groups = group(&graph, mode, random);
            let residual = groups.iter().find(|g| g.residual.is_some()).unwrap();
            assert_eq!(residual.residual, Some(x));
            assert_eq!(residual.last, y);
            groups.iter().map(|g| g.root).collect()
        };
        let conv = graph.find("conv").unwrap();
        assert_eq!(roots(Mode::Eval, &[false; 4]), [x, conv]);
        let random = [false, false, true, false];
        assert_eq!(roots(Mode::Train, &random), [x, conv, drop]);
    }
}
