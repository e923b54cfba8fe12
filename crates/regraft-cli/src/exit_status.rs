//! How the process ends: a contract with scripts.

use std::process::ExitCode;

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// 0: done.
    Done,
    /// 1: something is wrong with the user's data or settings.
    Failed,
    /// 2: the command line makes no sense, or Regraft has a bug.
    Error,
}

impl ExitStatus {
    /// The status of what clap calls an error: help that was asked for is none.
    pub(crate) fn from_usage(error: &clap::Error) -> Self {
        if error.exit_code() == 0 {
            Self::Done
        } else {
            Self::Error
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Done => Self::SUCCESS,
            ExitStatus::Failed => Self::from(1),
            ExitStatus::Error => Self::from(2),
        }
    }
}
