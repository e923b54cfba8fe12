//! `regraft inspect`: the layers of a model, or the tensors of a checkpoint.

use crate::args::InspectArgs;
use crate::exit_status::ExitStatus;
use crate::numbers::{grouped, short};
use crate::output::{Output, Report};
use crate::subject::Subject;
use crate::table::{Align, Table};
use regraft::graph::{Parameter, SummaryRow, surgery};
use regraft::models::{BuildOptions, Model, build, models};
use regraft::train::config::BatchNormMode;
use regraft::train::recipe::{self, Recipe};
use regraft::train::run_folder::RunFolder;
use regraft::train::{Strategy, TrainConfig};
use regraft::weights::{Checkpoint, Hub, LoadOptions, Silent};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// Shows what something consists of.
pub(crate) fn run(args: &InspectArgs, output: &mut Output) -> anyhow::Result<ExitStatus> {
    match Subject::find(&args.subject)? {
        Subject::Checkpoint(path) => output.report(&CheckpointReport::new(&path)?)?,
        Subject::Model(name) => output.report(&ModelReport::new(&name, args)?)?,
        Subject::Run(run) => output.report(&run_report(&run, args)?)?,
    }
    Ok(ExitStatus::Done)
}

/// A run is its model, marked as it was trained; flags show what another strategy would train.
fn run_report(run: &RunFolder, args: &InspectArgs) -> anyhow::Result<ModelReport> {
    let card = run.read_card()?;
    let mut config = TrainConfig::read(&run.path().join("config.toml"))?;
    if args.strategy.is_some() {
        (config.freeze, config.unfreeze) = (None, None);
    }
    let flags = TrainConfig {
        strategy: args.strategy,
        freeze: args.freeze.clone(),
        unfreeze: args.unfreeze.clone(),
        batch_norm: args.batch_norm,
        ..TrainConfig::default()
    };
    let settings = flags.or(config).check()?;
    let [height, width] = card.preprocessing.input_size;
    let options = BuildOptions {
        num_classes: Some(args.num_classes.unwrap_or(card.classes.len())),
        input_size: Some(args.image_size.map_or([height, width], |size| [size, size])),
        ..BuildOptions::default()
    };
    let mut model = build(&card.architecture, &options)?;
    recipe::apply(&mut model, settings.recipe())?;
    let weights = run.weights_path();
    Ok(ModelReport {
        classes: Some(card.classes),
        weights: Some(Comparison::new(&model, &weights)?),
        ..ModelReport::of(&model)
    })
}

#[derive(Debug, Serialize)]
struct ModelReport {
    model: &'static str,
    title: &'static str,
    input_size: [usize; 2],
    num_classes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<String>>,
    layers: Vec<Layer>,
    stages: Vec<Stage>,
    /// The layers after which training starts.
    cut: Vec<String>,
    /// Values that cross the cut for one image: what the feature cache keeps of it.
    cut_values: usize,
    trainable_parameters: usize,
    total_parameters: usize,
    trainable_percent: f64,
    multiply_adds: u64,
    frozen_multiply_adds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<Comparison>,
}

#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    operator: &'static str,
    /// Without the batch.
    shape: Vec<usize>,
    parameters: usize,
    trainable: usize,
    multiply_adds: u64,
    /// Computed once per image.
    frozen: bool,
}

#[derive(Debug, Serialize)]
struct Stage {
    pattern: String,
    parameters: usize,
    trainable: usize,
}

/// How a checkpoint fits a model.
#[derive(Debug, Serialize)]
struct Comparison {
    path: PathBuf,
    format: String,
    loaded: usize,
    /// Parameters of a head that the checkpoint has for another number of classes, or not at all.
    replaced_head: Vec<String>,
}

impl Comparison {
    fn new(model: &Model, path: &Path) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let options = LoadOptions {
            head: &[model.head],
            hint: Some(format!("the model is `{}`", model.entry.name)),
            ..LoadOptions::default()
        };
        let expected = model.graph.parameters().iter();
        let expected = expected.map(|p| (p.name.as_str(), p.shape.as_slice()));
        let report = checkpoint.match_parameters(expected, &options)?;
        Ok(Self {
            path: path.to_owned(),
            format: checkpoint.format().to_string(),
            loaded: report.loaded.len(),
            replaced_head: report.replaced_head,
        })
    }
}

impl ModelReport {
    fn new(name: &str, args: &InspectArgs) -> anyhow::Result<Self> {
        let options = BuildOptions {
            num_classes: args.num_classes,
            input_size: args.image_size.map(|size| [size, size]),
            ..BuildOptions::default()
        };
        let mut model = build(name, &options)?;
        // With a strategy it is shown what `train` would do, else the model as it is.
        let batch_norm = match args.strategy {
            Some(_) => BatchNormMode::Keep,
            None => BatchNormMode::Train,
        };
        let recipe = Recipe {
            strategy: args.strategy.unwrap_or(Strategy::Full),
            batch_norm: args.batch_norm.unwrap_or(batch_norm),
            freeze: args.freeze.as_deref(),
            unfreeze: args.unfreeze.as_deref(),
        };
        recipe::apply(&mut model, recipe)?;
        let weights = match args.weights.as_deref() {
            None | Some("none") => None,
            Some(id) if id.starts_with("hub:") => {
                let path = Hub::from_env()?.fetch(&id.parse()?, &Silent)?;
                Some(Comparison::new(&model, &path)?)
            }
            Some(path) => Some(Comparison::new(&model, Path::new(path))?),
        };
        Ok(Self {
            weights,
            ..Self::of(&model)
        })
    }

    fn of(model: &Model) -> Self {
        let graph = &model.graph;
        let summary = graph.summary();
        let cut = surgery::frozen_boundary(graph);
        Self {
            model: model.entry.name,
            title: model.entry.title,
            input_size: model.preprocessing.input_size,
            num_classes: graph
                .outputs()
                .first()
                .map_or(0, |(_, id)| graph.shape(*id).sample_len()),
            classes: None,
            stages: model
                .stages
                .iter()
                .map(|stage| {
                    let count = |keep: fn(&Parameter) -> bool| {
                        let parameters = graph.parameters().iter();
                        let of_stage = parameters.filter(|p| stage.matches(&p.name) && keep(p));
                        of_stage.map(Parameter::len).sum()
                    };
                    Stage {
                        pattern: stage.as_str().to_owned(),
                        parameters: count(|p| !p.kind.is_buffer()),
                        trainable: count(|p| p.trainable),
                    }
                })
                .collect(),
            cut_values: cut.sample_len(graph),
            cut: cut
                .nodes
                .iter()
                .map(|id| graph.node(*id).name.clone())
                .collect(),
            trainable_parameters: summary.trainable,
            total_parameters: summary.parameters,
            trainable_percent: 100.0 * summary.trainable as f64 / summary.parameters.max(1) as f64,
            multiply_adds: summary.multiply_adds,
            frozen_multiply_adds: summary.frozen_multiply_adds,
            layers: summary.rows.into_iter().map(Layer::new).collect(),
            weights: None,
        }
    }

    /// The last of the layers after which training starts, and what to say behind it.
    fn cut_line(&self) -> Option<(&str, String)> {
        let behind = self.layers.iter().rfind(|l| self.cut.contains(&l.name))?;
        let is_input = behind.operator == "input";
        if is_input || self.trainable_parameters == 0 {
            return None;
        }
        let text = format!(
            "cut: above runs once per image and is cached ({} values), below in every epoch",
            grouped(self.cut_values as u64)
        );
        Some((&behind.name, text))
    }

    fn layer_table(&self) -> Table {
        let mut table = Table::new(&[
            ("LAYER", Align::Left),
            ("OPERATOR", Align::Left),
            ("OUTPUT", Align::Right),
            ("PARAMETERS", Align::Right),
            ("MULT-ADDS", Align::Right),
            ("", Align::Left),
        ]);
        let cut = self.cut_line();
        for layer in &self.layers {
            let nonzero = |n: u64, text: String| if n == 0 { String::new() } else { text };
            table.row([
                layer.name.clone(),
                layer.operator.to_owned(),
                layer
                    .shape
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("x"),
                nonzero(layer.parameters as u64, grouped(layer.parameters as u64)),
                nonzero(layer.multiply_adds, short(layer.multiply_adds)),
                layer.state().to_owned(),
            ]);
            if let Some((behind, text)) = &cut
                && layer.name == *behind
            {
                table.rule(text.clone());
            }
        }
        table
    }

    fn stage_table(&self) -> Table {
        let mut table = Table::new(&[
            ("STAGE", Align::Right),
            ("PARAMETERS", Align::Right),
            ("TRAINED", Align::Right),
            ("NAMES", Align::Left),
        ]);
        for (index, stage) in self.stages.iter().enumerate() {
            table.row([
                // As `last:N` counts them.
                format!("last:{}", self.stages.len() - index),
                grouped(stage.parameters as u64),
                grouped(stage.trainable as u64),
                stage.pattern.clone(),
            ]);
        }
        table
    }
}

impl Layer {
    fn new(row: SummaryRow) -> Self {
        Self {
            name: row.name,
            operator: row.op,
            shape: row.shape.sample().unwrap_or_default(),
            parameters: row.parameters,
            trainable: row.trainable,
            multiply_adds: row.multiply_adds,
            frozen: row.frozen,
        }
    }

    fn state(&self) -> &'static str {
        match (self.parameters, self.trainable) {
            (0, _) => "",
            (_, 0) => "frozen",
            (all, some) if some < all => "partly trained",
            _ => "trained",
        }
    }
}

impl Report for ModelReport {
    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        let [height, width] = self.input_size;
        writeln!(
            out,
            "{} ({}), {height}x{width} images, {} classes\n",
            self.model, self.title, self.num_classes
        )?;
        writeln!(out, "{}", self.layer_table())?;
        writeln!(out, "{}", self.stage_table())?;
        writeln!(
            out,
            "trainable params: {} || all params: {} || trainable%: {:.4}",
            grouped(self.trainable_parameters as u64),
            grouped(self.total_parameters as u64),
            self.trainable_percent
        )?;
        let share = 100.0 * self.frozen_multiply_adds as f64 / self.multiply_adds.max(1) as f64;
        writeln!(
            out,
            "multiply-adds per image: {}, {share:.1} % before the cut",
            short(self.multiply_adds)
        )?;
        if let Some(weights) = &self.weights {
            write!(
                out,
                "weights: {} tensors fit, from `{}` ({})",
                weights.loaded,
                weights.path.display(),
                weights.format
            )?;
            if !weights.replaced_head.is_empty() {
                write!(out, "; fresh: {}", weights.replaced_head.join(", "))?;
            }
            writeln!(out)?;
        }
        if let Some(classes) = &self.classes {
            writeln!(out, "classes: {}", classes.join(", "))?;
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct CheckpointReport {
    path: PathBuf,
    format: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrapper: Option<String>,
    tensors: Vec<Tensor>,
    total_parameters: usize,
    bytes: usize,
    /// Models of the zoo that load it.
    fits: Vec<Fit>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Tensor {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct Fit {
    model: &'static str,
    /// Whether everything is there, the classifier for the published classes too.
    with_head: bool,
}

impl CheckpointReport {
    fn new(path: &Path) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let infos = || {
            let names = checkpoint.names();
            names.filter_map(|name| Some((name, checkpoint.info(name)?)))
        };
        Ok(Self {
            path: path.to_owned(),
            format: checkpoint.format().to_string(),
            wrapper: checkpoint.wrapper().map(str::to_owned),
            tensors: infos()
                .map(|(name, info)| Tensor {
                    name: name.to_owned(),
                    dtype: info.dtype.name(),
                    shape: info.shape.clone(),
                })
                .collect(),
            total_parameters: infos().map(|(_, info)| info.numel()).sum(),
            bytes: infos().map(|(_, i)| i.numel() * i.dtype.size()).sum(),
            fits: fits(&checkpoint)?,
            metadata: checkpoint.metadata().clone(),
        })
    }
}

/// The models whose parameters a checkpoint has, apart from the head.
fn fits(checkpoint: &Checkpoint) -> anyhow::Result<Vec<Fit>> {
    let mut fits = Vec::new();
    for entry in models() {
        let model = build(entry.name, &BuildOptions::default())?;
        let options = LoadOptions {
            head: &[model.head],
            ..LoadOptions::default()
        };
        let expected = model.graph.parameters().iter();
        let expected = expected.map(|p| (p.name.as_str(), p.shape.as_slice()));
        if let Ok(report) = checkpoint.match_parameters(expected, &options) {
            fits.push(Fit {
                model: entry.name,
                with_head: report.replaced_head.is_empty(),
            });
        }
    }
    Ok(fits)
}

impl Report for CheckpointReport {
    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        let mut table = Table::new(&[
            ("TENSOR", Align::Left),
            ("TYPE", Align::Left),
            ("SHAPE", Align::Left),
        ]);
        for tensor in &self.tensors {
            table.row([
                tensor.name.clone(),
                tensor.dtype.to_owned(),
                format!("{:?}", tensor.shape),
            ]);
        }
        writeln!(out, "{table}")?;
        writeln!(
            out,
            "{} tensors, {} elements, {}, {}",
            self.tensors.len(),
            grouped(self.total_parameters as u64),
            crate::numbers::bytes(self.bytes as u64),
            self.format
        )?;
        if let Some(wrapper) = &self.wrapper {
            writeln!(out, "found under `{wrapper}`")?;
        }
        for (key, value) in &self.metadata {
            writeln!(out, "metadata {key}: {value}")?;
        }
        for fit in &self.fits {
            let head = if fit.with_head {
                ""
            } else {
                ", apart from the head"
            };
            writeln!(out, "these are weights of `{}`{head}", fit.model)?;
        }
        if self.fits.is_empty() {
            writeln!(out, "no model of the zoo has these names and shapes")?;
        }
        Ok(())
    }
}
