//! `regraft cache`.

use clap::{Args, ValueEnum};

/// Show or empty the cache of features
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regraft cache                                  what is in it, and where
  regraft cache clear

The cache is below $REGRAFT_CACHE, or the user's cache folder. It may be removed at any time.")]
pub(crate) struct CacheArgs {
    /// What to do
    #[arg(value_enum, default_value = "list")]
    pub(crate) action: CacheAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CacheAction {
    List,
    Clear,
}
