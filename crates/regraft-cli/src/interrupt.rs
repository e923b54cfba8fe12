//! Ctrl-C during a run: the first one asks it to stop and to save what there is, the second one ends the process.

use crate::output::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code of a process that the user interrupted, as shells report it.
const INTERRUPTED: i32 = 130;

/// Whether the run is to stop, from now on set by Ctrl-C (and by `kill`).
pub(crate) fn stop_on_ctrl_c(output: &Output) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let output = output.clone();
    let installed = ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the user does not want to wait for the run")]
            std::process::exit(INTERRUPTED);
        }
        output.warning("stopping after this step; press Ctrl-C again to stop at once");
    });
    if let Err(error) = installed {
        tracing::warn!(%error, "Ctrl-C will end the run without saving it");
    }
    stop
}
