//! `cargo xtask bench`: Regraft against PyTorch, in one run, on the same threads, alternating.
//!
//! Each measurement is a process of its own, so that peak memory is that of one model and nothing is warm that a user's
//! would not be. What is quoted is the ratio of medians over the rounds: machines are shared, absolute figures drift.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::{stdout_of, succeeds};
use crate::product::{Product, json_of};
use crate::setup::BuildEnv;
use crate::workspace::root;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Models, by torchvision's names
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "resnet18,resnet50,mobilenet_v2"
    )]
    models: Vec<String>,
    /// Modes: forward, train
    #[arg(long, value_delimiter = ',', default_value = "forward,train")]
    modes: Vec<String>,
    /// Images a step
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Threads of both sides
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Rounds; each runs every side once
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Steps of each run, after two that are not counted
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// A Python with torch and torchvision
    #[arg(long, env = "REGRAFT_PYTHON", default_value = "python3")]
    python: PathBuf,
    /// Also the whole 25-epoch probe on this folder of `train/` and `val/` photos
    #[arg(long, requires = "weights")]
    probe: Option<PathBuf>,
    /// SqueezeNet 1.1 weights for the probe
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Where to keep the figures, for example `benches/runs/2026-11-23-epyc`
    #[arg(long)]
    save: Option<PathBuf>,
}

/// The sides of a comparison: ours, and PyTorch in its two memory layouts.
const SIDES: [&str; 3] = ["regraft", "default", "channels_last"];

/// What both sides print.
#[derive(Debug, Deserialize)]
struct Measured {
    samples_per_second: f64,
    peak_rss_mib: f64,
}

/// Median figures of a side.
#[derive(Debug, Clone, Copy, Serialize)]
struct Median {
    samples_per_second: f64,
    peak_rss_mib: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    model: String,
    mode: String,
    sides: BTreeMap<&'static str, Median>,
}

#[derive(Debug, Serialize)]
struct Probe {
    pytorch_seconds: f64,
    pytorch_accuracy: f64,
    cold_seconds: f64,
    warm_seconds: f64,
    accuracy: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    command: String,
    cpu: String,
    threads: usize,
    batch_size: usize,
    rounds: usize,
    regraft: String,
    torch: String,
    rows: Vec<Row>,
    probe: Option<Probe>,
}

/// Builds, measures, prints a table and keeps the figures if asked to.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let product = Product::build(&BuildEnv::prepare()?)?;
    let has_torch = succeeds(Command::new(&args.python).args(["-c", "import torch, torchvision"]));
    anyhow::ensure!(
        has_torch,
        "`{}` has no torch and torchvision; install them in a virtual environment and name its python with --python",
        args.python.display()
    );
    let mut rows = Vec::new();
    for model in &args.models {
        for mode in &args.modes {
            rows.push(measure(args, &product, model, mode)?);
        }
    }
    let probe = match (&args.probe, &args.weights) {
        (Some(data), Some(weights)) => Some(measure_probe(args, &product, data, weights)?),
        _ => None,
    };
    let mut version = Command::new(&args.python);
    let torch = stdout_of(version.args(["-c", "import torch; print(torch.__version__)"]))?;
    let report = Report {
        command: std::env::args()
            .skip(1)
            .fold("cargo xtask".to_owned(), |all, arg| all + " " + &arg),
        cpu: cpu(),
        threads: args.threads,
        batch_size: args.batch_size,
        rounds: args.rounds,
        regraft: stdout_of(Command::new(product.path()).arg("--version"))?
            .trim()
            .to_owned(),
        torch: torch.trim().to_owned(),
        rows,
        probe,
    };
    let table = table(&report);
    println!("\n{table}");
    if let Some(folder) = &args.save {
        let folder = root()?.join(folder);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(
            folder.join("results.json"),
            serde_json::to_string_pretty(&report)? + "\n",
        )?;
        std::fs::write(folder.join("results.md"), table)?;
        println!("kept in {}", folder.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// One model in one mode: the sides in turn, `rounds` times.
fn measure(args: &Args, product: &Product, model: &str, mode: &str) -> Result<Row> {
    let mut all: BTreeMap<&'static str, Vec<Measured>> = BTreeMap::new();
    let common = [
        ("--mode", mode.to_owned()),
        ("--batch-size", args.batch_size.to_string()),
        ("--threads", args.threads.to_string()),
        ("--steps", args.steps.to_string()),
    ];
    for round in 1..=args.rounds {
        for side in SIDES {
            let mut command = if side == "regraft" {
                product.command("benchmark")
            } else {
                let mut command = Command::new(&args.python);
                command
                    .arg(root()?.join("benches/pytorch/throughput.py"))
                    .args(["--layout", side]);
                command
            };
            command.arg(model);
            for (flag, value) in &common {
                command.args([*flag, value]);
            }
            let measured: Measured = if side == "regraft" {
                json_of(&mut command)?
            } else {
                serde_json::from_str(&stdout_of(&mut command)?)
                    .context("unexpected output of throughput.py")?
            };
            println!(
                "{model} {mode} {side} {round}/{}: {:.1} images/s, {:.0} MiB",
                args.rounds, measured.samples_per_second, measured.peak_rss_mib
            );
            all.entry(side).or_default().push(measured);
        }
    }
    let sides = all
        .into_iter()
        .map(|(side, runs)| {
            let of = |get: fn(&Measured) -> f64| median(runs.iter().map(get).collect());
            let median = Median {
                samples_per_second: of(|m| m.samples_per_second),
                peak_rss_mib: of(|m| m.peak_rss_mib),
            };
            (side, median)
        })
        .collect();
    Ok(Row {
        model: model.to_owned(),
        mode: mode.to_owned(),
        sides,
    })
}

/// The whole probe, process start to exit: PyTorch once (it takes minutes), ours with a cold and with a warm cache.
fn measure_probe(args: &Args, product: &Product, data: &Path, weights: &Path) -> Result<Probe> {
    #[derive(Deserialize)]
    struct Theirs {
        best_accuracy: f64,
    }
    let threads = args.threads.to_string();
    let folder = std::env::temp_dir().join(format!("regraft-bench-{}", std::process::id()));
    let (mut cold, mut warm, mut accuracy) = (Vec::new(), Vec::new(), 0.0);
    for round in 0..args.rounds {
        let cache = folder.join(format!("cache-{round}"));
        for (name, seconds) in [("cold", &mut cold), ("warm", &mut warm)] {
            let mut command = product.command("train");
            command
                .env("REGRAFT_CACHE", &cache)
                .arg(data)
                .args(["--model", "squeezenet1_1", "--weights"])
                .arg(weights);
            command.args([
                "--strategy",
                "probe",
                "--epochs",
                "25",
                "--seed",
                "0",
                "--quiet",
                "--threads",
                &threads,
            ]);
            command
                .arg("--output")
                .arg(folder.join(format!("{name}-{round}")));
            let start = Instant::now();
            let result: serde_json::Value = json_of(&mut command)?;
            seconds.push(start.elapsed().as_secs_f64());
            accuracy = best_accuracy(&result);
        }
        println!(
            "probe {}/{}: cold {:.2} s, warm {:.2} s",
            round + 1,
            args.rounds,
            cold[round],
            warm[round]
        );
    }
    std::fs::remove_dir_all(&folder)?;
    let mut command = Command::new(&args.python);
    command
        .arg(root()?.join("benches/pytorch/probe.py"))
        .arg(data);
    command
        .arg("--weights")
        .arg(weights)
        .args(["--epochs", "25", "--threads", &threads]);
    let start = Instant::now();
    let theirs: Theirs =
        serde_json::from_str(&stdout_of(&mut command)?).context("unexpected output of probe.py")?;
    Ok(Probe {
        pytorch_seconds: start.elapsed().as_secs_f64(),
        pytorch_accuracy: theirs.best_accuracy,
        cold_seconds: median(cold),
        warm_seconds: median(warm),
        accuracy,
    })
}

fn best_accuracy(result: &serde_json::Value) -> f64 {
    let epochs = result["epochs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    epochs
        .iter()
        .filter_map(|e| e["val_accuracy"].as_f64())
        .fold(0.0, f64::max)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The figures as Markdown.
fn table(report: &Report) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "`{}`\n\n{} threads of {}, batch {}, f32, medians of {} rounds; {}, PyTorch {}.\n\n\
         | model | mode | Regraft | PyTorch | channels-last | ratio | ratio c.-last | MiB | PyTorch MiB |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        report.command,
        report.threads,
        report.cpu,
        report.batch_size,
        report.rounds,
        report.regraft,
        report.torch
    );
    for row in &report.rows {
        let [ours, default, last] = SIDES.map(|side| row.sides[side]);
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.1} | {:.1} | {:.2}x | {:.2}x | {:.0} | {:.0} |",
            row.model,
            row.mode,
            ours.samples_per_second,
            default.samples_per_second,
            last.samples_per_second,
            ours.samples_per_second / default.samples_per_second,
            ours.samples_per_second / last.samples_per_second,
            ours.peak_rss_mib,
            default.peak_rss_mib.min(last.peak_rss_mib),
        );
    }
    if let Some(probe) = &report.probe {
        let _ = writeln!(
            text,
            "\nThe 25-epoch probe, process start to exit: PyTorch {:.1} s, cold cache {:.2} s ({:.0}x), warm cache {:.2} s \
             ({:.0}x); best validation accuracy {:.3} (PyTorch {:.3}).",
            probe.pytorch_seconds,
            probe.cold_seconds,
            probe.pytorch_seconds / probe.cold_seconds,
            probe.warm_seconds,
            probe.pytorch_seconds / probe.warm_seconds,
            probe.accuracy,
            probe.pytorch_accuracy,
        );
    }
    text
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("an unknown processor");
    name.trim_start_matches([' ', '\t', ':']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn the_best_epoch_counts() {
        let json = serde_json::json!({"epochs": [{"val_accuracy": 0.5}, {"val_accuracy": 0.75}, {"val_accuracy": 0.7}]});
        assert_eq!(best_accuracy(&json), 0.75);
    }
}
