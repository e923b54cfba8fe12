//! The format of `torch.save` since PyTorch 1.6: an uncompressed zip with `data.pkl` and one member a storage.
//!
//! Reference: `_save` in `torch/serialization.py` and `caffe2/serialize/inline_container.cc`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::pickle::Program;
use super::{StateDict, assemble};
use crate::error::WeightsError;

/// Pickles hold names and shapes; that of a model with 100,000 tensors has 20 MB.
const MAX_PICKLE: u64 = 256 << 20;

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<StateDict, WeightsError> {
    let damaged =
        |error: ZipError| WeightsError::corrupt(path, format!("its zip directory: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;

    let names: Vec<String> = (0..archive.len())
        .map(|index| {
            archive
                .name_for_index(index)
                .and_then(Result::ok)
                .map(Cow::into_owned)
                .unwrap_or_default()
        })
        .collect();
    let Some(root) = names.iter().find_map(|name| {
        let root = name.strip_suffix("data.pkl")?;
        (root.is_empty() || root.ends_with('/')).then(|| root.to_owned())
    }) else {
        return Err(WeightsError::UnknownFormat {
            path: path.to_owned(),
            looks_like: "a zip archive without `data.pkl`",
        });
    };

    if let Some(order) = read_member(path, &mut archive, &format!("{root}byteorder"), 16)?
        && order != b"little"
    {
        return Err(WeightsError::Unsupported {
            path: path.to_owned(),
            what: "was written on a big-endian machine".to_owned(),
        });
    }
    let pickle = read_member(path, &mut archive, &format!("{root}data.pkl"), MAX_PICKLE)?
        .ok_or_else(|| WeightsError::corrupt(path, "`data.pkl` is missing"))?;
    let program = Program::read(&pickle).map_err(|fault| fault.at(path))?;

    let mut storages = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(key) = name
            .strip_prefix(&root)
            .and_then(|name| name.strip_prefix("data/"))
        {
            storages.insert(
                key.to_owned(),
                stored_range(path, &mut archive, index, name, bytes.len())?,
            );
        }
    }
    assemble(path, &program, &storages)
}

/// Where an uncompressed member lies in the file.
fn stored_range(
    path: &Path,
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    index: usize,
    name: &str,
    file_length: usize,
) -> Result<Range<usize>, WeightsError> {
    let damaged =
        |reason: String| WeightsError::corrupt(path, format!("its member `{name}`: {reason}"));
    let member = archive
        .by_index_raw(index)
        .map_err(|error| damaged(error.to_string()))?;
    if member.compression() != zip::CompressionMethod::Stored || member.encrypted() {
        return Err(WeightsError::Unsupported {
            path: path.to_owned(),
            what: format!("is compressed or encrypted (`{name}`), which torch.save never does"),
        });
    }
    if member.size() != member.compressed_size() {
        return Err(damaged(format!(
            "{} bytes stored as {}",
            member.size(),
            member.compressed_size()
        )));
    }
    let start = member
        .data_start()
        .and_then(|start| usize::try_from(start).ok());
    let range = start
        .and_then(|start| Some(start..start.checked_add(usize::try_from(member.size()).ok()?)?));
    range
        .filter(|range| range.end <= file_length)
        .ok_or_else(|| {
            damaged(format!(
                "its {} bytes reach beyond the end of the file",
                member.size()
            ))
        })
}

/// Reads a small member whole, its checksum verified; `None` if there is none of that name.
fn read_member(
    path: &Path,
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, WeightsError> {
    let damaged =
        |reason: String| WeightsError::corrupt(path, format!("its member `{name}`: {reason}"));
    let member = match archive.by_name(name) {
        Ok(member) => member,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(damaged(error.to_string())),
    };
    let mut content = Vec::new();
    member
        .take(limit + 1)
        .read_to_end(&mut content)
        .map_err(|error| damaged(error.to_string()))?;
    if content.len() as u64 > limit {
        return Err(damaged(format!("more than {limit} bytes")));
    }
    Ok(Some(content))
}
