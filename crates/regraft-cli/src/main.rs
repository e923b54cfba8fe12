//! The command line of Regraft
#![warn(missing_docs)]
fn main() {}
