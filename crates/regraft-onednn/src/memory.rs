//! Memory descriptors: extents, element type and layout.

use crate::error::{OnednnError, check};
use crate::ffi;
use std::ptr;

/// Type of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataType {
    /// IEEE single precision.
    F32,
    /// Brain float: single precision cut to 16 bits.
    Bf16,
    /// 32-bit integer.
    S32,
    /// Signed byte.
    S8,
    /// Unsigned byte.
    U8,
}

impl DataType {
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 3,
            Self::S32 => 4,
            Self::S8 => 5,
            Self::U8 => 6,
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::S32 => 4,
            Self::Bf16 => 2,
            Self::S8 | Self::U8 => 1,
        }
    }
}

/// Order of the elements in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Whatever the primitive likes best.
    Any,
    /// Last dimension fastest.
    RowMajor,
    /// For `[batch, channels, height, width]`: channels fastest, then width.
    ChannelsLast,
}

/// Extents, element type and layout of an argument.
pub struct MemoryDesc(pub(crate) ffi::handle);

// SAFETY: a memory descriptor is an immutable value; oneDNN only reads it after creation.
#[expect(unsafe_code, reason = "an owned immutable C value")]
unsafe impl Send for MemoryDesc {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "an immutable C value")]
unsafe impl Sync for MemoryDesc {}

impl MemoryDesc {
    /// A descriptor of the given layout. `ChannelsLast` of anything but four dimensions is row-major.
    ///
    /// # Errors
    /// [`OnednnError::Call`] for more than six dimensions.
    pub fn new(dims: &[usize], data_type: DataType, layout: Layout) -> Result<Self, OnednnError> {
        let tag = match (layout, dims.len()) {
            (Layout::Any, _) => 1,
            (Layout::ChannelsLast, 4) => 22,
            (_, n @ 1..=5) => n as i32 + 1,
            (_, _) => return Self::with_strides(dims, data_type, &row_major_strides(dims)),
        };
        let (dims, count) = to_dims(dims);
        let mut desc = ptr::null_mut();
        // SAFETY: `dims` outlives the call, which copies it.
        #[expect(unsafe_code, reason = "C call")]
        let status = unsafe {
            ffi::dnnl_memory_desc_create_with_tag(
                &raw mut desc,
                count,
                dims.as_ptr(),
                data_type.code(),
                tag,
            )
        };
        check("dnnl_memory_desc_create_with_tag", status)?;
        Ok(Self(desc))
    }

    /// A descriptor with explicit strides, in elements.
    ///
    /// # Errors
    /// [`OnednnError::Call`] if strides and extents do not fit.
    pub fn with_strides(
        dims: &[usize],
        data_type: DataType,
        strides: &[usize],
    ) -> Result<Self, OnednnError> {
        if dims.len() != strides.len() || dims.len() > ffi::MAX_NDIMS {
            return check("dnnl_memory_desc_create_with_strides", 2)
                .map(|()| Self(ptr::null_mut()));
        }
        let (dims, count) = to_dims(dims);
        let (strides, _) = to_dims(strides);
        let mut desc = ptr::null_mut();
        // SAFETY: both arrays outlive the call, which copies them.
        #[expect(unsafe_code, reason = "C call")]
        let status = unsafe {
            ffi::dnnl_memory_desc_create_with_strides(
                &raw mut desc,
                count,
                dims.as_ptr(),
                data_type.code(),
                strides.as_ptr(),
            )
        };
        check("dnnl_memory_desc_create_with_strides", status)?;
        Ok(Self(desc))
    }

    /// Bytes that a memory of this descriptor takes, with padding.
    pub fn bytes(&self) -> usize {
        // SAFETY: `self.0` is a live descriptor.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_memory_desc_get_size(self.0)
        }
    }

    pub(crate) fn clone_of(existing: ffi::const_handle) -> Result<Self, OnednnError> {
        let mut desc = ptr::null_mut();
        // SAFETY: `existing` is a live descriptor owned by a primitive descriptor.
        #[expect(unsafe_code, reason = "C call")]
        let status = unsafe { ffi::dnnl_memory_desc_clone(&raw mut desc, existing) };
        check("dnnl_memory_desc_clone", status)?;
        Ok(Self(desc))
    }
}

impl Clone for MemoryDesc {
    fn clone(&self) -> Self {
        // Cloning a live descriptor fails only when memory is exhausted, as any clone may.
        #[expect(clippy::expect_used, reason = "allocation failure, as in Vec::clone")]
        Self::clone_of(self.0).expect("memory for a descriptor")
    }
}

impl PartialEq for MemoryDesc {
    fn eq(&self, other: &Self) -> bool {
        // SAFETY: both are live descriptors.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_memory_desc_equal(self.0, other.0) != 0
        }
    }
}

impl std::fmt::Debug for MemoryDesc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryDesc")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl Drop for MemoryDesc {
    fn drop(&mut self) {
        // SAFETY: `self.0` is owned and not used afterwards.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_memory_desc_destroy(self.0);
        }
    }
}

pub(crate) fn to_dims(dims: &[usize]) -> (ffi::dims_t, i32) {
    let mut array = [0; ffi::MAX_NDIMS];
    for (to, from) in array.iter_mut().zip(dims) {
        *to = *from as i64;
    }
    (array, dims.len() as i32)
}

fn row_major_strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for i in (0..dims.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * dims[i + 1];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_differ_and_sizes_agree() {
        let nchw = MemoryDesc::new(&[2, 3, 4, 5], DataType::F32, Layout::RowMajor).unwrap();
        let nhwc = MemoryDesc::new(&[2, 3, 4, 5], DataType::F32, Layout::ChannelsLast).unwrap();
        assert_eq!(nchw.bytes(), 2 * 3 * 4 * 5 * 4);
        assert_eq!(nhwc.bytes(), nchw.bytes());
        assert!(nchw != nhwc);
        assert_eq!(nhwc.clone(), nhwc);
        let strided =
            MemoryDesc::with_strides(&[2, 3, 4, 5], DataType::F32, &[60, 1, 15, 3]).unwrap();
        assert_eq!(strided, nhwc);
    }

    #[test]
    fn too_many_dimensions_are_an_error() {
        assert!(MemoryDesc::with_strides(&[1; 13], DataType::F32, &[1; 13]).is_err());
    }
}
