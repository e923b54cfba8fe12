//! Strategies, optimizers, the training loop and the feature cache
#![warn(missing_docs)]

pub mod benchmark;
mod classifier;
pub mod config;
mod embed;
mod error;
mod evaluate;
pub mod event;
pub mod feature_cache;
mod features;
mod fit;
mod frozen_part;
pub mod init;
mod loss;
mod optimizer;
mod predict;
mod preprocessing;
pub mod pretrained;
pub mod recipe;
mod recorder;
pub mod run_folder;
mod strategy;
mod train;

pub use classifier::{Classifier, InferenceOptions};
pub use config::{TrainConfig, TrainSettings};
pub use embed::{Embeddings, Layer};
pub use error::TrainError;
pub use event::{EpochRecord, Event, Listener};
pub use loss::{BatchLoss, CrossEntropy};
pub use optimizer::{AdamConfig, Optimizer, ParamGroup, SgdConfig, UpdateRule};
pub use predict::Prediction;
pub use strategy::Strategy;
pub use train::{Metrics, TrainReport, train};
