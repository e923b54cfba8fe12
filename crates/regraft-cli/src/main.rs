//! The binary `regraft`; everything is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    regraft_cli::run(std::env::args_os())
}
