//! Teaches a pre-trained model the classes of a folder of photos, measures it, and looks at the photos it got wrong.
//!
//! ```text
//! cargo run --release --example classify_folder -- photos [MODEL [WEIGHTS]]
//! ```
//!
//! `photos` holds one folder of images for each class. Without more arguments the default model is downloaded once.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use regraft::eval::ClassificationMetrics;
use regraft::train::feature_cache::FeatureCache;
use regraft::train::{InferenceOptions, train};
use regraft::{Classifier, Event, ImageFolder, Strategy, TrainConfig};
use std::error::Error;
use std::sync::atomic::AtomicBool;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let photos = args
        .next()
        .ok_or("usage: classify_folder PHOTOS [MODEL [WEIGHTS]]")?;

    // A new head on frozen features: seconds, because each photo goes through the frozen part once.
    let settings = TrainConfig {
        data: Some(photos.clone().into()),
        model: args.next(),
        weights: args.next(),
        strategy: Some(Strategy::Probe),
        ..TrainConfig::default()
    }
    .check()?;
    let cache = FeatureCache::new(FeatureCache::default_folder()?, None);
    let mut show = |event: &Event<'_>| match event {
        Event::Note(text) | Event::Warning(text) => println!("{text}"),
        Event::EpochFinished { record, .. } => println!(
            "epoch {:>2}: loss {:.3}, accuracy {:.3}",
            record.epoch, record.val_loss, record.val_accuracy
        ),
        _ => {}
    };
    let report = train(&settings, Some(&cache), &mut show, &AtomicBool::new(false))?;
    println!(
        "trained {} of {} parameters in {:.1} s",
        report.trainable_parameters, report.total_parameters, report.seconds
    );

    // The run folder is all that is needed from here on.
    let classifier = Classifier::open(&report.run)?;
    let options = InferenceOptions::default();
    let classes = classifier.classes().to_vec();
    let samples = ImageFolder::new(&photos)
        .load_for_evaluation(&classes)?
        .samples;

    let mut metrics = ClassificationMetrics::new(&classes)?;
    let mut measured = Ok(());
    classifier.evaluate(&samples, &options, &mut show, |logits, labels| {
        for (row, label) in logits.chunks_exact(classes.len()).zip(labels) {
            measured = measured.clone().and(metrics.update(row, *label));
        }
    })?;
    measured?;
    println!("{}", metrics.summary()?.report());

    let paths: Vec<_> = samples.iter().map(|sample| sample.path).collect();
    let guesses = classifier.predict(&paths, &options, &mut show)?;
    for (guess, label) in guesses.iter().zip(samples.labels()) {
        let (class, probability) = guess.ranking[0];
        if class != label {
            let name = &classes[class];
            println!("{}: {name} {probability:.2}", guess.path.display());
        }
    }
    println!("run folder: {}", report.run.display());
    Ok(())
}
