//! Metrics of classifiers
#![warn(missing_docs)]
