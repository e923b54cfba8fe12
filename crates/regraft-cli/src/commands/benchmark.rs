//! `regraft benchmark`: how fast a model runs here.

use crate::args::{BenchmarkArgs, ModeArg};
use crate::exit_status::ExitStatus;
use crate::output::{Output, Report};
use regraft::data::available_threads;
use regraft::graph::{NamePattern, surgery};
use regraft::models::{BuildOptions, build};
use regraft::train::benchmark::{BenchmarkConfig, BenchmarkMode, Measurement, benchmark};
use serde::Serialize;
use std::fmt::{self, Write};

/// Measures a model.
pub(crate) fn run(
    args: &BenchmarkArgs,
    threads: Option<usize>,
    output: &mut Output,
) -> anyhow::Result<ExitStatus> {
    let threads = threads.unwrap_or_else(available_threads);
    regraft::engine::set_threads(threads);
    let options = BuildOptions {
        input_size: args.image_size.map(|size| [size, size]),
        ..BuildOptions::default()
    };
    let mut model = build(&args.model, &options)?;
    if let Some(pattern) = &args.freeze {
        if args.mode == ModeArg::Forward {
            output.warning("`--freeze` changes nothing without `--mode train`");
        }
        surgery::freeze(&mut model.graph, &NamePattern::new(pattern)?)?;
        if args.mode == ModeArg::Train && model.graph.trainable_parameter_count() == 0 {
            anyhow::bail!("nothing is left to train: `--freeze {pattern}` covers everything");
        }
    }
    let config = BenchmarkConfig {
        mode: match args.mode {
            ModeArg::Forward => BenchmarkMode::Forward,
            ModeArg::Train => BenchmarkMode::Train,
        },
        batch_size: args.batch_size,
        steps: args.steps,
        ..BenchmarkConfig::default()
    };
    output.report(&BenchmarkReport {
        model: model.entry.name,
        mode: match args.mode {
            ModeArg::Forward => "forward",
            ModeArg::Train => "train",
        },
        freeze: args.freeze.clone(),
        batch_size: args.batch_size,
        input_size: model.preprocessing.input_size,
        precision: "f32",
        threads,
        kernels: regraft::engine::kernel_library(),
        measurement: benchmark(&model, &config)?,
    })?;
    Ok(ExitStatus::Done)
}

#[derive(Debug, Serialize)]
struct BenchmarkReport {
    model: &'static str,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    freeze: Option<String>,
    batch_size: usize,
    input_size: [usize; 2],
    precision: &'static str,
    threads: usize,
    kernels: String,
    #[serde(flatten)]
    measurement: Measurement,
}

impl Report for BenchmarkReport {
    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        let [height, width] = self.input_size;
        let m = &self.measurement;
        writeln!(
            out,
            "{} {}, batch {}, {height}x{width}, {}, threads {}, {}",
            self.model, self.mode, self.batch_size, self.precision, self.threads, self.kernels
        )?;
        writeln!(
            out,
            "images/s    {:.1}  (median of {} steps)",
            m.samples_per_second, m.steps
        )?;
        writeln!(
            out,
            "step        {:.2} ms  (min {:.2}, max {:.2})",
            m.step_ms.median, m.step_ms.min, m.step_ms.max
        )?;
        writeln!(out, "plan        {:.1} ms", m.plan_ms)?;
        writeln!(out, "GFLOP/s     {:.0}", m.gflops)?;
        if let Some(peak) = m.peak_rss_mib {
            writeln!(out, "peak memory {peak:.0} MiB")?;
        }
        Ok(())
    }
}
