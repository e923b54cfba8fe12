//! What can go wrong while a graph is built or operated on.

use crate::shape::Shape;

/// An error of this crate. Every variant names the node or parameter it is about.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// An operator got an input of the wrong shape.
    #[error("node `{node}` ({op}) expects {expected}, got {got}")]
    ShapeMismatch {
        /// Path of the node.
        node: String,
        /// Name of the operator.
        op: &'static str,
        /// What the operator takes, in words.
        expected: String,
        /// The shape that it was given.
        got: Shape,
    },
    /// Two inputs of an operator do not fit each other.
    #[error("node `{node}` ({op}) cannot combine {left} with {right}")]
    IncompatibleInputs {
        /// Path of the node.
        node: String,
        /// Name of the operator.
        op: &'static str,
        /// Shape of the first input.
        left: Shape,
        /// Shape of the input that does not fit it.
        right: Shape,
    },
    /// The window of a convolution or pooling is larger than its padded input.
    #[error(
        "node `{node}` ({op}): a window of {window} does not fit the padded input of {input} along {axis}; use larger images"
    )]
    WindowTooLarge {
        /// Path of the node.
        node: String,
        /// Name of the operator.
        op: &'static str,
        /// `height` or `width`.
        axis: &'static str,
        /// Extent of the (dilated) window.
        window: usize,
        /// Extent of the padded input.
        input: usize,
    },
    /// A hyper-parameter of an operator makes no sense.
    #[error("node `{node}` ({op}): {problem}")]
    InvalidOp {
        /// Path of the node.
        node: String,
        /// Name of the operator.
        op: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A second node of the same name.
    #[error("two nodes are named `{name}`")]
    DuplicateNode {
        /// The name.
        name: String,
    },
    /// A second parameter of the same name but another shape.
    #[error("two parameters are named `{name}`")]
    DuplicateParameter {
        /// The name.
        name: String,
    },
    /// No node of this name.
    #[error("no node is named `{name}`{}", did_you_mean(.near))]
    UnknownNode {
        /// The name that was asked for.
        name: String,
        /// Names that look like it.
        near: Vec<String>,
    },
    /// A pattern that matches no parameter.
    #[error(
        "the pattern `{pattern}` matches none of the {count} parameters (they are named like `{example}`)"
    )]
    PatternMatchesNothing {
        /// The pattern.
        pattern: String,
        /// How many parameters there are.
        count: usize,
        /// The name of one of them.
        example: String,
    },
    /// A pattern that cannot be read.
    #[error("the pattern `{pattern}` cannot be read: {problem}")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// Why not.
        problem: String,
    },
    /// The node to be replaced is no layer whose output size is a number of classes.
    #[error(
        "node `{node}` is a {op}, not a linear layer or convolution that a new head could replace"
    )]
    NotAHead {
        /// Path of the node.
        node: String,
        /// Name of its operator.
        op: &'static str,
    },
    /// A value for this parameter is missing from a state dict.
    #[error("parameter `{name}` has no value")]
    MissingValue {
        /// Name of the parameter.
        name: String,
    },
    /// A value in a state dict has another shape than its parameter.
    #[error("parameter `{name}` has shape {expected:?}, its value has {got:?}")]
    ValueShape {
        /// Name of the parameter.
        name: String,
        /// Shape in the graph.
        expected: Vec<usize>,
        /// Shape of the value.
        got: Vec<usize>,
    },
    /// A graph without outputs.
    #[error("the graph has no outputs")]
    NoOutputs,
}

fn did_you_mean(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; did you mean `{}`?", names.join("`, `"))
    }
}
