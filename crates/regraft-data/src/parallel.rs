//! Spreads work on many items over a few threads.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The number of threads to use when the user does not say.
pub fn available_threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Calls `work` on every item, on one thread per state, each with a state of its own. Threads take the next item when
/// they are done with one, so items of uneven cost spread evenly.
///
/// The calling thread works too, with the first state. When the system refuses a thread, the others do its share.
pub(crate) fn for_each<I, S>(items: I, states: &mut [S], work: impl Fn(&mut S, I::Item) + Sync)
where
    I: Iterator + Send,
    S: Send,
{
    let items = Mutex::new(items);
    let run = |state: &mut S| {
        loop {
            let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            match next {
                Some(item) => work(state, item),
                None => break,
            }
        }
    };
    let Some((own, others)) = states.split_first_mut() else {
        return;
    };
    thread::scope(|scope| {
        for state in others {
            let run = &run;
            let builder = thread::Builder::new().name("regraft-data".to_owned());
            if let Err(error) = builder.spawn_scoped(scope, move || run(state)) {
                tracing::warn!(%error, "cannot start a worker thread, continuing with fewer");
            }
        }
        run(own);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        for threads in [1, 2, 7] {
            let mut out = vec![0; 100];
            let mut seen = vec![0; threads];
            for_each(
                out.iter_mut().enumerate(),
                &mut seen,
                |seen, (index, out)| {
                    *out += index;
                    *seen += 1;
                },
            );
            assert_eq!(out, (0..100).collect::<Vec<_>>());
            assert_eq!(seen.iter().sum::<usize>(), 100);
        }
    }
}
