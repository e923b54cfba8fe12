//! Transfer learning: the facade over Regraft's crates
#![warn(missing_docs)]
