//! `regraft doctor`: the machine, and what is wrong with a data set before training.

use crate::args::DoctorArgs;
use crate::exit_status::ExitStatus;
use crate::machine::Machine;
use crate::numbers::{bytes, counted, grouped};
use crate::output::{Output, Report};
use crate::progress;
use regraft::data::doctor::{DatasetReport, Finding, Severity, Spread, examine};
use regraft::data::{DecodeOptions, ImageFolder};
use serde::Serialize;
use std::fmt::{self, Write};
use std::path::Path;

/// Files that a finding names in text; JSON has more.
const FILES_SHOWN: usize = 5;

/// Below this much room, downloads and features will soon fail.
const LITTLE_SPACE: u64 = 2 << 30;

/// Examines the machine and, if one is named, a data set.
pub(crate) fn run(
    args: &DoctorArgs,
    threads: Option<usize>,
    output: &mut Output,
) -> anyhow::Result<ExitStatus> {
    let machine = Machine::examine(threads);
    let dataset = match &args.data {
        Some(data) => Some(examine_data(data, machine.threads, output)?),
        None => None,
    };
    let report = Diagnosis {
        warnings: warnings(&machine),
        machine,
        dataset,
    };
    output.report(&report)?;
    Ok(if report.has_errors() {
        ExitStatus::Failed
    } else {
        ExitStatus::Done
    })
}

fn examine_data(data: &Path, threads: usize, output: &Output) -> anyhow::Result<DatasetReport> {
    let dataset = ImageFolder::new(data).load()?;
    let images = dataset.splits().map(|(_, samples)| samples.len()).sum();
    let bar = progress::bar(output.bars(), "reading images", 0, images);
    let report = examine(&dataset, &DecodeOptions::default(), threads, || bar.inc(1));
    bar.finish_and_clear();
    Ok(report)
}

fn warnings(machine: &Machine) -> Vec<String> {
    let mut warnings = Vec::new();
    let lacks = |name| {
        let mut sets = machine.simd.iter();
        sets.any(|set| set.name == name && !set.available)
    };
    if lacks("AVX2") {
        warnings.push("the CPU has no AVX2: everything will be slow".to_owned());
    }
    if machine.threads > machine.cores {
        warnings.push(format!(
            "{} threads on {} will be slower than one for each",
            machine.threads,
            counted(machine.cores, "core", "cores")
        ));
    }
    match (&machine.cache_folder, machine.cache_free_bytes) {
        (None, _) => warnings.push(
            "there is no folder for the cache: set REGRAFT_CACHE to keep weights and features"
                .to_owned(),
        ),
        (Some(folder), Some(free)) if free < LITTLE_SPACE => warnings.push(format!(
            "only {} are free in `{}`: set REGRAFT_CACHE to a folder with more room",
            bytes(free),
            folder.display()
        )),
        _ => {}
    }
    warnings
}

#[derive(Debug, Serialize)]
struct Diagnosis {
    machine: Machine,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<DatasetReport>,
}

impl Diagnosis {
    fn has_errors(&self) -> bool {
        let mut findings = self.dataset.iter().flat_map(|dataset| &dataset.findings);
        findings.any(|finding| finding.severity == Severity::Error)
    }
}

impl Report for Diagnosis {
    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        write_machine(&self.machine, out)?;
        for warning in &self.warnings {
            writeln!(out, "warning: {warning}")?;
        }
        if let Some(dataset) = &self.dataset {
            writeln!(out)?;
            write_dataset(dataset, out)?;
        }
        Ok(())
    }
}

fn write_machine(machine: &Machine, out: &mut dyn Write) -> fmt::Result {
    let unknown = || "unknown".to_owned();
    let simd: Vec<_> = machine
        .simd
        .iter()
        .map(|set| format!("{} {}", set.name, if set.available { "yes" } else { "no" }))
        .collect();
    let memory = machine.memory_bytes.map_or_else(unknown, bytes);
    let available = machine.memory_available_bytes.map_or_else(unknown, bytes);
    let cache = machine
        .cache_folder
        .as_ref()
        .map_or_else(unknown, |folder| folder.display().to_string());
    let free = machine.cache_free_bytes.map_or_else(unknown, bytes);
    writeln!(out, "regraft    {}", machine.regraft)?;
    writeln!(out, "kernels    {}", machine.kernels)?;
    writeln!(out, "system     {} {}", machine.os, machine.architecture)?;
    let cpu = machine.cpu.clone().unwrap_or_else(unknown);
    writeln!(out, "cpu        {cpu}")?;
    writeln!(
        out,
        "cores      {}, threads {}",
        machine.cores, machine.threads
    )?;
    writeln!(out, "simd       {}", simd.join(", "))?;
    writeln!(out, "memory     {memory}, {available} available")?;
    writeln!(out, "cache      {cache}, {free} free")
}

fn write_dataset(dataset: &DatasetReport, out: &mut dyn Write) -> fmt::Result {
    let classes = counted(dataset.classes.len(), "class", "classes");
    writeln!(out, "data       {}, {classes}", dataset.root.display())?;
    for split in &dataset.splits {
        let classes: Vec<_> = split
            .per_class
            .iter()
            .map(|class| format!("{} {}", class.class, class.images))
            .collect();
        let images = counted(split.images, "image", "images");
        let split = split.split.to_string();
        writeln!(out, "{split:<10} {images}: {}", classes.join(", "))?;
    }
    let formats: Vec<_> = dataset
        .images
        .formats
        .iter()
        .map(|(format, count)| format!("{format} {}", grouped(*count as u64)))
        .collect();
    let size = bytes(dataset.images.bytes);
    writeln!(out, "files      {}, {size}", formats.join(", "))?;
    let spread = |s: Spread| format!("{} to {}, median {}", s.min, s.max, s.median);
    writeln!(out, "width      {}", spread(dataset.images.width_px))?;
    writeln!(out, "height     {}", spread(dataset.images.height_px))?;
    writeln!(out)?;
    if dataset.findings.is_empty() {
        return writeln!(out, "nothing is wrong with it");
    }
    for finding in &dataset.findings {
        write_finding(finding, out)?;
    }
    Ok(())
}

fn write_finding(finding: &Finding, out: &mut dyn Write) -> fmt::Result {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    writeln!(out, "{severity}: {}", finding.message)?;
    for group in finding.groups.iter().take(FILES_SHOWN) {
        let paths: Vec<_> = group
            .iter()
            .map(|path| format!("`{}`", path.display()))
            .collect();
        writeln!(out, "  {}", paths.join(" = "))?;
    }
    if finding.count > FILES_SHOWN {
        writeln!(out, "  and {} more", finding.count - FILES_SHOWN)?;
    }
    Ok(())
}
