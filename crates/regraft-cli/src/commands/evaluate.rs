//! `regraft evaluate`: a trained classifier on labelled photos.

use crate::args::EvaluateArgs;
use crate::exit_status::ExitStatus;
use crate::image_files::bad_images;
use crate::output::{Output, Report};
use crate::progress::Progress;
use regraft::data::{BadImage, DataError, DecodeOptions, ImageFolder, Samples, find_bad_images};
use regraft::eval::{ClassificationMetrics, ClassificationSummary, EvalError};
use regraft::train::{Classifier, InferenceOptions, TrainError};
use serde::Serialize;
use std::fmt::{self, Write};

/// Classes that the confusion table shows.
const CLASSES_SHOWN: usize = 20;

/// Mistakes that are listed.
const MISTAKES_SHOWN: usize = 5;

/// Measures a classifier.
pub(crate) fn run(
    args: &EvaluateArgs,
    threads: Option<usize>,
    output: &mut Output,
) -> anyhow::Result<ExitStatus> {
    let options = super::inference(args.batch_size, threads)?;
    let classifier = Classifier::open(&args.run)?;
    let data = ImageFolder::new(&args.data).load_for_evaluation(classifier.classes())?;
    for note in &data.notes {
        output.note(note);
    }
    let mut samples = data.samples;
    let mut skipped = Vec::new();
    if args.skip_bad_images {
        let threads = options.threads;
        skipped = find_bad_images(&samples, &DecodeOptions::default(), threads, || {});
        for bad in &skipped {
            let path = bad.path.display();
            output.warning(format_args!("`{path}` is left out: {}", bad.reason));
        }
        samples = samples.without(&skipped);
    }
    let mut progress = Progress::new(output);
    let summary = measure(&classifier, &samples, &options, &mut progress)?;
    drop(progress);
    output.report(&Evaluation { summary, skipped })?;
    Ok(ExitStatus::Done)
}

fn measure(
    classifier: &Classifier,
    samples: &Samples,
    options: &InferenceOptions,
    progress: &mut Progress,
) -> anyhow::Result<ClassificationSummary> {
    let classes = classifier.classes();
    let mut metrics = ClassificationMetrics::new(classes)?;
    let mut measured: Result<(), EvalError> = Ok(());
    let evaluated = classifier.evaluate(samples, options, progress, |logits, labels| {
        let rows = logits.chunks_exact(classes.len()).zip(labels);
        for (logits, label) in rows {
            if measured.is_ok() {
                measured = metrics.update(logits, *label);
            }
        }
    });
    if let Err(error) = evaluated {
        let bad = bad_images(error, samples, options.threads)?;
        let checked = samples.len();
        return Err(TrainError::from(DataError::BadImages { bad, checked }).into());
    }
    measured?;
    Ok(metrics.summary()?)
}

#[derive(Debug, Serialize)]
struct Evaluation {
    #[serde(flatten)]
    summary: ClassificationSummary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<BadImage>,
}

impl Report for Evaluation {
    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        let summary = &self.summary;
        writeln!(out, "{}", summary.report())?;
        writeln!(out, "{}", summary.confusion_table(CLASSES_SHOWN))?;
        let mistakes = summary.most_confused_table(MISTAKES_SHOWN);
        if !mistakes.is_empty() {
            writeln!(out, "most frequent mistakes\n{mistakes}")?;
        }
        let interval = summary.accuracy_interval;
        write!(
            out,
            "accuracy {:.4} on {} images (95 % between {:.3} and {:.3})",
            summary.accuracy, summary.count, interval.low, interval.high
        )?;
        if summary.per_class.len() > 5 {
            write!(out, ", top-5 {:.4}", summary.top5_accuracy)?;
        }
        writeln!(out, ", loss {:.4}", summary.loss)
    }
}
