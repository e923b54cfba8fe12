//! Primitive descriptors, primitives, and primitives bound to memory.

use crate::error::{OnednnError, check};
use crate::ffi;
use crate::memory::MemoryDesc;
use crate::post_ops::Attributes;
use crate::storage::{Region, Segment, Storage};
use crate::threads;
use std::ffi::CStr;
use std::ptr;
use std::sync::{Arc, OnceLock};

/// What an argument of a primitive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Arg {
    /// The (first) input.
    Src,
    /// The second input of a binary operation.
    Src1,
    /// One of several inputs.
    MultipleSrc(usize),
    /// The output.
    Dst,
    /// Weights.
    Weights,
    /// Bias.
    Bias,
    /// Mean of a normalisation.
    Mean,
    /// Variance of a normalisation.
    Variance,
    /// Scale of a normalisation.
    Scale,
    /// Shift of a normalisation.
    Shift,
    /// What forward leaves for backward.
    Workspace,
    /// Temporary memory.
    Scratchpad,
    /// Gradient with respect to the input.
    DiffSrc,
    /// Gradient with respect to the output.
    DiffDst,
    /// Gradient with respect to the weights.
    DiffWeights,
    /// Gradient with respect to the bias.
    DiffBias,
    /// Gradient with respect to the scale.
    DiffScale,
    /// Gradient with respect to the shift.
    DiffShift,
    /// Second input of the post-op of this index.
    PostOp(usize),
}

impl Arg {
    fn code(self) -> i32 {
        match self {
            Self::Src => 1,
            Self::Src1 => 2,
            Self::MultipleSrc(i) => 1024 + i as i32,
            Self::Dst => 17,
            Self::Weights => 33,
            Self::Bias => 41,
            Self::Mean => 49,
            Self::Variance => 50,
            Self::Scale => 51,
            Self::Shift => 52,
            Self::Workspace => 64,
            Self::Scratchpad => 80,
            Self::DiffSrc => 129,
            Self::DiffDst => 145,
            Self::DiffWeights => 161,
            Self::DiffBias => 169,
            Self::DiffScale => 255,
            Self::DiffShift => 256,
            Self::PostOp(i) => (32768 * (i as i32 + 1)) | 2,
        }
    }
}

struct Engine(ffi::handle);

// SAFETY: a CPU engine has no mutable state; oneDNN documents engines as thread-safe.
#[expect(unsafe_code, reason = "thread-safe C object")]
unsafe impl Send for Engine {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "thread-safe C object")]
unsafe impl Sync for Engine {}

/// The CPU engine, made at first use; it lives as long as the process.
pub(crate) fn engine() -> Result<ffi::handle, OnednnError> {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    if let Some(engine) = ENGINE.get() {
        return Ok(engine.0);
    }
    let mut handle = ptr::null_mut();
    // SAFETY: kind 1 is the CPU, which always exists.
    #[expect(unsafe_code, reason = "C call")]
    let status = unsafe { ffi::dnnl_engine_create(&raw mut handle, 1, 0) };
    check("dnnl_engine_create", status)?;
    Ok(ENGINE.get_or_init(|| Engine(handle)).0)
}

/// A primitive that oneDNN has chosen an implementation for.
pub struct PrimitiveDesc(ffi::handle);

// SAFETY: immutable after creation.
#[expect(unsafe_code, reason = "an owned immutable C value")]
unsafe impl Send for PrimitiveDesc {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "an owned immutable C value")]
unsafe impl Sync for PrimitiveDesc {}

impl PrimitiveDesc {
    /// Calls a `*_primitive_desc_create` with the engine and the attributes.
    pub(crate) fn create(
        call: &'static str,
        attributes: &Attributes<'_>,
        create: impl FnOnce(*mut ffi::handle, ffi::handle, ffi::const_handle) -> i32,
    ) -> Result<Self, OnednnError> {
        // The number of threads is part of what oneDNN plans for.
        threads::tell_openmp();
        let attr = attributes.build()?;
        let mut handle = ptr::null_mut();
        check(call, create(&raw mut handle, engine()?, attr.handle()))?;
        Ok(Self(handle))
    }

    pub(crate) fn handle(&self) -> ffi::const_handle {
        self.0
    }

    /// Layout and size of an argument; zero bytes if the primitive does not have it.
    ///
    /// # Errors
    /// [`OnednnError::Call`] when memory is exhausted.
    pub fn memory(&self, arg: Arg) -> Result<MemoryDesc, OnednnError> {
        // SAFETY: a live descriptor; the result is borrowed from it and cloned at once.
        #[expect(unsafe_code, reason = "C call")]
        let desc = unsafe {
            ffi::dnnl_primitive_desc_query_md(self.0, ffi::QUERY_EXEC_ARG_MD, arg.code())
        };
        MemoryDesc::clone_of(desc)
    }

    /// Bytes of an argument; zero if the primitive does not have it.
    ///
    /// # Errors
    /// As [`PrimitiveDesc::memory`].
    pub fn bytes(&self, arg: Arg) -> Result<usize, OnednnError> {
        Ok(self.memory(arg)?.bytes())
    }

    /// The name of the implementation, for example `brgconv:avx512_core`.
    pub fn implementation(&self) -> String {
        let mut name: *const std::ffi::c_char = ptr::null();
        // SAFETY: the query writes one pointer to a string that lives as long as the descriptor.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_primitive_desc_query(
                self.0,
                ffi::QUERY_IMPL_INFO_STR,
                0,
                (&raw mut name).cast(),
            );
            if name.is_null() {
                String::new()
            } else {
                CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        }
    }

    /// The primitive, with its code generated (or found in oneDNN's cache), tied to regions of a storage.
    ///
    /// # Errors
    /// [`OnednnError::RegionTooSmall`], [`OnednnError::BadRegion`], and what oneDNN refuses.
    pub fn bind(
        &self,
        storage: &Storage,
        regions: &[(Arg, Region)],
    ) -> Result<BoundPrimitive, OnednnError> {
        let mut primitive = ptr::null_mut();
        // SAFETY: a live descriptor.
        #[expect(unsafe_code, reason = "C call")]
        let status = unsafe { ffi::dnnl_primitive_create(&raw mut primitive, self.0) };
        check("dnnl_primitive_create", status)?;
        let mut bound = BoundPrimitive {
            primitive,
            args: Vec::new(),
            storage_id: storage.id(),
            segments: Vec::new(),
        };
        for (argument, region) in regions {
            bound.add(self, storage, *argument, *region)?;
        }
        Ok(bound)
    }
}

impl Drop for PrimitiveDesc {
    fn drop(&mut self) {
        // SAFETY: owned and not used afterwards.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_primitive_desc_destroy(self.0);
        }
    }
}

/// A primitive whose arguments are regions of one storage. Executing it allocates nothing on Rust's side.
pub struct BoundPrimitive {
    primitive: ffi::handle,
    args: Vec<ffi::exec_arg_t>,
    storage_id: u64,
    /// Keeps the memory alive that `args` points to.
    segments: Vec<Arc<Segment>>,
}

// SAFETY: the handles are owned; executing needs `&mut Storage`, which excludes every other user of the memory.
#[expect(unsafe_code, reason = "owned C objects")]
unsafe impl Send for BoundPrimitive {}

impl BoundPrimitive {
    fn add(
        &mut self,
        desc: &PrimitiveDesc,
        storage: &Storage,
        argument: Arg,
        region: Region,
    ) -> Result<(), OnednnError> {
        let memory_desc = desc.memory(argument)?;
        let needed = memory_desc.bytes();
        if needed == 0 {
            return Ok(());
        }
        if region.bytes < needed {
            return Err(OnednnError::RegionTooSmall {
                argument,
                needed,
                got: region.bytes,
            });
        }
        let segment = storage.segment(region)?;
        let pointer = segment.at(region).unwrap_or(ptr::null_mut());
        let mut memory = ptr::null_mut();
        // SAFETY: the pointer has `needed` bytes behind it and the segment is kept alive by `segments`.
        #[expect(unsafe_code, reason = "C call")]
        let status = unsafe {
            ffi::dnnl_memory_create(&raw mut memory, memory_desc.0, engine()?, pointer.cast())
        };
        check("dnnl_memory_create", status)?;
        self.segments.push(Arc::clone(segment));
        self.args.push(ffi::exec_arg_t {
            arg: argument.code(),
            memory,
        });
        Ok(())
    }

    /// Runs the primitive and waits for it.
    ///
    /// # Errors
    /// [`OnednnError::Call`]; [`OnednnError::BadRegion`] if this is not the storage that it was bound to.
    pub fn execute(&self, storage: &mut Storage, stream: &Stream) -> Result<(), OnednnError> {
        if storage.id() != self.storage_id {
            return Err(OnednnError::BadRegion {
                segment: 0,
                offset: 0,
                bytes: 0,
            });
        }
        threads::tell_openmp();
        let count = self.args.len() as i32;
        // SAFETY: the arguments are live memories inside `storage`, which is borrowed exclusively until the CPU stream,
        // which runs synchronously, is done.
        #[expect(unsafe_code, reason = "C call")]
        let status = unsafe {
            ffi::dnnl_primitive_execute(self.primitive, stream.0, count, self.args.as_ptr())
        };
        check("dnnl_primitive_execute", status)
    }
}

impl Drop for BoundPrimitive {
    fn drop(&mut self) {
        // SAFETY: owned and not used afterwards.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            for arg in &self.args {
                ffi::dnnl_memory_destroy(arg.memory);
            }
            ffi::dnnl_primitive_destroy(self.primitive);
        }
    }
}

/// An execution stream of the CPU.
pub struct Stream(ffi::handle);

// SAFETY: owned; a CPU stream may move between threads.
#[expect(unsafe_code, reason = "an owned C object")]
unsafe impl Send for Stream {}

impl Stream {
    /// A new stream.
    ///
    /// # Errors
    /// [`OnednnError::Call`].
    pub fn new() -> Result<Self, OnednnError> {
        let mut handle = ptr::null_mut();
        // SAFETY: a live engine; flag 1 is in order.
        #[expect(unsafe_code, reason = "C call")]
        let status = unsafe { ffi::dnnl_stream_create(&raw mut handle, engine()?, 1) };
        check("dnnl_stream_create", status)?;
        Ok(Self(handle))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: owned and not used afterwards.
        #[expect(unsafe_code, reason = "C call")]
        unsafe {
            ffi::dnnl_stream_wait(self.0);
            ffi::dnnl_stream_destroy(self.0);
        }
    }
}
