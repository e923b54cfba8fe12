//! Strategies, optimizers, the training loop and the feature cache
#![warn(missing_docs)]

pub mod config;
mod error;
pub mod feature_cache;
pub mod init;
mod loss;
mod optimizer;
pub mod recipe;
mod strategy;

pub use config::{TrainConfig, TrainSettings};
pub use error::TrainError;
pub use loss::{BatchLoss, CrossEntropy};
pub use optimizer::{AdamConfig, Optimizer, ParamGroup, SgdConfig, UpdateRule};
pub use strategy::Strategy;
