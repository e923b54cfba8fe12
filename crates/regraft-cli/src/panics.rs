//! A panic is a bug of ours: it is reported in one line, without a backtrace, and ends the process with exit code 2.
//!
//! The message is kept and shown where the panic arrives, not where it starts: image decoders are run under
//! `catch_unwind`, and what they do with a damaged file is no concern of the user's.

use crate::exit_status::ExitStatus;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::{Mutex, PoisonError};

/// The last panic: what and where.
static LAST: Mutex<String> = Mutex::new(String::new());

/// Runs `body`; if it panics, says that this is a bug.
pub(crate) fn report_as_bugs(body: impl FnOnce() -> ExitStatus) -> ExitStatus {
    set_hook(Box::new(|info| {
        let description = describe(info);
        // Such a panic aborts the process and never arrives.
        if description.contains("cannot unwind") {
            show();
        }
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = description;
    }));
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        show();
        ExitStatus::Error
    })
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("no message");
    match info.location() {
        Some(place) => format!("{message} ({place})"),
        None => message.to_owned(),
    }
}

#[expect(clippy::print_stderr, reason = "the output may be what panicked")]
fn show() {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    eprintln!(
        "error: this is a bug in regraft {}: {last}\n\nhint: please report it at {}/issues with the command that you ran",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_REPOSITORY"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_on_any_thread_ends_as_an_error() {
        let status = report_as_bugs(|| {
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| panic!("index {} is out of range", 3));
                thread
                    .join()
                    .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
            })
        });
        assert_eq!(status, ExitStatus::Error);
        let last = LAST.lock().unwrap();
        assert!(
            last.starts_with("index 3 is out of range (crates"),
            "{last}"
        );
    }
}
