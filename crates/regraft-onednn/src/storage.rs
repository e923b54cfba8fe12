//! Memory that kernels work on: aligned segments that never move, addressed by regions.

use crate::error::OnednnError;
#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every region starts at a multiple of this many bytes: a cache line, and an AVX-512 register.
pub const ALIGNMENT: usize = 64;
/// Large segments start at a page of this size, so that the kernel can back them with huge pages.
const HUGE_PAGE: usize = 2 << 20;

/// A part of one segment of a [`Storage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region {
    /// Index of the segment.
    pub segment: usize,
    /// First byte; a multiple of 4.
    pub offset: usize,
    /// Number of bytes.
    pub bytes: usize,
}

impl Region {
    /// The part of this region from `first` (in `f32` elements), `len` elements long.
    pub fn part(self, first: usize, len: usize) -> Self {
        Self {
            segment: self.segment,
            offset: self.offset + first * 4,
            bytes: len * 4,
        }
    }

    fn overlaps(self, other: Self) -> bool {
        self.segment == other.segment
            && self.offset < other.offset.saturating_add(other.bytes)
            && other.offset < self.offset.saturating_add(self.bytes)
    }
}

pub(crate) struct Segment {
    /// Anonymous memory: the system gives zeroed pages when they are first touched.
    _map: MmapMut,
    data: *mut u8,
    bytes: usize,
}

// SAFETY: a segment is plain memory. All access goes through `Storage`, whose methods borrow it exclusively to write.
#[expect(unsafe_code, reason = "owned memory")]
unsafe impl Send for Segment {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "owned memory")]
unsafe impl Sync for Segment {}

impl Segment {
    fn new(bytes: usize) -> Result<Self, OnednnError> {
        let out_of_memory = OnednnError::OutOfMemory { bytes };
        // A map starts at a page, which may be a small one: there is room to start at a huge one.
        let slack = if bytes >= HUGE_PAGE { HUGE_PAGE } else { 0 };
        let len = bytes
            .max(ALIGNMENT)
            .checked_add(slack)
            .ok_or(out_of_memory.clone())?;
        let mut map = MmapMut::map_anon(len).map_err(|_| out_of_memory)?;
        // Linux by default gives huge pages only where they are asked for, before the first touch. Activations of
        // hundreds of MiB are swept in every step, and misses of the page table would show.
        #[cfg(target_os = "linux")]
        if slack > 0 {
            // Without them everything works, more slowly.
            let _ = map.advise(Advice::HugePage);
        }
        let start = map.as_mut_ptr();
        let skipped = if slack > 0 {
            start.align_offset(HUGE_PAGE)
        } else {
            0
        };
        // SAFETY: `skipped` is less than a huge page, which the map is longer than `bytes`.
        #[expect(unsafe_code, reason = "pointer into the map")]
        let data = unsafe { start.add(skipped) };
        Ok(Self {
            _map: map,
            data,
            bytes,
        })
    }

    pub(crate) fn at(&self, region: Region) -> Option<*mut u8> {
        let end = region.offset.checked_add(region.bytes)?;
        // SAFETY: the offset lies inside the allocation.
        #[expect(unsafe_code, reason = "pointer into the segment")]
        (end <= self.bytes && region.offset.is_multiple_of(4))
            .then(|| unsafe { self.data.add(region.offset) })
    }
}

/// A growing set of segments. Bound primitives keep the segments that they point to alive, and run only with the
/// storage that they were bound to.
pub struct Storage {
    id: u64,
    segments: Vec<Arc<Segment>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Default for Storage {
    fn default() -> Self {
        Self::new()
    }
}

impl Storage {
    /// A storage without segments.
    pub fn new() -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            segments: Vec::new(),
        }
    }

    /// Adds a segment of zeros. Returns the region that is all of it.
    ///
    /// # Errors
    /// [`OnednnError::OutOfMemory`].
    pub fn add_segment(&mut self, bytes: usize) -> Result<Region, OnednnError> {
        self.segments.push(Arc::new(Segment::new(bytes)?));
        Ok(Region {
            segment: self.segments.len() - 1,
            offset: 0,
            bytes,
        })
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn segment(&self, region: Region) -> Result<&Arc<Segment>, OnednnError> {
        self.segments
            .get(region.segment)
            .filter(|s| s.at(region).is_some())
            .ok_or(OnednnError::BadRegion {
                segment: region.segment,
                offset: region.offset,
                bytes: region.bytes,
            })
    }

    /// The elements of a region.
    ///
    /// # Errors
    /// [`OnednnError::BadRegion`].
    pub fn slice(&self, region: Region) -> Result<&[f32], OnednnError> {
        let ptr = self.pointer(region)?;
        // SAFETY: the region is inside a live segment, aligned to 4 bytes, and only written through `&mut self`.
        #[expect(unsafe_code, reason = "view of owned memory")]
        Ok(unsafe { std::slice::from_raw_parts(ptr, region.bytes / 4) })
    }

    /// The elements of a region, to be written.
    ///
    /// # Errors
    /// [`OnednnError::BadRegion`].
    pub fn slice_mut(&mut self, region: Region) -> Result<&mut [f32], OnednnError> {
        let ptr = self.pointer(region)?;
        // SAFETY: as in `slice`, and `self` is borrowed exclusively.
        #[expect(unsafe_code, reason = "view of owned memory")]
        Ok(unsafe { std::slice::from_raw_parts_mut(ptr, region.bytes / 4) })
    }

    /// Several regions at once, for a kernel of ours: `reads` and `writes`, no write overlapping anything else.
    ///
    /// # Errors
    /// [`OnednnError::BadRegion`], [`OnednnError::Overlap`].
    pub fn operands<const R: usize, const W: usize>(
        &mut self,
        reads: [Region; R],
        writes: [Region; W],
    ) -> Result<Operands<'_, R, W>, OnednnError> {
        for (i, w) in writes.iter().enumerate() {
            if reads.iter().any(|r| r.overlaps(*w)) || writes[..i].iter().any(|v| v.overlaps(*w)) {
                return Err(OnednnError::Overlap);
            }
        }
        let mut read_slices: [&[f32]; R] = [&[]; R];
        for (slice, region) in read_slices.iter_mut().zip(reads) {
            let ptr = self.pointer(region)?;
            // SAFETY: inside a live segment; no written region overlaps it, as checked above.
            #[expect(unsafe_code, reason = "view of owned memory")]
            {
                *slice = unsafe { std::slice::from_raw_parts(ptr, region.bytes / 4) };
            }
        }
        let mut write_slices: [&mut [f32]; W] = std::array::from_fn(|_| Default::default());
        for (slice, region) in write_slices.iter_mut().zip(writes) {
            let ptr = self.pointer(region)?;
            // SAFETY: inside a live segment; overlaps no other region, as checked above; `self` is borrowed exclusively.
            #[expect(unsafe_code, reason = "view of owned memory")]
            {
                *slice = unsafe { std::slice::from_raw_parts_mut(ptr, region.bytes / 4) };
            }
        }
        Ok((read_slices, write_slices))
    }

    fn pointer(&self, region: Region) -> Result<*mut f32, OnednnError> {
        let bad = OnednnError::BadRegion {
            segment: region.segment,
            offset: region.offset,
            bytes: region.bytes,
        };
        self.segments
            .get(region.segment)
            .and_then(|s| s.at(region))
            .map(<*mut u8>::cast)
            .ok_or(bad)
    }
}

/// Views of several regions: what a kernel reads, and what it writes.
pub type Operands<'a, const R: usize, const W: usize> = ([&'a [f32]; R], [&'a mut [f32]; W]);

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("segments", &self.segments.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_writes_are_refused() {
        let mut storage = Storage::new();
        let all = storage.add_segment(256).unwrap();
        let (a, b) = (all.part(0, 16), all.part(16, 16));
        {
            let ([r], [w]) = storage.operands([a], [b]).unwrap();
            w.copy_from_slice(r);
        }
        assert_eq!(
            storage.operands([a], [all.part(8, 16)]).unwrap_err(),
            OnednnError::Overlap
        );
        assert_eq!(
            storage.operands([], [a, a]).unwrap_err(),
            OnednnError::Overlap
        );
        assert!(storage.operands([a, a], [b]).is_ok());
    }

    #[test]
    fn regions_outside_are_refused() {
        let mut storage = Storage::new();
        let all = storage.add_segment(256).unwrap();
        assert!(storage.slice(all.part(0, 64)).is_ok());
        assert!(matches!(
            storage.slice(all.part(1, 64)),
            Err(OnednnError::BadRegion { .. })
        ));
        let misaligned = Region {
            offset: 2,
            bytes: 8,
            ..all
        };
        assert!(matches!(
            storage.slice_mut(misaligned),
            Err(OnednnError::BadRegion { .. })
        ));
        let overflow = Region {
            offset: usize::MAX - 3,
            bytes: 8,
            ..all
        };
        assert!(matches!(
            storage.slice_mut(overflow),
            Err(OnednnError::BadRegion { .. })
        ));
    }
}
