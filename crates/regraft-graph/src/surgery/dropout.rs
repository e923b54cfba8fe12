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
