//! `regraft cache`: the feature cache.

use crate::args::{CacheAction, CacheArgs};
use crate::exit_status::ExitStatus;
use crate::numbers::{bytes, grouped};
use crate::output::{Output, Report};
use crate::table::{Align, Table};
use regraft::train::feature_cache::{FeatureCache, SpaceInfo};
use serde::Serialize;
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

/// Lists or clears the cache.
pub(crate) fn run(args: &CacheArgs, output: &mut Output) -> anyhow::Result<ExitStatus> {
    let cache = FeatureCache::new(FeatureCache::default_folder()?, None);
    match args.action {
        CacheAction::List => {
            let spaces: Vec<_> = cache.list()?.iter().map(Space::new).collect();
            output.report(&Listing {
                folder: cache.folder().to_owned(),
                bytes: spaces.iter().map(|space| space.bytes).sum(),
                limit: cache.limit(),
                spaces,
            })?;
        }
        CacheAction::Clear => {
            let freed = cache.clear()?;
            output.report(&Cleared {
                folder: cache.folder().to_owned(),
                freed,
                left: cache.list()?.iter().map(|space| space.bytes).sum(),
            })?;
        }
    }
    Ok(ExitStatus::Done)
}

#[derive(Debug, Serialize)]
struct Listing {
    folder: PathBuf,
    bytes: u64,
    limit: u64,
    spaces: Vec<Space>,
}

/// The features of one frozen part with one set of weights, on one kind of input.
#[derive(Debug, Serialize)]
struct Space {
    path: PathBuf,
    model: Option<String>,
    cut: Vec<String>,
    rows: usize,
    bytes: u64,
    /// Seconds since something was read or written.
    unused_seconds: Option<u64>,
}

impl Space {
    fn new(info: &SpaceInfo) -> Self {
        let age = |time| SystemTime::now().duration_since(time).unwrap_or_default();
        Self {
            path: info.path.clone(),
            model: info.key.as_ref().map(|key| key.model.clone()),
            cut: info
                .key
                .as_ref()
                .map_or_else(Vec::new, |key| key.cut.clone()),
            rows: info.rows,
            bytes: info.bytes,
            unused_seconds: info.last_used.map(|time| age(time).as_secs()),
        }
    }
}

impl Report for Listing {
    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        if !self.spaces.is_empty() {
            let mut table = Table::new(&[
                ("MODEL", Align::Left),
                ("CUT AFTER", Align::Left),
                ("IMAGES", Align::Right),
                ("SIZE", Align::Right),
                ("LAST USED", Align::Right),
            ]);
            for space in &self.spaces {
                table.row([
                    space.model.clone().unwrap_or_else(|| "unknown".to_owned()),
                    space.cut.join(", "),
                    grouped(space.rows as u64),
                    bytes(space.bytes),
                    space.unused_seconds.map(ago).unwrap_or_default(),
                ]);
            }
            writeln!(out, "{table}")?;
        }
        writeln!(
            out,
            "{} of {} in `{}`",
            bytes(self.bytes),
            bytes(self.limit),
            self.folder.display()
        )
    }
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => "now".to_owned(),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[derive(Debug, Serialize)]
struct Cleared {
    folder: PathBuf,
    freed: u64,
    /// Bytes that running processes use.
    left: u64,
}

impl Report for Cleared {
    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(
            out,
            "freed {} in `{}`",
            bytes(self.freed),
            self.folder.display()
        )?;
        if self.left > 0 {
            writeln!(out, "kept {}, which other runs are using", bytes(self.left))?;
        }
        Ok(())
    }
}
