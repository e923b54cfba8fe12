//! The rows of one computation, in all segments that runs have left.

use super::segment::{RowFormat, RowKey, Segment, SegmentWriter};
use super::{INDEX, index_files};
use crate::error::TrainError;
use std::path::{Path, PathBuf};

/// A row that was found intact; see [`Space::locate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowId {
    segment: usize,
    slot: usize,
}

/// The rows of one computation.
#[derive(Debug)]
pub struct Space {
    folder: PathBuf,
    format: RowFormat,
    segments: Vec<Segment>,
    /// All committed rows, sorted by key. Several rows of one key are duplicates; one of them may be damaged.
    rows: Vec<(RowKey, RowId)>,
    writer: Option<SegmentWriter>,
}

impl Space {
    pub(super) fn open(folder: PathBuf, format: RowFormat) -> Self {
        let mut space = Self {
            folder,
            format,
            segments: Vec::new(),
            rows: Vec::new(),
            writer: None,
        };
        for path in index_files(&space.folder) {
            space.add_segment(&path);
        }
        space.rows.sort_unstable();
        space
    }

    fn add_segment(&mut self, path: &Path) -> Option<&Segment> {
        match Segment::open(path, self.format) {
            Ok(Some(segment)) => {
                let number = self.segments.len();
                self.rows.extend(segment.keys().map(|(key, slot)| {
                    let id = RowId {
                        segment: number,
                        slot,
                    };
                    (key, id)
                }));
                self.segments.push(segment);
                self.segments.last()
            }
            Ok(None) => None,
            // Evicted since the folder was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cached features cannot be read");
                None
            }
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that so many rows take on disk.
    pub(super) fn bytes_of(&self, rows: usize) -> u64 {
        self.format.file_bytes(rows)
    }

    /// Finds rows and checks them, on `threads` threads. `None` for a key that has no intact row.
    pub fn locate(&self, keys: &[RowKey], threads: usize) -> Vec<Option<RowId>> {
        let mut found = vec![None; keys.len()];
        let share = keys.len().div_ceil(threads.max(1)).max(1);
        std::thread::scope(|scope| {
            for (keys, found) in keys.chunks(share).zip(found.chunks_mut(share)) {
                scope.spawn(move || {
                    for (key, found) in keys.iter().zip(found) {
                        *found = self.locate_one(key);
                    }
                });
            }
        });
        for (number, segment) in self.segments.iter().enumerate() {
            if found.iter().flatten().any(|id| id.segment == number) {
                segment.touch();
            }
        }
        found
    }

    fn locate_one(&self, key: &RowKey) -> Option<RowId> {
        let first = self.rows.partition_point(|(other, _)| other < key);
        let candidates = self.rows[first..]
            .iter()
            .take_while(|(other, _)| other == key);
        candidates
            .map(|(_, id)| *id)
            .find(|id| self.segments[id.segment].is_intact(id.slot))
    }

    /// The values of a row that [`locate`](Self::locate) found in this space.
    pub fn row(&self, id: RowId) -> &[f32] {
        self.segments
            .get(id.segment)
            .map_or(&[], |segment| segment.row(id.slot))
    }

    pub(super) fn start_writing(&mut self, rows: usize) -> Result<(), TrainError> {
        self.writer = Some(SegmentWriter::create(&self.folder, self.format, rows)?);
        Ok(())
    }

    /// Stores rows; `values` holds one after the other. They are kept even if the process is killed right after, and can
    /// be located once [`finish_writing`](Self::finish_writing) was called.
    ///
    /// # Errors
    /// [`TrainError::Io`] if they cannot be written, for example because the disk is full; then nothing more can be
    /// stored. [`TrainError::RowLength`] if the values are not one row a key.
    pub fn store(&mut self, keys: &[RowKey], values: &[f32]) -> Result<(), TrainError> {
        let expected = keys.len() * self.format.row_len;
        if values.len() != expected {
            return Err(TrainError::RowLength {
                expected,
                got: values.len(),
            });
        }
        let Some(mut writer) = self.writer.take() else {
            return Err(TrainError::CacheNotReserved);
        };
        writer.append(keys, values)?;
        self.writer = Some(writer);
        Ok(())
    }

    /// Makes the stored rows available to [`locate`](Self::locate).
    pub fn finish_writing(&mut self) {
        if let Some(writer) = self.writer.take() {
            let path = writer.path().to_owned();
            debug_assert!(path.extension().is_some_and(|extension| extension == INDEX));
            let segment = self.add_segment(&path);
            // Opened before the writer's lock is given up, so that it is not evicted in between.
            drop(writer);
            if let Some(segment) = segment {
                segment.lock();
            }
            self.rows.sort_unstable();
        }
    }
}
