//! What oneDNN refuses.

/// A call of oneDNN that failed, or an argument that does not fit a primitive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnednnError {
    /// oneDNN returned an error status.
    #[error("oneDNN's `{call}` failed: {status}")]
    Call {
        /// The C function.
        call: &'static str,
        /// The status in words.
        status: &'static str,
    },
    /// A primitive needs an argument that was not bound.
    #[error("argument {argument:?} of a oneDNN primitive is not bound")]
    Unbound {
        /// The missing argument.
        argument: crate::Arg,
    },
    /// A region is too small for the argument that it is bound to.
    #[error(
        "argument {argument:?} of a oneDNN primitive takes {needed} bytes, its region has {got}"
    )]
    RegionTooSmall {
        /// The argument.
        argument: crate::Arg,
        /// Bytes that the primitive reads or writes.
        needed: usize,
        /// Bytes of the region.
        got: usize,
    },
    /// A region that is not in the storage, or of another storage.
    #[error("a region of {bytes} bytes at {offset} is not part of segment {segment}")]
    BadRegion {
        /// Index of the segment.
        segment: usize,
        /// First byte.
        offset: usize,
        /// Number of bytes.
        bytes: usize,
    },
    /// Two operands overlap, one of which is written.
    #[error("two operands of one kernel overlap")]
    Overlap,
    /// Memory could not be allocated.
    #[error("{bytes} bytes of memory could not be allocated")]
    OutOfMemory {
        /// The size asked for.
        bytes: usize,
    },
}

pub(crate) fn check(call: &'static str, status: i32) -> Result<(), OnednnError> {
    let status = match status {
        0 => return Ok(()),
        1 => "out of memory",
        2 => "invalid arguments",
        3 => "not implemented for these arguments",
        4 => "no further implementation",
        5 => "runtime error",
        6 => "not required",
        _ => "unknown error",
    };
    Err(OnednnError::Call { call, status })
}
