//! The format of `torch.save` before PyTorch 1.6: four pickles, then the list of storages, then their bytes.
//!
//! Reference: `_legacy_save` in `torch/serialization.py`.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::pickle::{Fault, Node, Program};
use super::{StateDict, assemble};
use crate::dtype::DType;
use crate::error::WeightsError;

/// The number 0x1950a86a20f9469cfc6c as a pickle, which every legacy file starts with.
pub(crate) const MAGIC: [u8; 12] = [
    0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
];

/// The only version that was ever written.
const PROTOCOL_VERSION: i64 = 1001;

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<StateDict, WeightsError> {
    let (program, storages) = read_parts(bytes).map_err(|fault| fault.at(path))?;
    assemble(path, &program, &storages)
}

type Parts<'a> = (Program<'a>, HashMap<String, Range<usize>>);

fn read_parts(bytes: &[u8]) -> Result<Parts<'_>, Fault> {
    let mut position = 0;
    let mut next = || -> Result<Program<'_>, Fault> {
        let program = Program::read(&bytes[position..])?;
        position += program.length;
        Ok(program)
    };
    next()?; // The magic number, already recognised.
    let version = next()?;
    if !matches!(version.node(version.root), Node::Int(PROTOCOL_VERSION)) {
        return Err(Fault::Unsupported(format!(
            "is not of the legacy format's version {PROTOCOL_VERSION}"
        )));
    }
    let system = next()?;
    if is_big_endian(&system) {
        return Err(Fault::Unsupported(
            "was written on a big-endian machine".to_owned(),
        ));
    }
    let program = next()?;
    let keys = next()?;
    let storages = storages(bytes, position, &program, &keys)?;
    Ok((program, storages))
}

/// The byte range of every storage, from the table at `position`: for each key a count of elements, then the elements.
fn storages(
    bytes: &[u8],
    mut position: usize,
    program: &Program<'_>,
    keys: &Program<'_>,
) -> Result<HashMap<String, Range<usize>>, Fault> {
    let mut element_sizes = HashMap::new();
    for node in program.nodes() {
        if let Node::Storage(storage) = node {
            element_sizes
                .entry(storage.key.as_str())
                .or_insert(storage.dtype.map_or(1, DType::size));
        }
    }
    let Node::List(keys_in_order) = keys.node(keys.root) else {
        return Err(Fault::corrupt("its list of storages is no list"));
    };
    let mut storages = HashMap::with_capacity(keys_in_order.len());
    for &key in keys_in_order {
        let Node::Str(key) = *keys.node(key) else {
            return Err(Fault::corrupt(
                "its list of storages has a key that is no text",
            ));
        };
        let size = element_sizes
            .get(key)
            .ok_or_else(|| Fault::corrupt(format!("its storage `{key}` belongs to no tensor")))?;
        let header = position
            .checked_add(8)
            .and_then(|end| bytes.get(position..end)?.try_into().ok());
        let numel = i64::from_le_bytes(header.ok_or_else(|| cut(key))?);
        let start = position + 8;
        let length = usize::try_from(numel)
            .ok()
            .and_then(|numel| numel.checked_mul(*size));
        let end = length
            .and_then(|length| start.checked_add(length))
            .filter(|&end| end <= bytes.len());
        let end = end.ok_or_else(|| cut(key))?;
        storages.insert(key.to_owned(), start..end);
        position = end;
    }
    Ok(storages)
}

fn cut(key: &str) -> Fault {
    Fault::corrupt(format!(
        "its storage `{key}` reaches beyond the end of the file"
    ))
}

fn is_big_endian(system: &Program<'_>) -> bool {
    let Node::Dict(items) = system.node(system.root) else {
        return false;
    };
    items.iter().any(|&(key, value)| {
        matches!(
            (system.node(key), system.node(value)),
            (Node::Str("little_endian"), Node::Bool(false))
        )
    })
}
