//! This crate compiles a [`Graph`](regraft_graph::Graph) into a plan and runs it: a [`Session`] holds the parameters of
//! a model and a plan for each batch size. A plan is an ordered list of kernel calls over one arena that is laid out in
//! advance; nothing is allocated in a step, nothing is kept for the backward pass that it does not read, and nothing is
//! computed for a frozen parameter.
//!
//! Values of rank 4 are channels-last in memory (`[batch, height, width, channels]`), whatever their shape is called in
//! the graph; parameters are in PyTorch's order.
//!
//! The loss is not part of a plan: write the gradient of any loss into [`Step::output_gradient_mut`].
//!
//! ```
//! use regraft_engine::{Mode, Precision, Session, SessionOptions};
//! use regraft_graph::{GraphBuilder, HostTensor, Linear, Shape, StateDict};
//!
//! let mut b = GraphBuilder::new();
//! let x = b.input("x", Shape::batched(&[2]));
//! let y = b.linear("fc", x, Linear::new(2, 1))?;
//! let graph = b.finish(&[("y", y)])?;
//! let mut state = StateDict::new();
//! state.insert("fc.weight", HostTensor { shape: vec![1, 2], data: vec![3.0, 4.0] });
//! state.insert("fc.bias", HostTensor { shape: vec![1], data: vec![0.5] });
//!
//! let mut session = Session::new(&graph, &state, SessionOptions { mode: Mode::Train, precision: Precision::F32 })?;
//! let mut step = session.batch(1)?;
//! step.input_mut("x")?.copy_from_slice(&[1.0, 10.0]);
//! step.forward(0)?;
//! assert_eq!(step.output("y")?, [43.5]);
//! step.output_gradient_mut("y")?.fill(1.0);
//! step.backward()?;
//! let weight = session.trainable()[0].range.clone();
//! assert_eq!(session.values_and_gradients()?.1[weight], [1.0, 10.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

mod arena;
mod cpu;
mod error;
mod lower;
mod parameters;
mod program;
mod session;

pub use error::EngineError;
pub use parameters::ParamSlot;
pub use regraft_onednn::{for_each_chunk_mut, set_threads, threads};
pub use session::{KernelCost, Mode, PlanStats, Precision, Session, SessionOptions, Step};

/// The version of the kernel library, for example `oneDNN 3.14.1`.
pub fn kernel_library() -> String {
    format!("oneDNN {}", regraft_onednn::version())
}
