//! The only place that prints. Standard output carries data, as text or JSON; standard error carries everything else.

use crate::args::{GlobalArgs, OutputFormat};
use anstyle::{AnsiColor, Style};
use anyhow::Context;
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind, IsTerminal, Write};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// What a verb finds out: an object for scripts and a text for people.
pub(crate) trait Report: Serialize {
    /// Writes the text, whole lines.
    fn write_text(&self, out: &mut dyn fmt::Write) -> fmt::Result;
}

/// Nobody reads standard output any more, as in `regraft models | head -1`. This is no failure.
#[derive(Debug)]
pub(crate) struct OutputClosed;

impl Display for OutputClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for OutputClosed {}

/// Where a command prints.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    format: OutputFormat,
    quiet: bool,
    bars: MultiProgress,
}

impl Output {
    /// An output as the flags ask for it.
    pub(crate) fn new(args: &GlobalArgs) -> Self {
        let target = if args.quiet || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        Self {
            format: args.output_format,
            quiet: args.quiet,
            bars: MultiProgress::with_draw_target(target),
        }
    }

    /// The progress bars of standard error; hidden where it is no terminal.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Prints what a verb found out.
    ///
    /// # Errors
    /// [`OutputClosed`], or whatever else keeps standard output from being written.
    pub(crate) fn report(&mut self, report: &impl Report) -> anyhow::Result<()> {
        let mut text = String::new();
        match self.format {
            OutputFormat::Text => report.write_text(&mut text)?,
            OutputFormat::Json => {
                text = serde_json::to_string_pretty(report)?;
                text.push('\n');
            }
        }
        self.print(&text)
    }

    /// Prints a line of a long command while it runs. It is read along, but is not the result: in JSON mode it goes to
    /// standard error, and `--quiet` leaves it out. That nobody reads it does not stop the command.
    pub(crate) fn narrate(&self, line: impl Display) {
        if self.quiet {
            return;
        }
        match self.format {
            OutputFormat::Text => {
                let _ = self.print(&format!("{line}\n"));
            }
            OutputFormat::Json => self.message(line),
        }
    }

    /// Tells the user something that is good to know.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            self.message(format_args!("{CYAN}note:{CYAN:#} {text}"));
        }
    }

    /// Tells the user something that may be a mistake.
    pub(crate) fn warning(&self, text: impl Display) {
        self.message(format_args!("{YELLOW}warning:{YELLOW:#} {text}"));
    }

    /// Tells the user what went wrong.
    pub(crate) fn error(&self, text: impl Display) {
        self.message(format_args!("{RED}error:{RED:#} {text}"));
    }

    /// Tells the user what may help, below an error.
    pub(crate) fn hint(&self, text: impl Display) {
        self.message(format_args!("\n{CYAN}hint:{CYAN:#} {text}"));
    }

    fn message(&self, line: impl Display) {
        // Where standard error is closed there is nobody to tell.
        self.bars.suspend(|| {
            let _ = writeln!(anstream::stderr().lock(), "{line}");
        });
    }

    fn print(&self, text: &str) -> anyhow::Result<()> {
        let written = self.bars.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush())
        });
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
            written => written.context("cannot write to standard output"),
        }
    }
}
