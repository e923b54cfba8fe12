//! Strategies, optimizers, the training loop and the feature cache
#![warn(missing_docs)]

mod error;
pub mod feature_cache;
pub mod init;
mod loss;
mod optimizer;

pub use error::TrainError;
pub use loss::{BatchLoss, CrossEntropy};
pub use optimizer::{AdamConfig, Optimizer, ParamGroup, SgdConfig, UpdateRule};
