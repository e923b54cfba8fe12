//! Folds batch norms that use running statistics into the convolution before them.

use crate::error::GraphError;
use crate::graph::{Graph, NodeId};
use crate::op::{BatchNorm2d, Op};
use crate::parameter::{Init, ParamId, Parameter, ParameterKind};
use crate::state_dict::{HostTensor, StateDict};

/// A graph without foldable batch norms, and how to compute its weights from the original ones.
///
/// The folded layers keep their names and gain a bias, so the folded state dict has other values under the same keys;
/// it is for executing, never for saving.
#[derive(Debug, Clone)]
pub struct Fold {
    /// The graph to execute.
    pub graph: Graph,
    steps: Vec<FoldStep>,
}

#[derive(Debug, Clone)]
struct FoldStep {
    weight: String,
    bias: Option<String>,
    folded_bias: String,
    /// Names of weight, bias, running mean and running variance of the batch norm.
    norm: [String; 4],
    eps: f32,
}

impl Fold {
    /// The values of the folded graph's parameters.
    ///
    /// # Errors
    /// [`GraphError::MissingValue`] and [`GraphError::ValueShape`] if `state` does not fit the original graph.
    pub fn apply(&self, state: &StateDict) -> Result<StateDict, GraphError> {
        let mut folded = StateDict::new();
        for step in &self.steps {
            step.apply(state, &mut folded)?;
        }
        for p in self.graph.parameters() {
            if folded.get(&p.name).is_none() {
                folded.insert(p.name.clone(), state.value(&p.name, &p.shape)?.clone());
            }
        }
        Ok(folded)
    }
}

impl FoldStep {
    /// `w' = w * s`, `b' = beta + (b - mean) * s` with `s = gamma / sqrt(var + eps)`, in double precision so that
    /// folding adds one rounding only.
    fn apply(&self, state: &StateDict, folded: &mut StateDict) -> Result<(), GraphError> {
        let missing = |name: &String| GraphError::MissingValue { name: name.clone() };
        let weight = state
            .get(&self.weight)
            .ok_or_else(|| missing(&self.weight))?;
        let channels = weight.shape.first().copied().unwrap_or(0);
        let of = |name: &String| state.value(name, &[channels]).map(|t| &t.data);
        let [gamma, beta, mean, var] = &self.norm;
        let (gamma, beta, mean, var) = (of(gamma)?, of(beta)?, of(mean)?, of(var)?);
        let old_bias = self.bias.as_ref().map(&of).transpose()?;
        let mut new = weight.clone();
        let mut bias = vec![0.0; channels];
        let per_channel = weight.data.len() / channels.max(1);
        for c in 0..channels {
            let scale = f64::from(gamma[c]) / (f64::from(var[c]) + f64::from(self.eps)).sqrt();
            for w in &mut new.data[c * per_channel..(c + 1) * per_channel] {
                *w = (f64::from(*w) * scale) as f32;
            }
            let old = old_bias.map_or(0.0, |b| f64::from(b[c]));
            bias[c] = (f64::from(beta[c]) + (old - f64::from(mean[c])) * scale) as f32;
        }
        folded.insert(self.weight.clone(), new);
        folded.insert(
            self.folded_bias.clone(),
            HostTensor {
                shape: vec![channels],
                data: bias,
            },
        );
        Ok(())
    }
}

/// Folds every batch norm that reads a convolution which nothing else reads. For graphs that
/// run with running statistics: a frozen prefix, or any model in evaluation.
///
/// # Errors
/// [`GraphError::NoOutputs`] never happens for a graph that has outputs.
pub fn fold_batch_norm(graph: &Graph) -> Result<Fold, GraphError> {
    let mut folded = graph.clone();
    let mut steps = Vec::new();
    let users = graph.users();
    let mut replaced: Vec<NodeId> = graph.node_ids().collect();
    for id in graph.node_ids() {
        let node = graph.node(id);
        let Op::BatchNorm2d(norm) = node.op else {
            continue;
        };
        let source = node.inputs[0];
        let is_output = graph.outputs.iter().any(|(_, o)| *o == source);
        if users[source.0].len() == 1
            && !is_output
            && matches!(graph.node(source).op, Op::Conv2d(_))
        {
            steps.push(fold_into(&mut folded, source, id, norm));
            replaced[id.0] = source;
        }
    }
    for node in &mut folded.nodes {
        for input in &mut node.inputs {
            *input = replaced[input.0];
        }
    }
    let outputs: Vec<_> = folded
        .outputs
        .iter()
        .map(|(n, id)| (n.clone(), replaced[id.0]))
        .collect();
    Ok(Fold {
        graph: folded.with_outputs(&outputs)?,
        steps,
    })
}

fn fold_into(folded: &mut Graph, source: NodeId, norm_id: NodeId, norm: BatchNorm2d) -> FoldStep {
    let name_of = |p: &ParamId| folded.parameters[p.0].name.clone();
    let params = &folded.nodes[source.0].params;
    let weight = name_of(&params[0]);
    let bias = params.get(1).map(name_of);
    let norm_params = &folded.nodes[norm_id.0].params;
    let norm_names = [0, 1, 2, 3].map(|i| name_of(&norm_params[i]));
    let folded_bias = bias
        .clone()
        .unwrap_or_else(|| format!("{}.bias", folded.nodes[source.0].name));
    if bias.is_none() {
        folded.parameters.push(Parameter {
            name: folded_bias.clone(),
            shape: vec![norm.channels],
            kind: ParameterKind::Bias,
            init: Init::Zeros,
            trainable: false,
        });
        let id = ParamId(folded.parameters.len() - 1);
        folded.nodes[source.0].params.push(id);
    }
    if let Op::Conv2d(conv) = &mut folded.nodes[source.0].op {
        conv.bias = true;
    }
    FoldStep {
        weight,
        bias,
        folded_bias,
        norm: norm_names,
        eps: norm.eps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Conv2d, GraphBuilder, Shape};

    fn conv_norm_relu() -> Graph {
        let mut b = GraphBuilder::new();
        let x = b.input("image", Shape::batched(&[1, 1, 1]));
        let x = b.conv2d("conv", x, Conv2d::new(1, 2, 1)).unwrap();
        let x = b
            .batch_norm2d(
                "bn",
                x,
                BatchNorm2d {
                    eps: 0.0,
                    ..BatchNorm2d::new(2)
                },
            )
            .unwrap();
        let x = b.activation("relu", x, Activation::Relu).unwrap();
        b.finish(&[("out", x)]).unwrap()
    }

    #[test]
    fn folding_moves_scale_and_shift_into_the_convolution() {
        let fold = fold_batch_norm(&conv_norm_relu()).unwrap();
        let names: Vec<_> = fold.graph.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["image", "conv", "relu"]);
        let tensor = |shape: &[usize], data: &[f32]| HostTensor {
            shape: shape.to_vec(),
            data: data.to_vec(),
        };
        let mut state = StateDict::new();
        state.insert("conv.weight", tensor(&[2, 1, 1, 1], &[1.0, 3.0]));
        state.insert("bn.weight", tensor(&[2], &[2.0, 1.0]));
        state.insert("bn.bias", tensor(&[2], &[0.5, 0.0]));
        state.insert("bn.running_mean", tensor(&[2], &[1.0, 2.0]));
        state.insert("bn.running_var", tensor(&[2], &[4.0, 0.25]));
        let folded = fold.apply(&state).unwrap();
        assert_eq!(folded.get("conv.weight").unwrap().data, [1.0, 6.0]);
        assert_eq!(folded.get("conv.bias").unwrap().data, [-0.5, -4.0]);
        assert_eq!(folded.len(), 2);
        folded.check(&fold.graph).unwrap();
    }

    #[test]
    fn a_convolution_that_is_read_twice_is_left_alone() {
        let mut b = GraphBuilder::new();
        let x = b.input("image", Shape::batched(&[2, 1, 1]));
        let conv = b.conv2d("conv", x, Conv2d::new(2, 2, 1)).unwrap();
        let norm = b.batch_norm2d("bn", conv, BatchNorm2d::new(2)).unwrap();
        let sum = b.add_values("add", conv, norm).unwrap();
        let graph = b.finish(&[("out", sum)]).unwrap();
        assert_eq!(fold_batch_norm(&graph).unwrap().graph, graph);
    }
}
