//! What the command line takes: one struct for each verb.

mod benchmark;
mod cache;
mod doctor;
mod embed;
mod evaluate;
mod global;
mod inspect;
mod models;
mod predict;
mod train;

pub(crate) use benchmark::{BenchmarkArgs, ModeArg};
pub(crate) use cache::{CacheAction, CacheArgs};
pub(crate) use doctor::DoctorArgs;
pub(crate) use embed::EmbedArgs;
pub(crate) use evaluate::EvaluateArgs;
pub(crate) use global::{GlobalArgs, OutputFormat};
pub(crate) use inspect::InspectArgs;
pub(crate) use models::ModelsArgs;
pub(crate) use predict::PredictArgs;
pub(crate) use train::TrainArgs;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};
use std::sync::LazyLock;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Transfer learning: from a folder of photos to a trained classifier
#[derive(Debug, Parser)]
#[command(
    name = "regraft",
    version = VERSION.as_str(),
    styles = STYLES,
    propagate_version = false,
    disable_help_subcommand = true,
    // Of a flag that is given twice the last one counts, so that scripts can add to a command.
    args_override_self = true,
    after_help = "\
Examples:
  regraft train photos                           one sub-folder for each class
  regraft evaluate runs/train more-photos
  regraft predict runs/train photo.jpg

`regraft VERB --help` shows the flags of a verb, with examples."
)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Models(ModelsArgs),
    Inspect(InspectArgs),
    Train(Box<TrainArgs>),
    Evaluate(EvaluateArgs),
    Predict(PredictArgs),
    Embed(EmbedArgs),
    Benchmark(BenchmarkArgs),
    Doctor(DoctorArgs),
    Cache(CacheArgs),
}

/// `0.1.0 (oneDNN 3.14.1)`
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let kernels = regraft::engine::kernel_library();
    format!("{} ({kernels})", env!("CARGO_PKG_VERSION"))
});

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_examples() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|help| help.starts_with("Examples:\n  regraft ")),
                "{}",
                verb.get_name()
            );
        }
    }
}
