//! This crate is the zoo: [`build`] turns a name into a [`Model`], a graph with the few facts that transfer learning
//! needs (head, features, stages, preprocessing). [`models`] is the table behind it. One file is one family, a variant is
//! a row of its table, and a node's path is the key of the reference implementation's state dict.
//!
//! No weights are read here and nothing is executed.
//!
//! ```
//! use regraft_models::{BuildOptions, build};
//!
//! let mut model = build("resnet18", &BuildOptions::default())?;
//! model.replace_head(3)?;
//! model.train_last_stages(1)?;
//!
//! assert_eq!(model.graph.trainable_parameter_count(), 512 * 3 + 3);
//! # Ok::<(), regraft_models::ModelError>(())
//! ```
#![warn(missing_docs)]

mod entry;
mod error;
mod families;
mod layers;
mod model;
mod preprocessing;
mod registry;
pub mod synthetic;

pub use entry::{ModelEntry, WeightsEntry, WeightsSource};
pub use error::ModelError;
pub use model::{BuildOptions, Model, build};
pub use preprocessing::{Interpolation, Preprocessing};
pub use registry::{Selection, default_model, find, models};
