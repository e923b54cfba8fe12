//! Marks parameters as frozen or trainable, by name.

use crate::error::GraphError;
use crate::graph::Graph;
use crate::pattern::NamePattern;

/// Freezes the parameters whose name matches. Returns how many tensors matched.
///
/// A batch norm whose affine parameters are frozen uses its running statistics, also in training, and never changes
/// them: frozen means frozen.
///
/// # Errors
/// [`GraphError::PatternMatchesNothing`].
pub fn freeze(graph: &mut Graph, pattern: &NamePattern) -> Result<usize, GraphError> {
    set_trainable(graph, pattern, false)
}

/// Makes the parameters trainable whose name matches. Returns how many tensors matched.
///
/// # Errors
/// [`GraphError::PatternMatchesNothing`].
pub fn unfreeze(graph: &mut Graph, pattern: &NamePattern) -> Result<usize, GraphError> {
    set_trainable(graph, pattern, true)
}

/// Freezes every parameter.
pub fn freeze_all(graph: &mut Graph) {
    for p in &mut graph.parameters {
        p.trainable = false;
    }
}

fn set_trainable(
    graph: &mut Graph,
    pattern: &NamePattern,
    trainable: bool,
) -> Result<usize, GraphError> {
    let mut matched = 0;
    for p in graph
        .parameters
        .iter_mut()
        .filter(|p| !p.kind.is_buffer() && pattern.matches(&p.name))
    {
        p.trainable = trainable;
        matched += 1;
    }
    if matched == 0 {
        return Err(GraphError::PatternMatchesNothing {
            pattern: pattern.as_str().to_owned(),
            count: graph
                .parameters
                .iter()
                .filter(|p| !p.kind.is_buffer())
                .count(),
            example: graph
                .parameters
                .first()
                .map(|p| p.name.clone())
                .unwrap_or_default(),
        });
    }
    Ok(matched)
}
