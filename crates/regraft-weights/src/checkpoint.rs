//! One interface to every checkpoint format: names, shapes and lazy reading of single tensors.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::dtype::{DType, Stored};
use crate::error::WeightsError;
use crate::mapped_file::MappedFile;
use crate::{folder, safetensors_file, torch};

/// Prefixes that wrappers of a model put before every name: `torch.compile`, `DataParallel`.
const WRAPPER_PREFIXES: &[&str] = &["_orig_mod.", "module."];

/// Counts the models averaged by `torch.optim.swa_utils.AveragedModel`, beside the prefixed weights.
const AVERAGE_COUNTER: &str = "n_averaged";

/// A checkpoint, opened but not read: a file, or a folder or set of shards as Hugging Face keeps them.
///
/// Opening reads headers only and checks all of them: afterwards every tensor is known to lie inside its file.
/// Each read converts one tensor straight from the memory-mapped file.
///
/// ```no_run
/// # fn main() -> Result<(), regraft_weights::WeightsError> {
/// let checkpoint = regraft_weights::Checkpoint::open("resnet18.pth".as_ref())?;
/// for name in checkpoint.names() {
///     let values = checkpoint.read_f32(name)?;
///     println!("{name}: {} values", values.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    format: Format,
    files: Vec<MappedFile>,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    metadata: BTreeMap<String, String>,
    wrapper: Option<String>,
}

/// How a checkpoint is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One or more `.safetensors` files.
    Safetensors,
    /// `torch.save` since PyTorch 1.6.
    TorchZip,
    /// `torch.save` before PyTorch 1.6, or with `_use_new_zipfile_serialization=False`.
    TorchLegacy,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "PyTorch zip",
            Self::TorchLegacy => "PyTorch legacy",
        })
    }
}

/// Element type and shape of a stored tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type in the file.
    pub dtype: DType,
    /// Dimensions, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Where a tensor lies. Readers of formats make these and vouch for every number in them.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) info: TensorInfo,
    /// Index of its file.
    pub(crate) file: usize,
    /// From its first element to the end of its last.
    pub(crate) bytes: Range<usize>,
    /// In elements; `None` when row-major without gaps.
    pub(crate) strides: Option<Vec<usize>>,
}

/// One parsed file, before names are cleaned and shards joined.
pub(crate) struct Part {
    pub(crate) file: MappedFile,
    pub(crate) format: Format,
    pub(crate) entries: Vec<Entry>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) wrapper: Option<String>,
}

impl Checkpoint {
    /// Opens a checkpoint, whatever its format: the content decides, not the extension.
    ///
    /// - safetensors; PyTorch `.pth`/`.pt`/`.bin`, zip or legacy;
    /// - `*.index.json` of a sharded checkpoint;
    /// - a folder with `model.safetensors`, `model.safetensors.index.json`, `pytorch_model.bin` or
    ///   `pytorch_model.bin.index.json`, in this order.
    ///
    /// A PyTorch file may hold the state dict itself or under one of [`WRAPPERS`](crate::WRAPPERS). The prefixes
    /// `module.` and `_orig_mod.` are removed when every tensor carries them.
    ///
    /// # Errors
    /// If there is no such file, it is of another format, contradicts itself, or asks to run code.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let parts = if path.is_dir() {
            folder::open(path)?
        } else {
            Part::open_any(path)?
        };
        Self::join(path, parts)
    }

    fn join(path: &Path, parts: Vec<Part>) -> Result<Self, WeightsError> {
        let mut checkpoint = Self {
            path: path.to_owned(),
            format: parts
                .first()
                .map_or(Format::Safetensors, |part| part.format),
            files: Vec::with_capacity(parts.len()),
            entries: Vec::new(),
            by_name: HashMap::new(),
            metadata: BTreeMap::new(),
            wrapper: None,
        };
        for part in parts {
            let file = checkpoint.files.len();
            checkpoint.files.push(part.file);
            checkpoint.entries.extend(
                part.entries
                    .into_iter()
                    .map(|entry| Entry { file, ..entry }),
            );
            checkpoint.metadata.extend(part.metadata);
            checkpoint.wrapper = checkpoint.wrapper.or(part.wrapper);
        }
        strip_wrapper_prefixes(&mut checkpoint.entries);
        for (index, entry) in checkpoint.entries.iter().enumerate() {
            if checkpoint
                .by_name
                .insert(entry.name.clone(), index)
                .is_some()
            {
                return Err(WeightsError::DuplicateName {
                    path: checkpoint.path,
                    name: entry.name.clone(),
                });
            }
        }
        tracing::debug!(
            path = %checkpoint.path.display(),
            format = %checkpoint.format,
            tensors = checkpoint.entries.len(),
            "checkpoint opened"
        );
        Ok(checkpoint)
    }

    /// The file or folder that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The keys under which the state dict was found, such as `state_dict` or `checkpoint.model`.
    pub fn wrapper(&self) -> Option<&str> {
        self.wrapper.as_deref()
    }

    /// `__metadata__` of safetensors files; empty for others.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no tensor at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names of the tensors, in the order of the file.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Element type and shape, or `None` if there is no such tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name
            .get(name)
            .map(|&index| &self.entries[index].info)
    }

    /// Reads a tensor of any real type as `f32`, row-major.
    ///
    /// # Errors
    /// If there is no such tensor, or it is complex.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let mut values = vec![0.0; self.entry(name)?.info.numel()];
        self.read_f32_into(name, &mut values)?;
        Ok(values)
    }

    /// Reads a tensor of any real type into `out`, row-major.
    ///
    /// # Errors
    /// If there is no such tensor, it is complex, or `out` has another length.
    pub fn read_f32_into(&self, name: &str, out: &mut [f32]) -> Result<(), WeightsError> {
        let entry = self.entry(name)?;
        self.check_length(entry, out.len())?;
        self.converted(entry, self.stored(entry).read_f32(out), DType::F32)
    }

    /// Reads an integer or boolean tensor, such as `num_batches_tracked`, row-major.
    ///
    /// # Errors
    /// If there is no such tensor, or its type does not fit `i64`.
    pub fn read_i64(&self, name: &str) -> Result<Vec<i64>, WeightsError> {
        let entry = self.entry(name)?;
        let mut values = vec![0; entry.info.numel()];
        self.converted(entry, self.stored(entry).read_i64(&mut values), DType::I64)?;
        Ok(values)
    }

    fn entry(&self, name: &str) -> Result<&Entry, WeightsError> {
        match self.by_name.get(name) {
            Some(&index) => Ok(&self.entries[index]),
            None => Err(WeightsError::TensorNotFound {
                path: self.path.clone(),
                name: name.to_owned(),
            }),
        }
    }

    fn stored<'a>(&'a self, entry: &'a Entry) -> Stored<'a> {
        Stored {
            dtype: entry.info.dtype,
            bytes: &self.files[entry.file].bytes()[entry.bytes.clone()],
            shape: &entry.info.shape,
            strides: entry.strides.as_deref(),
        }
    }

    fn check_length(&self, entry: &Entry, got: usize) -> Result<(), WeightsError> {
        let expected = entry.info.numel();
        if got == expected {
            return Ok(());
        }
        Err(WeightsError::WrongLength {
            path: self.path.clone(),
            name: entry.name.clone(),
            expected,
            got,
        })
    }

    fn converted(&self, entry: &Entry, converted: bool, wanted: DType) -> Result<(), WeightsError> {
        if converted {
            return Ok(());
        }
        Err(WeightsError::UnsupportedDType {
            path: self.path.clone(),
            name: entry.name.clone(),
            dtype: entry.info.dtype,
            wanted,
        })
    }
}

impl Part {
    /// Opens one file, or the shards that an index names.
    fn open_any(path: &Path) -> Result<Vec<Self>, WeightsError> {
        let file = MappedFile::open(path)?;
        if looks_like_json(file.bytes()) {
            return folder::open_index(path, file.bytes());
        }
        Ok(vec![Self::parse(file)?])
    }

    /// Opens one file that holds tensors.
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::parse(MappedFile::open(path)?)
    }

    fn parse(file: MappedFile) -> Result<Self, WeightsError> {
        let path = file.path();
        let bytes = file.bytes();
        match detect(path, bytes)? {
            Format::Safetensors => {
                let (entries, metadata) = safetensors_file::read(path, bytes)?;
                Ok(Self {
                    file,
                    format: Format::Safetensors,
                    entries,
                    metadata,
                    wrapper: None,
                })
            }
            format => {
                let read = if format == Format::TorchZip {
                    torch::read_zip
                } else {
                    torch::read_legacy
                };
                let torch::StateDict { entries, wrapper } = read(path, bytes)?;
                Ok(Self {
                    file,
                    format,
                    entries,
                    metadata: BTreeMap::new(),
                    wrapper,
                })
            }
        }
    }
}

fn looks_like_json(bytes: &[u8]) -> bool {
    // The length that starts a safetensors file may begin like JSON, but has zeros.
    !bytes.iter().take(8).any(|&byte| byte == 0)
        && bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Tells the format by the first bytes, and names the usual wrong files.
fn detect(path: &Path, bytes: &[u8]) -> Result<Format, WeightsError> {
    let head = &bytes[..bytes.len().min(512)];
    // A pickle of the legacy magic number, whatever its protocol and framing.
    let is_legacy = head.first() == Some(&0x80)
        && head[..head.len().min(32)]
            .windows(torch::LEGACY_MAGIC.len())
            .any(|window| window == torch::LEGACY_MAGIC);
    let looks_like = match head {
        [] => "an empty file",
        _ if head.starts_with(b"PK\x03\x04") => return Ok(Format::TorchZip),
        _ if is_legacy => return Ok(Format::TorchLegacy),
        // The header's length, then the header: a JSON object.
        [_, _, _, _, _, _, _, _, b'{', ..] => return Ok(Format::Safetensors),
        _ if path
            .extension()
            .is_some_and(|extension| extension == "safetensors") =>
        {
            return Ok(Format::Safetensors);
        }
        _ if head.starts_with(b"version https://git-lfs") => {
            "a Git LFS pointer, not the file itself (run `git lfs pull`)"
        }
        _ if head.get(257..262) == Some(b"ustar") => {
            "a tar archive, perhaps of PyTorch 0.1 (load it with PyTorch and save it again)"
        }
        [0x80, 2..=5, ..] => "a Python pickle that torch.save did not write",
        _ if head.starts_with(b"\x89HDF") => "an HDF5 file, perhaps of Keras",
        _ if head.starts_with(b"GGUF") => "a GGUF file",
        [b'<', ..] => "a web page, perhaps of a failed download",
        [0x1f, 0x8b, ..] => "a gzip archive (unpack it first)",
        _ => "of an unknown format",
    };
    Err(WeightsError::UnknownFormat {
        path: path.to_owned(),
        looks_like,
    })
}

/// Removes `module.` and `_orig_mod.` for as long as all tensors carry one of them.
fn strip_wrapper_prefixes(entries: &mut [Entry]) {
    loop {
        let mut names = entries
            .iter()
            .map(|entry| entry.name.as_str())
            .filter(|&name| name != AVERAGE_COUNTER);
        let Some(first) = names.next() else {
            return;
        };
        let shared = WRAPPER_PREFIXES
            .iter()
            .find(|prefix| first.starts_with(**prefix));
        let Some(prefix) = shared.filter(|prefix| names.all(|name| name.starts_with(**prefix)))
        else {
            return;
        };
        tracing::debug!(prefix, "prefix removed from every name");
        for entry in entries.iter_mut() {
            if let Some(name) = entry.name.strip_prefix(prefix) {
                entry.name = name.to_owned();
            }
        }
    }
}
