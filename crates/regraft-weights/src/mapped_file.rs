//! A checkpoint file in memory without being read: pages come from disk when a tensor is.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::WeightsError;

/// A memory-mapped file and its name for errors.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    map: Option<Mmap>,
}

impl MappedFile {
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = File::open(path).map_err(WeightsError::io("open", path))?;
        let metadata = file.metadata().map_err(WeightsError::io("open", path))?;
        // Some systems refuse to map nothing; an empty file is reported by whoever parses it.
        let map = if metadata.len() == 0 {
            None
        } else {
            Some(map(&file).map_err(WeightsError::io("map", path))?)
        };
        Ok(Self {
            path: path.to_owned(),
            map,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

#[expect(
    unsafe_code,
    reason = "memory-mapping is how gigabytes of weights open in no time"
)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this process. If another process truncates the file meanwhile, reading
    // it ends the process (SIGBUS); if one rewrites it in place, plain numbers change under us, which no invariant
    // depends on: every range is checked against the length at opening and bytes are only ever converted to numbers.
    // Everything in this workspace replaces files by renaming, which does neither.
    unsafe { Mmap::map(file) }
}
