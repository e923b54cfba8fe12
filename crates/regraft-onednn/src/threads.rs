//! The OpenMP threads that oneDNN's kernels run on, for kernels of our own too.

use crate::ffi;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How many threads this thread's kernels are limited to for now; 0 is no limit.
    static LIMIT: Cell<usize> = const { Cell::new(0) };
    /// What the OpenMP runtime was last told on this thread: its setting is per thread.
    static TOLD: Cell<usize> = const { Cell::new(0) };
}

/// Sets how many threads kernels use, in the whole process. At least 1.
pub fn set_threads(threads: usize) {
    THREADS.store(threads.max(1), Ordering::Relaxed);
    tell_openmp();
}

/// Runs `work`, whose kernels use one thread: what takes microseconds is done sooner than a second thread has come,
/// which on a busy machine may be milliseconds later.
///
/// A primitive keeps the number of threads that it was created with, so it is to be created and run alike.
pub fn on_one_thread<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            LIMIT.set(self.0);
            tell_openmp();
        }
    }
    // OpenMP is told another number now, and could not be asked for its own afterwards.
    let _ = THREADS.compare_exchange(0, threads(), Ordering::Relaxed, Ordering::Relaxed);
    let _restore = Restore(LIMIT.replace(1));
    work()
}

/// How many threads kernels use: what was set, else the number of cores.
pub fn threads() -> usize {
    let limit = LIMIT.get();
    if limit != 0 {
        return limit;
    }
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: no arguments, no preconditions.
            #[expect(unsafe_code, reason = "C call")]
            let threads = unsafe { ffi::regraft_max_threads() };
            threads.max(1) as usize
        }
        threads => threads,
    }
}

/// Makes the number of threads known to OpenMP on the calling thread.
pub(crate) fn tell_openmp() {
    let threads = match LIMIT.get() {
        0 => THREADS.load(Ordering::Relaxed),
        limit => limit,
    };
    TOLD.with(|told| {
        if threads != 0 && told.get() != threads {
            // SAFETY: no preconditions.
            #[expect(unsafe_code, reason = "C call")]
            unsafe {
                ffi::regraft_set_threads(threads as c_int);
            }
            told.set(threads);
        }
    });
}

/// Runs `body(thread, threads)` once on each thread and waits for all. Inside another parallel region it runs
/// `body(0, 1)`.
pub fn parallel<F: Fn(usize, usize) + Sync>(body: F) {
    extern "C" fn trampoline<F: Fn(usize, usize) + Sync>(
        context: *mut c_void,
        thread: c_int,
        threads: c_int,
    ) {
        // SAFETY: `context` is the `&F` passed below, alive until the region ends, and `F: Sync`.
        #[expect(unsafe_code, reason = "closure through a C callback")]
        let body = unsafe { &*context.cast::<F>() };
        // A panic cannot unwind through C: `extern "C"` aborts, which is what a broken kernel deserves.
        body(thread as usize, threads as usize);
    }
    let threads = threads();
    // SAFETY: no arguments, no preconditions.
    #[expect(unsafe_code, reason = "C call")]
    let nested = unsafe { ffi::regraft_in_parallel() } != 0;
    if threads == 1 || nested {
        return body(0, 1);
    }
    tell_openmp();
    let context = (&raw const body).cast_mut().cast::<c_void>();
    // SAFETY: the trampoline matches `F`, and `body` outlives the call, which returns after the last thread.
    #[expect(unsafe_code, reason = "C call")]
    unsafe {
        ffi::regraft_parallel(threads as c_int, trampoline::<F>, context);
    }
}

struct Shared(*mut f32, usize);

// SAFETY: used only to hand disjoint parts of one exclusive slice to the threads of a region.
#[expect(unsafe_code, reason = "disjoint parts of one slice")]
unsafe impl Sync for Shared {}

/// Splits slices into chunks, one length for each slice, and runs `body(index, chunks)` for every index in parallel;
/// the last chunk may be short. All slices must have the same number of chunks. Chunks are dealt in contiguous runs, so
/// the result does not depend on the number of threads.
///
/// # Panics
/// When a chunk length is zero or the numbers of chunks differ.
pub fn for_each_chunk_mut<const W: usize, F>(slices: [(&mut [f32], usize); W], body: F)
where
    F: Fn(usize, [&mut [f32]; W]) + Sync,
{
    let mut count = None;
    let parts = slices.map(|(slice, chunk)| {
        assert!(chunk > 0, "a chunk has at least one element");
        let chunks = slice.len().div_ceil(chunk);
        assert!(
            count.is_none_or(|c| c == chunks),
            "all slices are cut into the same number of chunks"
        );
        count = Some(chunks);
        (Shared(slice.as_mut_ptr(), slice.len()), chunk)
    });
    let count = count.unwrap_or(0);
    let parts = &parts;
    let run = |index: usize| {
        let chunks = std::array::from_fn(|w| {
            let (Shared(ptr, len), chunk) = &parts[w];
            let first = index * chunk;
            // SAFETY: each index is run once and its chunk lies inside the slice, apart from every other chunk.
            #[expect(unsafe_code, reason = "disjoint parts of one slice")]
            unsafe {
                std::slice::from_raw_parts_mut(ptr.add(first), (*chunk).min(len - first))
            }
        });
        body(index, chunks);
    };
    if count <= 1 {
        (0..count).for_each(run);
    } else {
        parallel(|thread, threads| {
            (count * thread / threads..count * (thread + 1) / threads).for_each(&run);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_visited_once() {
        set_threads(3);
        let mut a = vec![0.0; 103];
        let mut b = vec![0.0; 11];
        for_each_chunk_mut([(&mut a, 10), (&mut b, 1)], |i, [a, b]| {
            for x in a.iter_mut() {
                *x += i as f32 + 1.0;
            }
            b[0] += a.len() as f32;
        });
        assert!(
            a.iter()
                .enumerate()
                .all(|(i, x)| *x == (i / 10) as f32 + 1.0)
        );
        assert_eq!(b.iter().sum::<f32>(), 103.0);
        assert_eq!(b[10], 3.0);
    }

    #[test]
    fn on_one_thread_is_only_for_what_is_inside() {
        set_threads(2);
        let alone = AtomicUsize::new(0);
        on_one_thread(|| {
            assert_eq!(threads(), 1);
            parallel(|_, threads| {
                alone.fetch_add(threads, Ordering::Relaxed);
            });
        });
        assert_eq!((alone.into_inner(), threads()), (1, 2));
    }

    #[test]
    fn each_thread_runs_once() {
        set_threads(2);
        let runs = AtomicUsize::new(0);
        parallel(|_, _| {
            runs.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(runs.into_inner(), 2);
    }
}
