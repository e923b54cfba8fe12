//! What can go wrong when a model is looked up or built.

use regraft_graph::GraphError;

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No model of this name.
    #[error("no model is named `{name}`; {}", suggest(.near))]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// Names that look like it, best first.
        near: Vec<&'static str>,
    },
    /// The model exists, but not with weights of this tag.
    #[error("`{model}` has no weights tagged `{tag}`, only `{}`", .known.join("`, `"))]
    UnknownWeights {
        /// Name of the model.
        model: &'static str,
        /// The tag that was asked for, without the model's name.
        tag: String,
        /// The full tags that exist.
        known: Vec<&'static str>,
    },
    /// A size that the model cannot be built with.
    #[error("`{model}` cannot have {option} `{got}`; give a number from {min} to {max}")]
    OutOfRange {
        /// Name of the model.
        model: &'static str,
        /// The option, as its field is named.
        option: &'static str,
        /// The value that was asked for.
        got: usize,
        /// The smallest value that works.
        min: usize,
        /// The largest value that is allowed.
        max: usize,
    },
    /// The graph could not be built or changed.
    #[error("the graph of `{model}` cannot be built")]
    Graph {
        /// Name of the model.
        model: &'static str,
        /// The layer and what is wrong with it.
        #[source]
        source: GraphError,
    },
}

fn suggest(near: &[&str]) -> String {
    if near.is_empty() {
        "`regraft models` lists all".to_owned()
    } else {
        format!("did you mean `{}`?", near.join("`, `"))
    }
}
