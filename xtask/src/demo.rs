//! `cargo xtask demo`: the whole path on real photos and real weights, in a minute after the build.
//!
//! It calls the binary as a user would: `train` with no flag that matters, which takes the default
//! model, downloads its ImageNet weights once and trains a new head on frozen features; then
//! `evaluate` on photos that were not trained on, and `predict` on a few files.

mod fashion_mnist;
mod fetch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::product::Product;
use crate::setup::BuildEnv;
use crate::workspace::{cache_dir, root};

/// Passes over the cached features; each takes a fraction of a second.
const EPOCHS: &str = "20";

/// Files to predict, each of another class.
const PREDICTIONS: usize = 5;

/// The parts of `train`'s JSON that are shown.
#[derive(Debug, Deserialize)]
struct Trained {
    run: PathBuf,
    seconds: f64,
    trainable_parameters: u64,
    total_parameters: u64,
}

/// The parts of `evaluate`'s JSON that are shown.
#[derive(Debug, Deserialize)]
struct Evaluated {
    accuracy: f64,
    top5_accuracy: f64,
    count: u64,
}

/// One object of `predict`'s JSON.
#[derive(Debug, Deserialize)]
struct Predicted {
    path: PathBuf,
    label: String,
    score: f64,
}

/// Builds, fetches, trains, evaluates, predicts, and says how it went.
pub(crate) fn run() -> Result<ExitCode> {
    let env = BuildEnv::prepare()?;
    heading("building (oneDNN takes many minutes the first time)");
    let start = Instant::now();
    let binary = Product::build(&env)?;
    let build_seconds = start.elapsed().as_secs_f64();

    let start = Instant::now();
    heading("photos");
    let data = fashion_mnist::prepare(&cache_dir()?.join("demo"))?;
    println!("{}", data.display());
    let fetch_seconds = start.elapsed().as_secs_f64();

    heading("train");
    let output = free_run_folder(&root()?.join("runs"))?;
    let training = Instant::now();
    let trained: Trained = binary.json(
        "train",
        &[&data],
        &["--epochs", EPOCHS, "--output", &utf8(&output)?],
    )?;
    let train_seconds = training.elapsed().as_secs_f64();

    heading("evaluate");
    let evaluating = Instant::now();
    let validation = data.join("val");
    let evaluated: Evaluated = binary.json("evaluate", &[&trained.run, &validation], &[])?;
    let evaluate_seconds = evaluating.elapsed().as_secs_f64();

    heading("predict");
    let photos = some_photos(&validation)?;
    let paths: Vec<&Path> = std::iter::once(trained.run.as_path())
        .chain(photos.iter().map(PathBuf::as_path))
        .collect();
    let predicted: Value = binary.json("predict", &paths, &[])?;
    let predicted = predictions(predicted)?;
    for prediction in &predicted {
        let photo = prediction.path.strip_prefix(&validation);
        let photo = photo.unwrap_or(&prediction.path).display();
        println!("{photo}: {} ({:.2})", prediction.label, prediction.score);
    }
    let seconds = start.elapsed().as_secs_f64();

    heading("result");
    println!(
        "accuracy    {:.3} on {} photos that were not trained on (top-5 {:.3})",
        evaluated.accuracy, evaluated.count, evaluated.top5_accuracy
    );
    println!(
        "training    {:.1} s, {} of {} parameters",
        trained.seconds, trained.trainable_parameters, trained.total_parameters
    );
    println!(
        "seconds     {seconds:.1} after the build of {build_seconds:.0}: photos \
         {fetch_seconds:.1}, train {train_seconds:.1}, evaluate {evaluate_seconds:.1}"
    );
    println!("run folder  {}", trained.run.display());
    println!(
        "\nTry it: {} predict {} YOUR-PHOTO.jpg",
        binary.path().display(),
        trained.run.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn heading(text: &str) {
    println!("\n==> {text}");
}

/// `predict` gives a list, or a single object for a single file.
fn predictions(json: Value) -> Result<Vec<Predicted>> {
    let list = match json {
        Value::Array(list) => list,
        object => vec![object],
    };
    list.into_iter()
        .map(|object| serde_json::from_value(object).context("unexpected JSON of a prediction"))
        .collect()
}

/// `runs/demo`, or the first of `runs/demo-2`, `runs/demo-3` … that does not exist.
fn free_run_folder(runs: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(runs).with_context(|| format!("cannot create `{}`", runs.display()))?;
    let numbered = (2..1000).map(|number| runs.join(format!("demo-{number}")));
    std::iter::once(runs.join("demo"))
        .chain(numbered)
        .find(|folder| !folder.exists())
        .with_context(|| format!("`{}` is full of demos, delete some", runs.display()))
}

/// The first photo of each of the first classes.
fn some_photos(split: &Path) -> Result<Vec<PathBuf>> {
    let mut photos = Vec::new();
    for class in sorted(split)?.into_iter().take(PREDICTIONS) {
        photos.extend(sorted(&class)?.into_iter().next());
    }
    if photos.is_empty() {
        bail!("`{}` holds no photo", split.display());
    }
    Ok(photos)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot list `{}`", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>>>()?;
    entries.sort();
    Ok(entries)
}

fn utf8(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.with_context(|| format!("`{}` is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_folders_are_never_reused() {
        let runs = tempfile::tempdir().unwrap();
        for expected in ["demo", "demo-2", "demo-3"] {
            let folder = free_run_folder(runs.path()).unwrap();
            assert_eq!(folder, runs.path().join(expected));
            std::fs::create_dir(folder).unwrap();
        }
    }

    #[test]
    fn predictions_are_a_list_or_one_object() {
        let object = serde_json::json!({"path": "a.png", "label": "bag", "score": 0.9, "top": []});
        let list = Value::Array(vec![object.clone(), object.clone()]);
        assert_eq!(predictions(list).unwrap().len(), 2);
        assert_eq!(predictions(object).unwrap()[0].label, "bag");
        assert!(predictions(serde_json::json!({"label": "bag"})).is_err());
    }

    #[test]
    fn photos_are_taken_from_different_classes() {
        let split = tempfile::tempdir().unwrap();
        for class in ["ants", "bees"] {
            std::fs::create_dir(split.path().join(class)).unwrap();
            for photo in ["2.png", "1.png"] {
                std::fs::write(split.path().join(class).join(photo), "").unwrap();
            }
        }
        let photos = some_photos(split.path()).unwrap();
        let expected = ["ants/1.png", "bees/1.png"].map(|photo| split.path().join(photo));
        assert_eq!(photos, expected);
    }
}
