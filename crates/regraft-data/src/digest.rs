//! The content hash of a file: what a cached feature is filed under.

use std::fmt;
use std::path::Path;

use crate::decode::read_file;
use crate::error::{DataError, Result};
use crate::parallel::for_each;
use crate::samples::Samples;

/// The BLAKE3 hash of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileDigest(pub [u8; 32]);

impl FileDigest {
    /// The digest of bytes that are already in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for FileDigest {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileDigest({self})")
    }
}

/// The digest of a file.
///
/// # Errors
/// [`DataError::Io`] when it cannot be read.
pub fn file_digest(path: &Path) -> Result<FileDigest> {
    let mut bytes = Vec::new();
    read_file(path, &mut bytes)?;
    Ok(FileDigest::of(&bytes))
}

/// The digests of all samples, in order, on `threads` threads.
///
/// # Errors
/// [`DataError::Io`] for the first file that cannot be read.
pub fn file_digests(samples: &Samples, threads: usize) -> Result<Vec<FileDigest>> {
    let mut digests: Vec<Result<FileDigest>> = Vec::new();
    digests.resize_with(samples.len(), || Ok(FileDigest([0; 32])));
    // Files are small, so reading into a buffer that is used again beats mapping each of them.
    let mut buffers = vec![Vec::new(); threads.max(1)];
    for_each(
        digests.iter_mut().enumerate(),
        &mut buffers,
        |bytes, (index, digest)| {
            *digest = samples.try_get(index).and_then(|sample| {
                read_file(&sample.path, bytes)?;
                Ok(FileDigest::of(bytes))
            });
        },
    );
    digests.into_iter().collect::<Result<_, DataError>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_blake3() {
        assert_eq!(
            FileDigest::of(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }
}
