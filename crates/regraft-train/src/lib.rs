//! Strategies, optimizers, the training loop and the feature cache
#![warn(missing_docs)]

pub mod config;
mod error;
pub mod event;
pub mod feature_cache;
mod features;
mod fit;
mod frozen_part;
pub mod init;
mod loss;
mod optimizer;
mod preprocessing;
pub mod pretrained;
pub mod recipe;
mod recorder;
pub mod run_folder;
mod strategy;
mod train;

pub use config::{TrainConfig, TrainSettings};
pub use error::TrainError;
pub use event::{EpochRecord, Event, Listener};
pub use loss::{BatchLoss, CrossEntropy};
pub use optimizer::{AdamConfig, Optimizer, ParamGroup, SgdConfig, UpdateRule};
pub use strategy::Strategy;
pub use train::{Metrics, TrainReport, train};
