//! A step allocates nothing on Rust's side: memory is laid out when the plan is compiled.

use regraft_engine::{Mode, Precision, Session, SessionOptions, set_threads};
use regraft_models::{BuildOptions, build, synthetic};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards to the system's allocator.
#[expect(unsafe_code, reason = "an allocator that counts")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_training_step_allocates_nothing() {
    set_threads(2);
    for name in ["resnet18", "squeezenet1_1", "mobilenet_v2"] {
        let model = build(
            name,
            &BuildOptions {
                input_size: Some([64, 64]),
                ..BuildOptions::default()
            },
        )
        .unwrap();
        let state = synthetic::state_dict(&model.graph);
        let options = SessionOptions {
            mode: Mode::Train,
            precision: Precision::F32,
        };
        let mut session = Session::new(&model.graph, &state, options).unwrap();
        let mut step = session.batch(2).unwrap();
        let mut one_step = |seed| {
            step.input_mut("image").unwrap().fill(0.5);
            step.forward(seed).unwrap();
            let (logits, gradient) = step.output_and_gradient("logits").unwrap();
            gradient.copy_from_slice(logits);
            step.backward().unwrap();
        };
        one_step(1);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        one_step(2);
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(after - before, 0, "{name}");
    }
}
