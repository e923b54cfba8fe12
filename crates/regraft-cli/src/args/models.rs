//! `regraft models`.

use clap::Args;

/// List the models, with their size, accuracy and licence
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regraft models                                 all of them
  regraft models resnet                          names that contain `resnet`
  regraft models 'resnet*' --output-format json")]
pub(crate) struct ModelsArgs {
    /// Part of a name, or a pattern with `*`
    pub(crate) pattern: Option<String>,
}
