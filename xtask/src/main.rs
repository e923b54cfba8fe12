//! Set-up, checks, demo and benchmarks of the workspace: `cargo xtask <command>`.
//!
//! Each command is one file. It depends on no crate of the workspace, so it builds in seconds
//! and runs before oneDNN is there.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this binary talks to people"
)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod demo;
mod process;
mod product;
mod setup;
mod test;
mod tidy;
mod workspace;

/// Set-up, checks and demo of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install what oneDNN's build needs: cmake, a build tool, a C++ compiler
    Setup,
    /// Run every check: formatting, lints, tests, documentation, layout, licences
    Test(test::Args),
    /// Check file headers, file sizes, names, and which crate may depend on which
    Tidy,
    /// Train on real photos with real weights, from nothing, in a minute after the build
    Demo,
    /// Measure against PyTorch on the same threads, alternating
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup => setup::run(),
        Command::Test(args) => test::run(args),
        Command::Tidy => tidy::run(),
        Command::Demo => demo::run(),
        Command::Bench(args) => bench::run(&args),
    }
}
