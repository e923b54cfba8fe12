//! A model as data: named nodes, named parameters, explicit edges, and surgery on them
#![warn(missing_docs)]
