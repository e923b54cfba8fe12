//! `regraft train`: from a folder of photos to a run folder.

use crate::args::TrainArgs;
use crate::exit_status::ExitStatus;
use crate::interrupt::stop_on_ctrl_c;
use crate::output::{Output, Report};
use crate::progress::Progress;
use regraft::train::feature_cache::FeatureCache;
use regraft::train::{TrainReport, train};
use serde::Serialize;
use std::fmt::{self, Write};

/// Trains a classifier.
pub(crate) fn run(
    args: TrainArgs,
    threads: Option<usize>,
    output: &mut Output,
) -> anyhow::Result<ExitStatus> {
    let settings = args.into_config(threads)?.check()?;
    let cache = match FeatureCache::default_folder() {
        _ if !settings.cache => None,
        Ok(folder) => Some(FeatureCache::new(folder, None)),
        Err(error) => {
            output.warning(format_args!("training without the feature cache: {error}"));
            None
        }
    };
    let stop = stop_on_ctrl_c(output);
    let mut progress = Progress::new(output);
    let trained = train(&settings, cache.as_ref(), &mut progress, &stop)?;
    drop(progress);
    output.report(&Trained(trained))?;
    Ok(ExitStatus::Done)
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Trained(TrainReport);

impl Report for Trained {
    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        let report = &self.0;
        if report.interrupted {
            let epochs = report.epochs.len();
            writeln!(
                out,
                "stopped after {epochs} whole epochs; what was trained is saved"
            )?;
        }
        if report.best_epoch > 0 {
            writeln!(
                out,
                "best epoch {}: val accuracy {:.4}, val loss {:.4}; {:.1} s in all",
                report.best_epoch, report.metrics.accuracy, report.metrics.loss, report.seconds
            )?;
        }
        writeln!(out, "{}", report.run.display())
    }
}
