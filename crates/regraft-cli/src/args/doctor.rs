//! `regraft doctor`.

use clap::Args;
use std::path::PathBuf;

/// Show what the machine can do and what is wrong with a data set
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regraft doctor
  regraft doctor photos                          reads every image; exit code 1 if training would stop")]
pub(crate) struct DoctorArgs {
    /// Folder of the photos
    pub(crate) data: Option<PathBuf>,
}
