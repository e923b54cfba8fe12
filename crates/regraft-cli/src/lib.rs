//! This crate is the command line of Regraft: [`run`] reads arguments, calls the library `regraft` and prints what came
//! of it. It is the only crate that prints.
//!
//! One verb is one file in `args` (what it takes) and one in `commands` (what it does). What a verb finds out is a
//! `Report`, which `output` shows as text or JSON on standard output; progress, logs and errors go to standard error.
#![warn(missing_docs)]

mod args;
mod commands;
mod exit_status;
mod failure;
mod image_files;
mod interrupt;
mod logging;
mod machine;
mod npy;
mod numbers;
mod output;
mod panics;
mod progress;
mod subject;
mod table;

pub use args::Cli;

use crate::exit_status::ExitStatus;
use crate::output::Output;
use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line as if called with `args`, of which the first is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    panics::report_as_bugs(|| {
        let cli = match Cli::try_parse_from(args) {
            Ok(cli) => cli,
            Err(error) => {
                // Help and version are errors to clap as well, with exit code 0; a closed pipe is no failure.
                let _ = error.print();
                return ExitStatus::from_usage(&error);
            }
        };
        let mut output = Output::new(&cli.global);
        logging::start(&cli.global, &output);
        match commands::run(cli, &mut output) {
            Ok(status) => status,
            Err(error) => failure::report(&error, &output),
        }
    })
    .into()
}
