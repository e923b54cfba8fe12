//! Strategies, optimizers, the training loop and the feature cache
#![warn(missing_docs)]
