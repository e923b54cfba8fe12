//! The part of a download that is there already, and digests of files.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::WeightsError;

/// Bytes hashed at a time.
const BLOCK: usize = 256 << 10;

/// The bytes that are there so far, and their running digest.
pub(crate) struct PartialFile<'a> {
    path: &'a Path,
    file: File,
    hasher: Sha256,
    pub(crate) length: u64,
    /// Whether any byte came in this run: then a network that is down was up a moment ago.
    pub(crate) received: bool,
}

impl<'a> PartialFile<'a> {
    /// Opens or creates the file, waits until no other process fills it, and digests what is there.
    pub(crate) fn open(path: &'a Path) -> Result<Self, WeightsError> {
        let mut file = loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(WeightsError::io("write", path))?;
            if let Err(error) = file.lock() {
                // Some network file systems cannot lock; the digest still catches two writers.
                tracing::debug!(path = %path.display(), %error, "cannot lock");
            }
            // While this one waited, the other process may have given the file its final name or removed it.
            if is_at(&file, path) {
                break file;
            }
        };
        let mut hasher = Sha256::new();
        let length = hash_into(&mut file, &mut hasher).map_err(WeightsError::io("read", path))?;
        Ok(Self {
            path,
            file,
            length,
            hasher,
            received: false,
        })
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), WeightsError> {
        self.file
            .write_all(bytes)
            .map_err(WeightsError::io("write", self.path))?;
        self.hasher.update(bytes);
        self.received = true;
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn restart(&mut self) -> Result<(), WeightsError> {
        self.file
            .set_len(0)
            .map_err(WeightsError::io("write", self.path))?;
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(WeightsError::io("write", self.path))?;
        self.length = 0;
        self.hasher = Sha256::new();
        Ok(())
    }

    /// Syncs the file and gives it its final name.
    pub(crate) fn finish(&self, path: &Path) -> Result<(), WeightsError> {
        self.file
            .sync_all()
            .map_err(WeightsError::io("write", self.path))?;
        std::fs::rename(self.path, path).map_err(WeightsError::io("write", path))
    }

    /// Removes the file while its lock is held; whoever waits for it notices.
    pub(crate) fn remove(&self) {
        if let Err(error) = std::fs::remove_file(self.path) {
            tracing::debug!(path = %self.path.display(), %error, "partial file not removed");
        }
    }

    pub(crate) fn digest(&self) -> String {
        hex(&self.hasher.clone().finalize())
    }
}

/// Whether the path still leads to this open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// SHA-256 of a file as lower-case hex.
///
/// # Errors
/// If it cannot be read.
pub fn sha256_of_file(path: &Path) -> Result<String, WeightsError> {
    let mut file = File::open(path).map_err(WeightsError::io("open", path))?;
    let mut hasher = Sha256::new();
    hash_into(&mut file, &mut hasher).map_err(WeightsError::io("read", path))?;
    Ok(hex(&hasher.finalize()))
}

fn hash_into(file: &mut File, hasher: &mut Sha256) -> std::io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut length = 0;
    loop {
        let count = file.read(&mut block)?;
        if count == 0 {
            return Ok(length);
        }
        hasher.update(&block[..count]);
        length += count as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|digit| DIGITS[usize::from(digit)])
        .collect()
}

/// Fails unless the file has this SHA-256; the file is the user's to remove.
pub(crate) fn check_digest(path: &Path, expected: &str) -> Result<(), WeightsError> {
    let got = sha256_of_file(path)?;
    if got.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(WeightsError::DigestMismatch {
        what: path.display().to_string(),
        expected: expected.to_owned(),
        got,
        remedy: "remove the file to download it again",
    })
}
