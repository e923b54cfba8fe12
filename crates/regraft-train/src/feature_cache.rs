//! The feature cache: what the frozen part of a model makes of each image, kept for later epochs and later runs.
//!
//! A *space* holds the rows of one computation: one transform, one frozen graph, one set of weights, one precision
//! ([`SpaceKey`]). Within a space a row is filed under the digest of the image file. So whatever changes the numbers
//! leads to other keys, a renamed or moved photo is found again, and data sets that share photos share rows.
//!
//! The cache can only make training faster, never wrong: rows are checked against their checksums before they are used,
//! a killed or crashed writer leaves nothing that is taken for a row, several processes may write at once (each its own
//! file), and what is not used gives way, least recently used first, when the cache would outgrow its limit. It may be
//! removed at any time.

mod segment;
mod space;

pub use segment::RowKey;
pub use space::{RowId, Space};

use crate::error::TrainError;
use regraft_weights::cache_folder;
use segment::{INDEX, RowFormat};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Everything besides the image file that decides the numbers of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceKey {
    /// Name of the model.
    pub model: String,
    /// Names of the nodes whose values make up a row, one after the other.
    pub cut: Vec<String>,
    /// Digest of the frozen graph: operators, edges and shapes.
    pub graph: String,
    /// Digest of the frozen graph's parameters and buffers.
    pub weights: String,
    /// How an image file becomes the graph's input.
    pub transform: String,
    /// Number format of the computation.
    pub precision: String,
    /// The engine and its version.
    pub engine: String,
}

impl SpaceKey {
    fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let fields = [
            &self.model,
            &self.graph,
            &self.weights,
            &self.transform,
            &self.precision,
            &self.engine,
        ];
        for field in fields.into_iter().chain(&self.cut) {
            // Lengths keep two fields from being taken for one.
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field.as_bytes());
        }
        hasher.finalize()
    }
}

/// A space in numbers, for a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct SpaceInfo {
    /// The folder that holds it.
    pub path: PathBuf,
    /// What is in it; `None` if its description cannot be read.
    pub key: Option<SpaceKey>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Number of rows.
    pub rows: usize,
    /// When a run last used it.
    pub last_used: Option<SystemTime>,
}

/// The folder that holds all spaces.
#[derive(Debug, Clone)]
pub struct FeatureCache {
    folder: PathBuf,
    limit: u64,
}

/// Unless told otherwise the cache takes no more than this, nor more than a tenth of what the disk could give it.
const DEFAULT_LIMIT: u64 = 10 << 30;

/// Describes a space; beside its segments.
const DESCRIPTION: &str = "space.json";

impl FeatureCache {
    /// The user's cache: the folder `features` of [`cache_folder`].
    ///
    /// # Errors
    /// [`TrainError::Weights`] if nothing names a cache folder and the user has no home.
    pub fn default_folder() -> Result<PathBuf, TrainError> {
        Ok(cache_folder()?.join("features"))
    }

    /// The cache in `folder`, which is created when something is stored. It holds at most `limit` bytes; if `None`,
    /// 10 GiB or a tenth of the disk space that is free or held by the cache, whichever is less.
    pub fn new(folder: impl Into<PathBuf>, limit: Option<u64>) -> Self {
        let folder = folder.into();
        let limit = limit.unwrap_or_else(|| default_limit(&folder));
        Self { folder, limit }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that it may hold.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Opens a space for reading. `row_len` is the number of values of a row. Nothing is created.
    ///
    /// Files that cannot be read are passed over with a warning: their rows are computed again.
    pub fn space(&self, key: &SpaceKey, row_len: usize) -> Space {
        let digest = key.digest();
        let folder = self.folder.join(&digest.to_hex()[..32]);
        let format = RowFormat {
            space: *digest.as_bytes(),
            row_len,
        };
        Space::open(folder, format)
    }

    /// Prepares a space to take `rows` more rows, evicting what was not used for longest if the limit asks for it. What
    /// is in use, here or in another process, is never evicted.
    ///
    /// # Errors
    /// [`TrainError::CacheTooSmall`] if the rows do not fit, [`TrainError::Io`] if the folder cannot be written.
    pub fn reserve(
        &self,
        space: &mut Space,
        key: &SpaceKey,
        rows: usize,
    ) -> Result<(), TrainError> {
        std::fs::create_dir_all(&self.folder)
            .map_err(TrainError::io("create the feature cache", &self.folder))?;
        let _lock = self.lock()?;
        self.make_room(space.bytes_of(rows))?;
        std::fs::create_dir_all(space.folder())
            .map_err(TrainError::io("create the feature cache", space.folder()))?;
        let description = space.folder().join(DESCRIPTION);
        if !description.exists() {
            let text = serde_json::to_string_pretty(key).unwrap_or_default();
            std::fs::write(&description, text)
                .map_err(TrainError::io("write the feature cache", &description))?;
        }
        space.start_writing(rows)
    }

    /// All spaces, most recently used first.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the folder cannot be read. A folder that does not exist is an empty cache.
    pub fn list(&self) -> Result<Vec<SpaceInfo>, TrainError> {
        let mut spaces = Vec::new();
        for folder in self.space_folders()? {
            let segments = index_files(&folder);
            if segments.is_empty() {
                continue;
            }
            let text = std::fs::read_to_string(folder.join(DESCRIPTION)).unwrap_or_default();
            let rows =
                |index: &PathBuf| index.metadata().map_or(0, |m| segment::row_count(m.len()));
            spaces.push(SpaceInfo {
                key: serde_json::from_str(&text).ok(),
                bytes: segments.iter().map(|index| segment::size(index)).sum(),
                rows: segments.iter().map(rows).sum(),
                last_used: segments.iter().filter_map(|index| used(index)).max(),
                path: folder,
            });
        }
        spaces.sort_by_key(|space| std::cmp::Reverse(space.last_used));
        Ok(spaces)
    }

    /// Removes everything that no running process uses. Returns the bytes that were freed.
    ///
    /// # Errors
    /// [`TrainError::Io`] if something cannot be removed.
    pub fn clear(&self) -> Result<u64, TrainError> {
        if !self.folder.exists() {
            return Ok(0);
        }
        let _lock = self.lock()?;
        let mut freed = 0;
        for folder in self.space_folders()? {
            for index in index_files(&folder) {
                freed += segment::remove(&index)
                    .map_err(TrainError::io("remove the cached features", &index))?;
            }
            remove_if_unused(&folder);
        }
        Ok(freed)
    }

    /// Evicts segments until `needed` more bytes fit.
    fn make_room(&self, needed: u64) -> Result<(), TrainError> {
        let mut segments: Vec<_> = self
            .space_folders()?
            .iter()
            .flat_map(|folder| index_files(folder))
            .map(|index| (used(&index), segment::size(&index), index))
            .collect();
        segments.sort();
        let mut total: u64 = segments.iter().map(|(_, size, _)| size).sum();
        let fits = |total: u64| total.saturating_add(needed) <= self.limit;
        // Nothing is given up for what would not fit an empty cache.
        if needed <= self.limit {
            for (_, _, index) in &segments {
                if fits(total) {
                    break;
                }
                let freed = segment::remove(index).unwrap_or(0);
                if freed > 0 {
                    tracing::debug!(path = %index.display(), freed, "cached features evicted");
                    remove_if_unused(index.parent().unwrap_or(&self.folder));
                }
                total -= freed.min(total);
            }
        }
        if fits(total) {
            return Ok(());
        }
        Err(TrainError::CacheTooSmall {
            needed,
            room: self.limit.saturating_sub(total),
            limit: self.limit,
        })
    }

    /// Keeps other processes from evicting or starting segments, for a moment.
    fn lock(&self) -> Result<File, TrainError> {
        let path = self.folder.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(TrainError::io("write the feature cache", &path))?;
        // Where files cannot be locked, two processes may evict or create at once, which costs rows, never their truth.
        let _ = file.lock();
        Ok(file)
    }

    /// Folders that are spaces by their name, sorted.
    fn space_folders(&self) -> Result<Vec<PathBuf>, TrainError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(TrainError::io("read the feature cache", &self.folder))?,
        };
        let is_space = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let mut folders: Vec<_> = entries
            .flatten()
            .map(|e| e.path())
            .filter(is_space)
            .collect();
        folders.sort();
        Ok(folders)
    }
}

/// Removes a space's description and folder once no segment is left.
fn remove_if_unused(folder: &Path) {
    if index_files(folder).is_empty() {
        let _ = std::fs::remove_file(folder.join(DESCRIPTION));
        let _ = std::fs::remove_dir(folder);
    }
}

/// The index files of a space, sorted.
fn index_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == INDEX))
        .collect();
    files.sort();
    files
}

fn used(index: &Path) -> Option<SystemTime> {
    index.metadata().and_then(|m| m.modified()).ok()
}

fn default_limit(folder: &Path) -> u64 {
    let existing = folder.ancestors().find(|path| path.exists());
    let free = existing.and_then(|path| fs4::available_space(path).ok());
    let held: u64 = FeatureCache {
        folder: folder.to_owned(),
        limit: 0,
    }
    .space_folders()
    .unwrap_or_default()
    .iter()
    .flat_map(|space| index_files(space))
    .map(|index| segment::size(&index))
    .sum();
    free.map_or(DEFAULT_LIMIT, |free| DEFAULT_LIMIT.min((free + held) / 10))
}
