//! What the libraries log, on standard error: warnings always, more with each `-v`.

use crate::args::GlobalArgs;
use crate::output::Output;
use indicatif::MultiProgress;
use std::io::{self, IsTerminal, Write};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Sends log events to standard error from now on.
pub(crate) fn start(args: &GlobalArgs, output: &Output) {
    let level = match (args.quiet, args.verbose) {
        (true, _) => Level::ERROR,
        (false, 0) => Level::WARN,
        (false, 1) => Level::INFO,
        (false, 2) => Level::DEBUG,
        (false, _) => Level::TRACE,
    };
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    // Fails only where logging was started already, in tests of this process.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(io::stderr().is_terminal() && !no_color)
        .without_time()
        .with_target(args.verbose > 0)
        .with_writer(BesideBars(output.bars().clone()))
        .try_init();
}

/// Standard error, with progress bars out of the way while something is written.
#[derive(Clone)]
struct BesideBars(MultiProgress);

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'w> MakeWriter<'w> for BesideBars {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}
