//! Progress of long work on standard error: bars with rate and remaining time, where it is a terminal.

use crate::numbers::{counted, grouped, short};
use crate::output::Output;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use regraft::data::Split;
use regraft::train::event::RunInfo;
use regraft::train::{Event, Listener};

const IMAGES: &str = "{msg} {wide_bar} {human_pos}/{human_len} images, {rate} images/s, {eta} left";
const DOWNLOAD: &str =
    "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const DOWNLOAD_OF_UNKNOWN_SIZE: &str = "{msg} {binary_bytes}, {binary_bytes_per_sec}";

/// A bar for `total` images, of which `done` are done already: they say nothing about the rate.
pub(crate) fn bar(bars: &MultiProgress, what: &str, done: usize, total: usize) -> ProgressBar {
    start(bars, what, (done as u64, total as u64), IMAGES)
}

fn download_bar(bars: &MultiProgress, name: &str, done: u64, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => DOWNLOAD,
        None => DOWNLOAD_OF_UNKNOWN_SIZE,
    };
    let what = format!("downloading {name}");
    start(bars, &what, (done, total.unwrap_or(0)), template)
}

fn start(
    bars: &MultiProgress,
    what: &str,
    (done, total): (u64, u64),
    template: &str,
) -> ProgressBar {
    // The templates are the constants above, which a test reads.
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key(
            "rate",
            |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}", rate(state.per_sec()));
            },
        );
    let bar = ProgressBar::new(total).with_position(done);
    bar.set_style(style);
    bar.set_message(what.to_owned());
    bars.add(bar)
}

/// Shows the events of a run: bars while something takes long, a line for what is worth keeping.
pub(crate) struct Progress {
    output: Output,
    /// The bar of what is going on, and what that is.
    current: Option<(Activity, ProgressBar)>,
    train_images: usize,
    /// Images whose features the cache had, and those that it was searched for.
    cached: (usize, usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Activity {
    Download(String),
    Features(Split),
    Images,
    Epoch(usize),
}

impl Progress {
    /// A listener that shows events on an output.
    pub(crate) fn new(output: &Output) -> Self {
        Self {
            output: output.clone(),
            current: None,
            train_images: 0,
            cached: (0, 0),
        }
    }

    /// Sets the bar of an activity, in the place of another activity's.
    fn set(
        &mut self,
        activity: Activity,
        done: u64,
        new: impl FnOnce(&MultiProgress) -> ProgressBar,
    ) {
        if self.current.as_ref().is_none_or(|(a, _)| *a != activity) {
            self.finish();
            self.current = Some((activity, new(self.output.bars())));
        }
        if let Some((_, bar)) = &self.current {
            bar.set_position(done);
            if bar.length() == Some(done) {
                self.finish();
            }
        }
    }

    /// Says what will be trained on what.
    fn introduce(&self, run: &RunInfo<'_>) {
        self.output.narrate(format_args!(
            "{}: {}, {} to train on, {} for validation",
            run.model,
            counted(run.classes.len(), "class", "classes"),
            counted(run.train_images, "image", "images"),
            counted(run.validation_images, "image", "images"),
        ));
        let percent = 100.0 * run.trainable_parameters as f64 / run.total_parameters.max(1) as f64;
        self.output.narrate(format_args!(
            "trainable params: {} || all params: {} || trainable%: {percent:.4}",
            grouped(run.trainable_parameters as u64),
            grouped(run.total_parameters as u64),
        ));
        let cut = run.cut.join("`, `");
        let (found, searched) = self.cached;
        if searched > 0 {
            self.output.narrate(format_args!(
                "training starts after `{cut}`, whose output is kept: {} from the cache, {} computed",
                counted(found, "image", "images"),
                grouped((searched - found) as u64),
            ));
        } else {
            self.output.narrate(format_args!(
                "training starts after `{cut}`, whose output is not cached"
            ));
        }
    }

    fn finish(&mut self) {
        if let Some((_, bar)) = self.current.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Listener for Progress {
    fn on_event(&mut self, event: &Event<'_>) {
        match event {
            Event::Downloading { name, done, total } => {
                let activity = Activity::Download((*name).to_owned());
                self.set(activity, *done, |bars| {
                    download_bar(bars, name, *done, *total)
                });
            }
            Event::Note(text) => self.output.note(text),
            Event::Warning(text) => self.output.warning(text),
            Event::CacheSearched { found, images, .. } => {
                self.cached.0 += found;
                self.cached.1 += images;
            }
            Event::Features { split, done, total } => {
                self.set(Activity::Features(*split), *done as u64, |bars| {
                    bar(bars, &format!("{split} features"), *done, *total)
                });
            }
            Event::Images { done, total } => {
                self.set(Activity::Images, *done as u64, |bars| {
                    bar(bars, "reading images", *done, *total)
                });
            }
            Event::Started(run) => {
                self.finish();
                self.train_images = run.train_images;
                self.introduce(run);
            }
            Event::Step {
                epoch,
                step,
                steps,
                so_far,
            } => {
                let images = self.train_images;
                let done = images * step / steps.max(&1);
                self.set(Activity::Epoch(*epoch), done as u64, |bars| {
                    bar(bars, &format!("epoch {epoch}"), done, images)
                });
                if let Some((_, bar)) = &self.current {
                    bar.set_message(format!("epoch {epoch}, loss {:.4}", so_far.mean_loss()));
                }
            }
            Event::EpochFinished {
                record, is_best, ..
            } => {
                self.finish();
                self.output.narrate(format_args!(
                    "epoch {:>3}  train loss {:.4}  val loss {:.4}  val accuracy {:.4}{}  {:.2} s  {} images/s",
                    record.epoch,
                    record.train_loss,
                    record.val_loss,
                    record.val_accuracy,
                    if *is_best { " *" } else { "  " },
                    record.seconds,
                    rate(record.images_per_second),
                ));
            }
            _ => {}
        }
    }
}

fn rate(images_per_second: f64) -> String {
    if images_per_second < 1e5 {
        grouped(images_per_second.round() as u64)
    } else {
        short(images_per_second as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_valid() {
        for template in [IMAGES, DOWNLOAD, DOWNLOAD_OF_UNKNOWN_SIZE] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
