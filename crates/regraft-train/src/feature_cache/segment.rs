//! One file pair of the feature cache: rows, and an index that says which of them are whole.
//!
//! A segment is written by one process and never again. `NAME.rows` holds rows of one size, `NAME.index` a
//! header and one 64-byte entry a row: the row's key, the row's checksum, and a checksum of the entry itself. A row
//! counts only once its entry is there, and entries are appended after their rows, so a writer may be killed at any
//! moment: what it committed stays, what it did not is never seen. A power cut may lose pages in any order; then the
//! checksums do not match, and the row is computed again.
//!
//! While a process writes a segment it holds an exclusive lock on the index, while it reads one a shared lock. Eviction
//! takes the exclusive lock, so it never removes what is in use.

use crate::error::TrainError;
use memmap2::Mmap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a row is filed under: the digest of the file that it was computed from.
pub type RowKey = [u8; 32];

/// Extension of the index; the rows lie beside it.
pub(super) const INDEX: &str = "index";
/// Extension of the rows.
pub(super) const ROWS: &str = "rows";

const MAGIC: [u8; 16] = *b"regraft-rows-v1\n";
const BLOCK: usize = 64;

/// What all rows of a space have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowFormat {
    /// Digest of the space's key.
    pub(super) space: [u8; 32],
    /// Number of values of a row.
    pub(super) row_len: usize,
}

impl RowFormat {
    pub(super) fn row_bytes(self) -> usize {
        self.row_len * size_of::<f32>()
    }

    /// Bytes of a segment of so many rows.
    pub(super) fn file_bytes(self, rows: usize) -> u64 {
        (BLOCK + rows * (BLOCK + self.row_bytes())) as u64
    }

    fn header(self) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        header[..16].copy_from_slice(&MAGIC);
        header[16..24].copy_from_slice(&(self.row_len as u64).to_le_bytes());
        header[32..].copy_from_slice(&self.space);
        header
    }

    fn entry(self, slot: usize, key: &RowKey, checksum: [u8; 16]) -> [u8; BLOCK] {
        let mut entry = [0; BLOCK];
        entry[..32].copy_from_slice(key);
        entry[32..48].copy_from_slice(&checksum);
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&self.space)
            .update(&(slot as u64).to_le_bytes())
            .update(&entry[..48]);
        hasher.finalize_xof().fill(&mut entry[48..]);
        entry
    }
}

fn checksum(row: &[u8]) -> [u8; 16] {
    let mut checksum = [0; 16];
    checksum.copy_from_slice(&blake3::hash(row).as_bytes()[..16]);
    checksum
}

/// A segment opened for reading.
#[derive(Debug)]
pub(super) struct Segment {
    format: RowFormat,
    /// The index, open as long as the segment is in use: it carries the lock.
    index: File,
    rows: Mmap,
    /// Keys and checksums of the rows; `None` where the entry is damaged.
    entries: Vec<Option<(RowKey, [u8; 16])>>,
}

impl Segment {
    /// Opens a segment. `None` if it has no header yet.
    ///
    /// # Errors
    /// When a file cannot be read, or (`InvalidData`) is not a segment of this format.
    pub(super) fn open(index_path: &Path, format: RowFormat) -> std::io::Result<Option<Self>> {
        let mut index = File::open(index_path)?;
        // Not to be had while the segment is written: its committed rows are good all the same.
        let _ = index.try_lock_shared();
        let mut bytes = Vec::new();
        index.read_to_end(&mut bytes)?;
        let Some((header, entries)) = bytes.split_at_checked(BLOCK) else {
            return Ok(None);
        };
        if header != format.header() {
            let problem = "it is not an index of cached features";
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                problem,
            ));
        }
        let rows = map(&File::open(index_path.with_extension(ROWS))?)?;
        let entries = entries
            .chunks_exact(BLOCK)
            .enumerate()
            .map(|(slot, entry)| {
                let (mut key, mut checksum) = ([0; 32], [0; 16]);
                key.copy_from_slice(&entry[..32]);
                checksum.copy_from_slice(&entry[32..48]);
                (entry == format.entry(slot, &key, checksum)).then_some((key, checksum))
            })
            .collect();
        Ok(Some(Self {
            format,
            index,
            rows,
            entries,
        }))
    }

    /// Keys and positions of the committed rows.
    pub(super) fn keys(&self) -> impl Iterator<Item = (RowKey, usize)> + '_ {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(slot, entry)| Some(((*entry)?.0, slot)))
    }

    /// Whether the row is as it was written.
    pub(super) fn is_intact(&self, slot: usize) -> bool {
        match (self.entries.get(slot), self.row_bytes(slot)) {
            (Some(Some((_, expected))), Some(row)) => checksum(row) == *expected,
            _ => false,
        }
    }

    /// The values of a row; empty if the file is too short for it.
    pub(super) fn row(&self, slot: usize) -> &[f32] {
        self.row_bytes(slot).map_or(&[], bytemuck::cast_slice)
    }

    fn row_bytes(&self, slot: usize) -> Option<&[u8]> {
        let start = slot.checked_mul(self.format.row_bytes())?;
        self.rows.get(start..start + self.format.row_bytes())
    }

    /// Keeps the segment from being evicted as long as it is open.
    pub(super) fn lock(&self) {
        let _ = self.index.try_lock_shared();
    }

    /// Marks the segment as used now. A cache that cannot be written keeps its old times.
    pub(super) fn touch(&self) {
        let _ = self.index.set_modified(SystemTime::now());
    }
}

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    format: RowFormat,
    index: File,
    rows: File,
    path: PathBuf,
    slots: usize,
}

impl SegmentWriter {
    /// A new segment in the folder, with room for `rows` rows reserved by the file's length.
    pub(super) fn create(
        folder: &Path,
        format: RowFormat,
        rows: usize,
    ) -> Result<Self, TrainError> {
        let failed = || TrainError::io("write the feature cache", folder);
        let temporary = tempfile::Builder::new()
            .prefix("")
            .suffix(&format!(".{INDEX}"))
            .rand_bytes(12)
            .tempfile_in(folder)
            .map_err(failed())?;
        let (mut index, path) = temporary.keep().map_err(|error| failed()(error.error))?;
        // Where files cannot be locked nobody else can lock this one either, and it is not evicted.
        let _ = index.try_lock();
        index.write_all(&format.header()).map_err(failed())?;
        let rows_file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path.with_extension(ROWS))
            .map_err(failed())?;
        rows_file
            .set_len(rows as u64 * format.row_bytes() as u64)
            .map_err(failed())?;
        Ok(Self {
            format,
            index,
            rows: rows_file,
            path,
            slots: 0,
        })
    }

    /// Path of the index.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends rows (`values` holds one after the other) and commits them.
    pub(super) fn append(&mut self, keys: &[RowKey], values: &[f32]) -> Result<(), TrainError> {
        let mut entries = Vec::with_capacity(keys.len() * BLOCK);
        for (key, row) in keys.iter().zip(values.chunks_exact(self.format.row_len)) {
            let slot = self.slots + entries.len() / BLOCK;
            let checksum = checksum(bytemuck::cast_slice(row));
            entries.extend(self.format.entry(slot, key, checksum));
        }
        let write = || -> std::io::Result<()> {
            (&self.rows).write_all(bytemuck::cast_slice(values))?;
            (&self.index).write_all(&entries)
        };
        write().map_err(TrainError::io("write the feature cache", &self.path))?;
        self.slots += entries.len() / BLOCK;
        Ok(())
    }
}

impl Drop for SegmentWriter {
    /// Gives back what was reserved and not used. Nobody has mapped that part: it has no entries.
    fn drop(&mut self) {
        let _ = self
            .rows
            .set_len(self.slots as u64 * self.format.row_bytes() as u64);
    }
}

/// Removes a segment unless it is in use. Returns the bytes that were freed.
pub(super) fn remove(index_path: &Path) -> std::io::Result<u64> {
    let index = File::open(index_path)?;
    if index.try_lock().is_err() {
        return Ok(0);
    }
    let freed = size(index_path);
    // The rows go first: an index without rows is still found and removed, rows without an index would be lost.
    match std::fs::remove_file(index_path.with_extension(ROWS)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::remove_file(index_path)?;
    Ok(freed)
}

/// Number of rows of a segment whose index has this length.
pub(super) fn row_count(index_bytes: u64) -> usize {
    (index_bytes as usize / BLOCK).saturating_sub(1)
}

/// Bytes of a segment's two files.
pub(super) fn size(index_path: &Path) -> u64 {
    [INDEX, ROWS]
        .iter()
        .filter_map(|extension| index_path.with_extension(extension).metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[expect(
    unsafe_code,
    reason = "rows are read from the page cache without a copy, and may be larger than memory"
)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only. Only committed rows are read, which no process of ours writes or truncates; a file is
    // removed by unlinking, which leaves maps intact. If something else rewrites the file, plain numbers change, which no
    // invariant depends on; if it truncates it, reading ends the process (SIGBUS), as with any mapped file.
    unsafe { Mmap::map(file) }
}
