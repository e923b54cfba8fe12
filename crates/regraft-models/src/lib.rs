//! The zoo: one file a family, variants as rows of a table
#![warn(missing_docs)]
