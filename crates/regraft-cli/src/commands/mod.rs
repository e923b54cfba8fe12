//! What the verbs do: one file each, whose `run` calls the library and reports what it found.

mod benchmark;
mod cache;
mod doctor;
mod embed;
mod evaluate;
mod inspect;
mod models;
mod predict;
mod train;

use crate::args::{Cli, Verb};
use crate::exit_status::ExitStatus;
use crate::output::Output;
use anyhow::bail;
use regraft::data::available_threads;
use regraft::train::InferenceOptions;

/// More threads than any machine has cores.
const MAX_THREADS: usize = 4096;

/// Runs the verb that was asked for.
///
/// # Errors
/// Whatever the user should be told.
pub(crate) fn run(cli: Cli, output: &mut Output) -> anyhow::Result<ExitStatus> {
    let threads = cli.global.threads;
    if let Some(threads) = threads
        && !(1..=MAX_THREADS).contains(&threads)
    {
        bail!("`--threads` is `{threads}`, expected a number from 1 to {MAX_THREADS}");
    }
    match cli.verb {
        Verb::Models(args) => models::run(&args, output),
        Verb::Inspect(args) => inspect::run(&args, output),
        Verb::Train(args) => train::run(*args, threads, output),
        Verb::Evaluate(args) => evaluate::run(&args, threads, output),
        Verb::Predict(args) => predict::run(&args, threads, output),
        Verb::Embed(args) => embed::run(&args, threads, output),
        Verb::Benchmark(args) => benchmark::run(&args, threads, output),
        Verb::Doctor(args) => doctor::run(&args, threads, output),
        Verb::Cache(args) => cache::run(&args, output),
    }
}

/// How verbs that look at images put them through a model.
///
/// # Errors
/// When there are no images in a batch.
fn inference(batch_size: usize, threads: Option<usize>) -> anyhow::Result<InferenceOptions> {
    if batch_size == 0 {
        bail!("`--batch-size` is `0`, expected at least 1");
    }
    Ok(InferenceOptions {
        batch_size,
        threads: threads.unwrap_or_else(available_threads),
    })
}
