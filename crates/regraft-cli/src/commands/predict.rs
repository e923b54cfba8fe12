//! `regraft predict`: the classes of photos.

use crate::args::PredictArgs;
use crate::exit_status::ExitStatus;
use crate::image_files::{self, bad_images, unlabelled};
use crate::output::{Output, Report};
use crate::progress::Progress;
use crate::subject::open_classifier;
use anyhow::{Context, bail};
use regraft::data::BadImage;
use regraft::train::{Classifier, InferenceOptions, Prediction};
use serde::Serialize;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// Classifies photos. Those that cannot be read are reported, and the others classified all the same.
pub(crate) fn run(
    args: &PredictArgs,
    threads: Option<usize>,
    output: &mut Output,
) -> anyhow::Result<ExitStatus> {
    let options = super::inference(args.batch_size, threads)?;
    if args.top == 0 {
        bail!("`--top` is `0`, expected at least 1");
    }
    let mut progress = Progress::new(output);
    let classifier = open_classifier(&args.subject, args.weights.as_deref(), &mut progress)?;
    let classes = match &args.labels {
        Some(path) => read_labels(path, classifier.classes().len())?,
        None => classifier.classes().to_vec(),
    };
    let paths = image_files::find(&args.paths)?;
    let (predictions, bad) = predict(&classifier, &paths, &options, &mut progress)?;
    drop(progress);
    let rows = predictions
        .into_iter()
        .map(|prediction| Row::new(prediction, &classes, args.top));
    output.report(&Predictions(rows.collect()))?;
    for bad in &bad {
        output.error(format_args!("`{}`: {}", bad.path.display(), bad.reason));
    }
    Ok(if bad.is_empty() {
        ExitStatus::Done
    } else {
        ExitStatus::Failed
    })
}

/// Class names out of a file, one a line.
fn read_labels(path: &Path, num_classes: usize) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the class names in `{}`", path.display()))?;
    let labels: Vec<_> = text.lines().map(|line| line.trim().to_owned()).collect();
    if labels.len() != num_classes {
        bail!(
            "`{}` has {} lines, expected the names of {num_classes} classes, one a line",
            path.display(),
            labels.len()
        );
    }
    Ok(labels)
}

fn predict(
    classifier: &Classifier,
    paths: &[PathBuf],
    options: &InferenceOptions,
    progress: &mut Progress,
) -> anyhow::Result<(Vec<Prediction>, Vec<BadImage>)> {
    let error = match classifier.predict(paths, options, progress) {
        Ok(predictions) => return Ok((predictions, Vec::new())),
        Err(error) => error,
    };
    // Reading every image twice is the exception's price, not the rule's.
    let bad = bad_images(error, &unlabelled(paths), options.threads)?;
    let is_good = |(index, _): &(usize, &PathBuf)| bad.iter().all(|bad| bad.index != *index);
    let good: Vec<_> = paths
        .iter()
        .enumerate()
        .filter(is_good)
        .map(|(_, path)| path.clone())
        .collect();
    let predictions = if good.is_empty() {
        Vec::new()
    } else {
        classifier.predict(&good, options, progress)?
    };
    Ok((predictions, bad))
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Predictions(Vec<Row>);

#[derive(Debug, Serialize)]
struct Row {
    path: PathBuf,
    label: String,
    score: f32,
    top: Vec<Guess>,
}

#[derive(Debug, Serialize)]
struct Guess {
    label: String,
    /// Position of the class in the model's output.
    index: usize,
    score: f32,
}

impl Row {
    fn new(prediction: Prediction, classes: &[String], top: usize) -> Self {
        let top: Vec<_> = prediction
            .ranking
            .iter()
            .take(top)
            .map(|&(index, score)| Guess {
                label: classes
                    .get(index)
                    .map_or_else(|| index.to_string(), Clone::clone),
                index,
                score,
            })
            .collect();
        let best = top.first();
        Self {
            path: prediction.path,
            label: best.map(|best| best.label.clone()).unwrap_or_default(),
            score: best.map(|best| best.score).unwrap_or_default(),
            top,
        }
    }
}

impl Report for Predictions {
    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        for row in &self.0 {
            let guesses: Vec<_> = row
                .top
                .iter()
                .map(|guess| format!("{} {:.4}", guess.label, guess.score))
                .collect();
            writeln!(out, "{}: {}", row.path.display(), guesses.join(", "))?;
        }
        Ok(())
    }
}
