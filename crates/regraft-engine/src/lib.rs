//! The training engine: autodiff over a graph, memory plan, executors
#![warn(missing_docs)]
