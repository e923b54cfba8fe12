//! PyTorch checkpoints: finding the state dict in a `.pth` and where each tensor's bytes lie.
//!
//! The zip format (PyTorch 1.6 and later) and the older "legacy" format are read; nothing in either is executed.

mod legacy;
mod pickle;
mod rebuild;
mod state_dict;
mod zip_archive;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

pub(crate) use legacy::MAGIC as LEGACY_MAGIC;
pub use state_dict::WRAPPERS;

use crate::checkpoint::{Entry, TensorInfo};
use crate::dtype::DType;
use crate::error::WeightsError;
use pickle::{Fault, Program};
use rebuild::Tensor;

/// A tensor that repeats its elements (stride 0) may claim any size; beyond 1 GiB as `f32` we don't believe it.
const MAX_REPEATED: usize = 1 << 28;

/// Tensors of one file and the wrapper keys above them.
pub(crate) struct StateDict {
    pub(crate) entries: Vec<Entry>,
    pub(crate) wrapper: Option<String>,
}

/// Reads the directory and pickle of a zip checkpoint.
pub(crate) fn read_zip(path: &Path, bytes: &[u8]) -> Result<StateDict, WeightsError> {
    zip_archive::read(path, bytes)
}

/// Reads the pickles and storage table of a legacy checkpoint.
pub(crate) fn read_legacy(path: &Path, bytes: &[u8]) -> Result<StateDict, WeightsError> {
    legacy::read(path, bytes)
}

/// Puts the state dict of a pickle together with the bytes of its storages.
fn assemble(
    path: &Path,
    program: &Program<'_>,
    storages: &HashMap<String, Range<usize>>,
) -> Result<StateDict, WeightsError> {
    let found = state_dict::find(path, program)?;
    let mut entries = Vec::with_capacity(found.tensors.len());
    for (name, tensor) in found.tensors {
        let entry = place(name, tensor, storages).map_err(|fault| fault.at(path))?;
        entries.push(entry);
    }
    Ok(StateDict {
        entries,
        wrapper: found.wrapper,
    })
}

/// Checks that every element of the tensor lies in its storage, and its storage in the file.
fn place(
    name: &str,
    tensor: &Tensor,
    storages: &HashMap<String, Range<usize>>,
) -> Result<Entry, Fault> {
    let Tensor {
        storage,
        dtype,
        offset,
        shape,
        strides,
    } = tensor;
    let overflow = || Fault::corrupt(format!("`{name}` has the impossible shape {shape:?}"));
    let numel = shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .ok_or_else(overflow)?;
    let size = dtype.size();

    let mut extent = 0usize;
    if numel > 0 {
        extent = 1;
        for (&dimension, &stride) in shape.iter().zip(strides) {
            let reach = (dimension - 1).checked_mul(stride).ok_or_else(overflow)?;
            extent = extent.checked_add(reach).ok_or_else(overflow)?;
        }
    }
    let block = storages.get(&storage.key).ok_or_else(|| {
        Fault::corrupt(format!(
            "the storage `{}` of `{name}` is missing",
            storage.key
        ))
    })?;
    let stored = storage
        .numel
        .checked_mul(storage.dtype.map_or(1, DType::size))
        .ok_or_else(overflow)?;
    if stored > block.len() {
        return Err(Fault::corrupt(format!(
            "the storage `{}` of `{name}` should have {stored} bytes, got {}",
            storage.key,
            block.len()
        )));
    }
    let first = storage
        .view_offset
        .checked_add(*offset)
        .and_then(|n| n.checked_mul(size));
    let first = first.ok_or_else(overflow)?;
    let length = extent.checked_mul(size).ok_or_else(overflow)?;
    let last = first.checked_add(length).ok_or_else(overflow)?;
    if numel > 0 && last > stored {
        return Err(Fault::corrupt(format!(
            "`{name}` (shape {shape:?}, strides {strides:?}, offset {offset}) reaches beyond its storage of {stored} bytes"
        )));
    }
    if numel > MAX_REPEATED.max(stored / size) {
        return Err(Fault::corrupt(format!(
            "`{name}` claims {numel} elements from a storage of {stored} bytes"
        )));
    }
    let bytes = if numel == 0 {
        0..0
    } else {
        block.start + first..block.start + last
    };
    Ok(Entry {
        name: name.to_owned(),
        info: TensorInfo {
            dtype: *dtype,
            shape: shape.clone(),
        },
        file: 0,
        bytes,
        strides: (!is_row_major(shape, strides)).then(|| strides.clone()),
    })
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = 1;
    for (&dimension, &stride) in shape.iter().zip(strides).rev() {
        // The stride of a dimension of one element is never used.
        if dimension != 1 && stride != expected {
            return false;
        }
        expected *= dimension;
    }
    true
}

impl Fault {
    fn at(self, path: &Path) -> WeightsError {
        let path = path.to_owned();
        match self {
            Self::Corrupt(reason) => WeightsError::Corrupt { path, reason },
            Self::Refused(global) => WeightsError::RefusedCode { path, global },
            Self::Unsupported(what) => WeightsError::Unsupported { path, what },
        }
    }
}
