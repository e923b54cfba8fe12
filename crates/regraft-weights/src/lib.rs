//! Checkpoints: safetensors and PyTorch files, hub and wheel downloads, load reports
#![warn(missing_docs)]
