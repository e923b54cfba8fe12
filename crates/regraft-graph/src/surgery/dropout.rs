//! Changes how much a model drops.

use crate::graph::Graph;
use crate::op::Op;

/// Sets the probability of every dropout; 0 makes all of them the identity. Returns how many there are.
/// A probability outside `[0, 1]` is clamped.
pub fn set_dropout(graph: &mut Graph, p: f32) -> usize {
    let mut count = 0;
    for node in &mut graph.nodes {
        if let Op::Dropout { p: old } = &mut node.op {
            *old = p.clamp(0.0, 1.0);
            count += 1;
        }
    }
    count
}

/// Sets stochastic depth so that the residual branch that is dropped most is dropped with probability `rate` and the
/// others in proportion; 0 makes all of them the identity, for good. Returns how many there are. A rate outside `[0, 1]`
/// is clamped.
pub fn set_drop_path_rate(graph: &mut Graph, rate: f32) -> usize {
    let mut rates: Vec<&mut f32> = graph
        .nodes
        .iter_mut()
        .filter_map(|node| match &mut node.op {
            Op::StochasticDepth { p } => Some(p),
            _ => None,
        })
        .collect();
    let highest = rates.iter().fold(0.0_f32, |highest, p| highest.max(**p));
    for p in &mut rates {
        if highest > 0.0 {
            **p *= rate.clamp(0.0, 1.0) / highest;
        }
    }
    rates.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GraphBuilder, Shape};

    #[test]
    fn the_rate_of_stochastic_depth_is_that_of_the_last_block() {
        let mut b = GraphBuilder::new();
        let mut x = b.input("x", Shape::batched(&[2, 3, 3]));
        for (i, p) in [0.0, 0.1, 0.2].into_iter().enumerate() {
            x = b.stochastic_depth(&format!("drop{i}"), x, p).unwrap();
        }
        let mut graph = b.finish(&[("y", x)]).unwrap();
        let rates = |graph: &Graph| -> Vec<f32> {
            let rate = |op| match op {
                Op::StochasticDepth { p } => Some(p),
                _ => None,
            };
            graph.nodes.iter().filter_map(|n| rate(n.op)).collect()
        };
        assert_eq!(set_drop_path_rate(&mut graph, 0.4), 3);
        assert_eq!(rates(&graph), [0.0, 0.2, 0.4]);
        assert_eq!(set_drop_path_rate(&mut graph, 0.0), 3);
        assert_eq!(rates(&graph), [0.0; 3]);
        assert_eq!(set_drop_path_rate(&mut graph, 0.4), 3);
        assert_eq!(rates(&graph), [0.0; 3]);
    }
}
