//! What can go wrong while a plan is compiled or run.

use regraft_graph::GraphError;
use regraft_onednn::OnednnError;

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The graph or its values do not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The kernel library refused a call.
    #[error("kernel library: {0}")]
    Kernel(#[from] OnednnError),
    /// A kernel for this node could not be made.
    #[error("no kernel for node `{node}`: {source}")]
    NoKernel {
        /// Path of the node.
        node: String,
        /// What the kernel library said.
        source: OnednnError,
    },
    /// An operator that this engine does not know.
    #[error("node `{node}`: the operator `{op}` is not supported")]
    UnsupportedOp {
        /// Path of the node.
        node: String,
        /// Name of its operator.
        op: &'static str,
    },
    /// No input or output of this name.
    #[error("the plan has no {what} `{name}`; it has `{}`", .known.join("`, `"))]
    UnknownName {
        /// `input`, `output` or `output gradient`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A batch of no samples.
    #[error("the batch size must be at least 1")]
    EmptyBatch,
    /// Batch statistics of a single value are meaningless.
    #[error(
        "node `{node}` would normalise each channel over a single value (batch size {batch}); use a larger batch or larger images"
    )]
    SingleValueBatchNorm {
        /// Path of the node.
        node: String,
        /// The batch size.
        batch: usize,
    },
    /// Backward in a session that was made for evaluation, or before forward.
    #[error(
        "the backward pass needs a session in training mode, with something trainable, after a forward pass"
    )]
    NoBackward,
}
