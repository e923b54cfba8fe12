//! The command line as scripts and people meet it: the binary is run, its exit code and both streams are looked at.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod benchmark;
mod cache;
mod doctor;
mod embed;
mod evaluate;
mod fixture;
mod help;
mod inspect;
mod models;
mod predict;
mod train;
