//! Reading and writing safetensors files.
//!
//! Reading checks the whole header (by the reference implementation, `safetensors`). Writing is ours because the
//! reference neither syncs the file nor fixes the order of metadata, and the same weights must give the same bytes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufWriter, Write};
use std::path::Path;

use safetensors::{SafeTensorError, SafeTensors};
use serde::Serialize;

use crate::atomic_file;
use crate::checkpoint::{Entry, TensorInfo};
use crate::dtype::DType;
use crate::error::WeightsError;

/// Bytes of the header's length at the start of a file.
const PREFIX: usize = 8;

/// One tensor to be written.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Name in the file.
    pub name: &'a str,
    /// Dimensions, outermost first; empty for a scalar.
    pub shape: &'a [usize],
    /// Elements, row-major.
    pub data: TensorData<'a>,
}

/// The elements of a [`TensorView`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum TensorData<'a> {
    /// Stored as `F32`.
    F32(&'a [f32]),
    /// Stored as `I64`.
    I64(&'a [i64]),
    /// Stored as `U8`.
    U8(&'a [u8]),
}

impl TensorData<'_> {
    fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I64(_) => DType::I64,
            Self::U8(_) => DType::U8,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        match self {
            Self::F32(values) => write_values(values, f32::to_le_bytes, out),
            Self::I64(values) => write_values(values, i64::to_le_bytes, out),
            Self::U8(values) => out.write_all(values),
        }
    }
}

/// Writes in blocks: one call an element would cost more than the disk.
fn write_values<T: Copy, const N: usize>(
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
    out: &mut impl Write,
) -> std::io::Result<()> {
    const BLOCK: usize = 16 << 10;
    let mut block = Vec::with_capacity(BLOCK.min(values.len()) * N);
    for values in values.chunks(BLOCK) {
        block.clear();
        block.extend(values.iter().flat_map(|&value| bytes(value)));
        out.write_all(&block)?;
    }
    Ok(())
}

/// Writes a safetensors file: to a temporary file beside it, synced, then renamed over `path`.
///
/// Tensors keep their order, except that wider element types come first, which aligns all of them. The metadata gets
/// `format: pt` unless it names another, because the Hugging Face loaders insist on it.
///
/// # Errors
/// If two tensors have one name, a shape and its values disagree, or the file cannot be written; then `path` is
/// untouched and no temporary file is left.
pub fn write_safetensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = TensorView<'a>>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightsError> {
    #[derive(Serialize)]
    struct Header<'a> {
        dtype: &'static str,
        shape: &'a [usize],
        data_offsets: [usize; 2],
    }

    let mut tensors: Vec<TensorView<'a>> = tensors.into_iter().collect();
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.data.dtype().size()));

    let mut metadata = metadata.clone();
    metadata
        .entry("format".to_owned())
        .or_insert_with(|| "pt".to_owned());
    let mut header = serde_json::to_string(&metadata)
        .map(|metadata| format!("{{\"__metadata__\":{metadata}"))
        .map_err(|error| WeightsError::io("write", path)(error.into()))?;

    let mut seen = HashSet::new();
    let mut offset = 0;
    for TensorView { name, shape, data } in &tensors {
        if !seen.insert(*name) || *name == "__metadata__" {
            return Err(WeightsError::DuplicateName {
                path: path.to_owned(),
                name: (*name).to_owned(),
            });
        }
        let expected = shape
            .iter()
            .try_fold(1usize, |numel, &dimension| numel.checked_mul(dimension));
        if expected != Some(data.len()) {
            return Err(WeightsError::ShapeMismatch {
                name: (*name).to_owned(),
                shape: shape.to_vec(),
                expected: expected.unwrap_or(usize::MAX),
                got: data.len(),
            });
        }
        let end = offset + data.len() * data.dtype().size();
        let entry = Header {
            dtype: data.dtype().name(),
            shape,
            data_offsets: [offset, end],
        };
        offset = end;
        let entry = serde_json::to_string(name)
            .and_then(|name| Ok(format!(",{name}:{}", serde_json::to_string(&entry)?)))
            .map_err(|error| WeightsError::io("write", path)(error.into()))?;
        header.push_str(&entry);
    }
    header.push('}');
    // Spaces keep the data aligned, as the format allows.
    header.extend(std::iter::repeat_n(
        ' ',
        header.len().next_multiple_of(PREFIX) - header.len(),
    ));

    atomic_file::write(path, |file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for tensor in &tensors {
            tensor.data.write(&mut out)?;
        }
        out.flush()
    })
}

/// Tensors of a safetensors file in the order of their data, and its metadata.
pub(crate) fn read(
    path: &Path,
    bytes: &[u8],
) -> Result<(Vec<Entry>, BTreeMap<String, String>), WeightsError> {
    let (header_length, header) = SafeTensors::read_metadata(bytes)
        .map_err(|error| WeightsError::corrupt(path, explain(error, bytes)))?;
    let data = PREFIX + header_length;
    let infos: HashMap<String, _> = header.tensors();
    let mut entries = Vec::with_capacity(infos.len());
    for name in header.offset_keys() {
        let Some(info) = infos.get(&name) else {
            continue;
        };
        let dtype =
            DType::from_safetensors(info.dtype).ok_or_else(|| WeightsError::Unsupported {
                path: path.to_owned(),
                what: format!("holds `{name}` of the type {}", info.dtype),
            })?;
        let (start, end) = info.data_offsets;
        entries.push(Entry {
            name,
            info: TensorInfo {
                dtype,
                shape: info.shape.clone(),
            },
            file: 0,
            bytes: data + start..data + end,
            strides: None,
        });
    }
    let metadata = header
        .metadata()
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    Ok((entries, metadata))
}

/// Adds the numbers that the reference implementation leaves out.
fn explain(error: SafeTensorError, bytes: &[u8]) -> String {
    let length = bytes.len();
    match error {
        SafeTensorError::HeaderTooSmall => {
            format!("a safetensors file has more than {length} bytes")
        }
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooLarge => {
            let claimed = bytes
                .first_chunk::<PREFIX>()
                .map_or(0, |prefix| u64::from_le_bytes(*prefix));
            format!("its header claims {claimed} bytes, the file has {length}")
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("its tensors do not end where the file does, at {length} bytes")
        }
        SafeTensorError::ValidationOverflow => "a tensor's shape overflows".to_owned(),
        other => other.to_string(),
    }
}
