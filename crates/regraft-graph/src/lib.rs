//! This crate holds the one idea of Regraft: **a model is data**. A [`Graph`] is a list of named nodes with named
//! parameters and explicit edges; everything that transfer learning does to a model is a short function from graph to
//! graph, in [`surgery`].
//!
//! Nothing is executed here: shapes are inferred, parameters are named and counted, and that is all. Shapes are
//! PyTorch's (`[batch, channels, height, width]`), whatever layout an executor chooses in memory, and a node's name is
//! the path of the module in the reference implementation, so that public checkpoints load as they are.
//!
//! ```
//! use regraft_graph::{Activation, Conv2d, GraphBuilder, Linear, Shape};
//!
//! let mut b = GraphBuilder::new();
//! let x = b.input("image", Shape::batched(&[3, 32, 32]));
//! let x = b.conv2d("conv1", x, Conv2d::new(3, 8, 3).stride(2).padding(1))?;
//! let x = b.activation("relu", x, Activation::Relu)?;
//! let x = b.global_avg_pool("avgpool", x)?;
//! let x = b.flatten("flatten", x)?;
//! let x = b.linear("fc", x, Linear::new(8, 10))?;
//! let graph = b.finish(&[("logits", x)])?;
//!
//! assert_eq!(graph.shape(x).to_string(), "[B, 10]");
//! assert!(graph.parameter_named("conv1.weight").is_some());
//! # Ok::<(), regraft_graph::GraphError>(())
//! ```
#![warn(missing_docs)]

mod builder;
mod error;
mod graph;
mod infer;
mod op;
mod parameter;
mod pattern;
mod shape;
mod state_dict;
mod summary;
pub mod surgery;

pub use builder::GraphBuilder;
pub use error::GraphError;
pub use graph::{Graph, Node, NodeId};
pub use op::{
    Activation, AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Conv2d, Linear, MaxPool2d, Op, Padding,
    SliceChannels,
};
pub use parameter::{Init, ParamId, Parameter, ParameterKind};
pub use pattern::NamePattern;
pub use shape::{Dim, Shape};
pub use state_dict::{HostTensor, StateDict};
pub use summary::{Summary, SummaryRow};
