//! Set-up, checks, demo and benchmarks of the workspace.
fn main() {}
