//! Replaces the classifier by a new one.

use crate::error::GraphError;
use crate::graph::{Graph, NodeId};
use crate::infer::infer;
use crate::op::Op;
use crate::parameter::Init;
use crate::shape::Shape;

/// The head that is grafted on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadSpec {
    /// Number of classes: outputs of the new layer.
    pub num_classes: usize,
}

/// Replaces the output size of the classifier `head` by `spec.num_classes`; its parameters become fresh ones, trainable
/// and drawn as PyTorch draws those of a new layer. `head` is a linear layer or (as in SqueezeNet) a convolution.
///
/// # Errors
/// [`GraphError::UnknownNode`], [`GraphError::NotAHead`], or a shape error when what follows the head cannot take the
/// new number of classes. The graph is unchanged after an error.
pub fn replace_head(graph: &mut Graph, head: &str, spec: HeadSpec) -> Result<(), GraphError> {
    let id = graph.find(head)?;
    let node = graph.node(id).clone();
    let not_a_head = || GraphError::NotAHead {
        node: head.to_owned(),
        op: node.op.name(),
    };
    let (op, fan_in) = match node.op {
        Op::Linear(l) => (
            Op::Linear(crate::Linear {
                out_features: spec.num_classes,
                ..l
            }),
            l.in_features,
        ),
        Op::Conv2d(c) if c.groups == 1 => {
            let conv = crate::Conv2d {
                out_channels: spec.num_classes,
                ..c
            };
            (Op::Conv2d(conv), conv.weight_shape()[1..].iter().product())
        }
        _ => return Err(not_a_head()),
    };
    if spec.num_classes == 0 {
        return Err(GraphError::InvalidOp {
            node: head.to_owned(),
            op: node.op.name(),
            problem: "a head needs at least one class".to_owned(),
        });
    }
    let mut replaced = graph.clone();
    for p in &node.params {
        let parameter = &mut replaced.parameters[p.0];
        parameter.shape[0] = spec.num_classes;
        parameter.init = Init::torch_default(fan_in);
        parameter.trainable = true;
    }
    replaced.nodes[id.0].op = op;
    infer_from(&mut replaced, id)?;
    *graph = replaced;
    Ok(())
}

/// Infers the shapes again from a node on.
fn infer_from(graph: &mut Graph, first: NodeId) -> Result<(), GraphError> {
    for id in first.0..graph.nodes.len() {
        let node = &graph.nodes[id];
        if node.op != Op::Input {
            let inputs: Vec<&Shape> = node
                .inputs
                .iter()
                .map(|i| &graph.nodes[i.0].shape)
                .collect();
            let shape = infer(&node.name, &node.op, &inputs)?;
            graph.nodes[id].shape = shape;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Conv2d, GraphBuilder, Linear};

    #[test]
    fn a_convolutional_head_changes_everything_behind_it() {
        let mut b = GraphBuilder::new();
        let x = b.input("image", Shape::batched(&[4, 8, 8]));
        let x = b
            .conv2d("classifier.1", x, Conv2d::new(4, 1000, 1).bias())
            .unwrap();
        let x = b.activation("classifier.2", x, Activation::Relu).unwrap();
        let x = b.global_avg_pool("pool", x).unwrap();
        let x = b.flatten("flatten", x).unwrap();
        let mut graph = b.finish(&[("logits", x)]).unwrap();
        replace_head(&mut graph, "classifier.1", HeadSpec { num_classes: 3 }).unwrap();
        assert_eq!(graph.shape(x), &Shape::batched(&[3]));
        assert_eq!(
            graph.parameter_named("classifier.1.weight").unwrap().shape,
            [3, 4, 1, 1]
        );
        assert_eq!(
            graph.parameter_named("classifier.1.bias").unwrap().shape,
            [3]
        );
    }

    #[test]
    fn a_head_that_does_not_fit_changes_nothing() {
        let mut b = GraphBuilder::new();
        let x = b.input("x", Shape::batched(&[4]));
        let x = b.linear("fc1", x, Linear::new(4, 4)).unwrap();
        let x = b.linear("fc2", x, Linear::new(4, 2)).unwrap();
        let mut graph = b.finish(&[("logits", x)]).unwrap();
        let before = graph.clone();
        let error = replace_head(&mut graph, "fc1", HeadSpec { num_classes: 3 }).unwrap_err();
        assert!(matches!(error, GraphError::ShapeMismatch { node, .. } if node == "fc2"));
        assert_eq!(graph, before);
    }

    #[test]
    fn only_a_layer_with_outputs_can_be_replaced() {
        let mut b = GraphBuilder::new();
        let x = b.input("x", Shape::batched(&[4]));
        let x = b.linear("fc", x, Linear::new(4, 4)).unwrap();
        let x = b.activation("relu", x, Activation::Relu).unwrap();
        let mut graph = b.finish(&[("logits", x)]).unwrap();
        let error = replace_head(&mut graph, "relu", HeadSpec { num_classes: 3 }).unwrap_err();
        assert_eq!(
            error,
            GraphError::NotAHead {
                node: "relu".to_owned(),
                op: "relu"
            }
        );
        assert!(matches!(
            replace_head(&mut graph, "f", HeadSpec { num_classes: 3 }),
            Err(GraphError::UnknownNode { near, .. }) if near == ["fc"]
        ));
    }
}
