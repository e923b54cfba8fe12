//! Checkpoints as Hugging Face folders keep them: one file of a known name, or shards listed by an index.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use serde::Deserialize;

use crate::checkpoint::Part;
use crate::error::WeightsError;

/// File names tried in a folder or hub repository, in order.
pub const CHECKPOINT_NAMES: &[&str] = &[
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// `*.index.json` of a sharded checkpoint; sizes and comments in it don't matter.
#[derive(Deserialize)]
struct Index {
    /// Tensor → file.
    weight_map: BTreeMap<String, String>,
}

pub(crate) fn open(folder: &Path) -> Result<Vec<Part>, WeightsError> {
    for name in CHECKPOINT_NAMES {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let bytes = std::fs::read(&path).map_err(WeightsError::io("read", &path))?;
            return open_index(&path, &bytes);
        }
        return Ok(vec![Part::open(&path)?]);
    }
    Err(WeightsError::NoCheckpointInFolder {
        path: folder.to_owned(),
        expected: CHECKPOINT_NAMES,
    })
}

impl Index {
    fn parse(path: &Path, json: &[u8]) -> Result<Self, WeightsError> {
        serde_json::from_slice(json).map_err(|error| {
            WeightsError::corrupt(
                path,
                format!("it is no index of a sharded checkpoint: {error}"),
            )
        })
    }

    /// The distinct files, sorted.
    fn shards(&self, path: &Path) -> Result<Vec<&str>, WeightsError> {
        let shards: BTreeSet<&str> = self.weight_map.values().map(String::as_str).collect();
        if shards.is_empty() {
            return Err(WeightsError::corrupt(path, "its `weight_map` is empty"));
        }
        // A name that leads out of the folder is no shard of this checkpoint.
        let strays = |shard: &&&str| {
            shard.is_empty() || shard.contains(['/', '\\', ':']) || shard.starts_with('.')
        };
        if let Some(stray) = shards.iter().find(strays) {
            return Err(WeightsError::corrupt(
                path,
                format!("the shard `{stray}` is not a plain file name"),
            ));
        }
        Ok(shards.into_iter().collect())
    }
}

/// The files that the index at `path` names.
pub(crate) fn shards(path: &Path) -> Result<Vec<String>, WeightsError> {
    let json = std::fs::read(path).map_err(WeightsError::io("read", path))?;
    let index = Index::parse(path, &json)?;
    Ok(index.shards(path)?.into_iter().map(str::to_owned).collect())
}

/// Opens the shards that an index names, all of which must be beside it.
pub(crate) fn open_index(path: &Path, json: &[u8]) -> Result<Vec<Part>, WeightsError> {
    let index = Index::parse(path, json)?;
    let shards = index.shards(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut parts = Vec::with_capacity(shards.len());
    for &shard in &shards {
        let shard_path = folder.join(shard);
        if !shard_path.is_file() {
            return Err(WeightsError::MissingShard {
                index: path.to_owned(),
                shard: shard.to_owned(),
                shards: shards.len(),
            });
        }
        parts.push(Part::open(&shard_path)?);
    }
    let present: HashSet<&str> = parts
        .iter()
        .flat_map(|part| part.entries.iter().map(|entry| entry.name.as_str()))
        .collect();
    match index
        .weight_map
        .iter()
        .find(|(name, _)| !present.contains(name.as_str()))
    {
        Some((name, shard)) => Err(WeightsError::corrupt(
            path,
            format!("`{name}` should be in `{shard}`, but no shard has it"),
        )),
        None => Ok(parts),
    }
}
