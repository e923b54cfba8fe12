//! The feature cache never gives a wrong row, whatever happens to its files and whoever writes at the same time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use regraft_train::TrainError;
use regraft_train::feature_cache::{FeatureCache, RowKey, Space, SpaceKey};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

const ROW_LEN: usize = 37;
/// Bytes that a row of this size takes: 148 in the rows, 64 in the index.
const ROW_BYTES: u64 = 212;

fn space_key(weights: &str) -> SpaceKey {
    SpaceKey {
        model: "squeezenet1_1".to_owned(),
        cut: vec!["features.12".to_owned()],
        graph: "graph".to_owned(),
        weights: weights.to_owned(),
        transform: "resize=256".to_owned(),
        precision: "f32".to_owned(),
        engine: "test".to_owned(),
    }
}

fn row_key(number: usize) -> RowKey {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

fn row(number: usize) -> Vec<f32> {
    (0..ROW_LEN).map(|i| (number * 1000 + i) as f32).collect()
}

/// Stores the rows of these numbers, a few at a time as training does.
fn store(cache: &FeatureCache, weights: &str, numbers: &[usize]) -> Result<Space, TrainError> {
    let key = space_key(weights);
    let mut space = cache.space(&key, ROW_LEN);
    cache.reserve(&mut space, &key, numbers.len())?;
    for batch in numbers.chunks(4) {
        let keys: Vec<_> = batch.iter().map(|n| row_key(*n)).collect();
        let values: Vec<_> = batch.iter().flat_map(|n| row(*n)).collect();
        space.store(&keys, &values)?;
    }
    space.finish_writing();
    Ok(space)
}

/// How many of the rows `0..count` are found; each that is must be right.
fn found(cache: &FeatureCache, weights: &str, count: usize) -> usize {
    let space = cache.space(&space_key(weights), ROW_LEN);
    found_in(&space, count)
}

fn found_in(space: &Space, count: usize) -> usize {
    let keys: Vec<_> = (0..count).map(row_key).collect();
    let located = space.locate(&keys, 2);
    for (number, id) in located.iter().enumerate() {
        if let Some(id) = id {
            assert_eq!(space.row(*id), row(number), "row {number}");
        }
    }
    located.iter().flatten().count()
}

fn files(cache: &FeatureCache, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for space in std::fs::read_dir(cache.folder()).unwrap().flatten() {
        if space.path().is_dir() {
            let entries = std::fs::read_dir(space.path()).unwrap().flatten();
            files.extend(entries.map(|e| e.path()));
        }
    }
    files.retain(|path| path.extension().is_some_and(|e| e == extension));
    files.sort();
    files
}

/// A cache in a temporary folder that is removed in the end.
fn temporary() -> (tempfile::TempDir, FeatureCache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = FeatureCache::new(folder.path().join("features"), Some(1 << 20));
    (folder, cache)
}

fn flip_bit(path: &Path, position: u64) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(position)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(position)).unwrap();
    file.write_all(&[byte[0] ^ 0x10]).unwrap();
}

#[test]
fn rows_come_back_in_this_run_and_later_ones() {
    let (_folder, cache) = temporary();
    assert_eq!(found(&cache, "a", 10), 0);
    assert!(!cache.folder().exists(), "reading creates nothing");
    let space = store(&cache, "a", &(0..10).collect::<Vec<_>>()).unwrap();
    assert_eq!(found_in(&space, 12), 10);
    assert_eq!(found(&cache, "a", 12), 10);
}

#[test]
fn other_weights_are_another_space() {
    let (_folder, cache) = temporary();
    store(&cache, "a", &[0, 1]).unwrap();
    assert_eq!(found(&cache, "b", 2), 0);
}

#[test]
fn later_runs_add_to_what_is_there() {
    let (_folder, cache) = temporary();
    store(&cache, "a", &[0, 1, 2]).unwrap();
    store(&cache, "a", &[3, 4]).unwrap();
    assert_eq!(found(&cache, "a", 5), 5);
}

#[test]
fn wherever_a_writer_is_cut_off_no_row_is_wrong() {
    let (_folder, cache) = temporary();
    store(&cache, "a", &(0..8).collect::<Vec<_>>()).unwrap();
    for extension in ["index", "rows"] {
        let path = &files(&cache, extension)[0];
        let whole = std::fs::read(path).unwrap();
        let mut last = 8;
        for len in (0..whole.len()).rev() {
            std::fs::write(path, &whole[..len]).unwrap();
            let rows = found(&cache, "a", 8);
            assert!(rows <= last, "{extension} of {len} bytes");
            last = rows;
        }
        assert_eq!(last, 0);
        std::fs::write(path, &whole).unwrap();
    }
    assert_eq!(found(&cache, "a", 8), 8);
}

#[test]
fn a_damaged_row_is_missing_and_can_be_stored_again() {
    let (_folder, cache) = temporary();
    store(&cache, "a", &(0..8).collect::<Vec<_>>()).unwrap();
    // Row 2 is damaged, and so is the entry of row 5.
    flip_bit(&files(&cache, "rows")[0], 2 * 148 + 50);
    flip_bit(&files(&cache, "index")[0], 6 * 64 + 3);
    assert_eq!(found(&cache, "a", 8), 6);
    store(&cache, "a", &[2, 5]).unwrap();
    assert_eq!(found(&cache, "a", 8), 8);
}

#[test]
fn any_flipped_bit_costs_rows_but_never_their_truth() {
    let (_folder, cache) = temporary();
    store(&cache, "a", &(0..3).collect::<Vec<_>>()).unwrap();
    for extension in ["index", "rows"] {
        let path = &files(&cache, extension)[0];
        for position in 0..path.metadata().unwrap().len() {
            flip_bit(path, position);
            let rows = found(&cache, "a", 3);
            let in_header = extension == "index" && position < 64;
            assert!(if in_header { rows == 0 } else { rows >= 2 });
            flip_bit(path, position);
        }
    }
}

#[test]
fn files_of_another_kind_are_passed_over() {
    let (_folder, cache) = temporary();
    store(&cache, "a", &[0]).unwrap();
    let folder = files(&cache, "index")[0].parent().unwrap().to_owned();
    std::fs::write(folder.join("notes.index"), [7; 200]).unwrap();
    std::fs::create_dir(folder.join("folder.index")).unwrap();
    assert_eq!(found(&cache, "a", 1), 1);
}

#[test]
fn what_was_not_used_for_longest_is_evicted() {
    let (folder, _) = temporary();
    let cache = FeatureCache::new(folder.path(), Some(64 * 3 + 25 * ROW_BYTES));
    for (age, weights) in [(3, "a"), (2, "b")] {
        store(&cache, weights, &(0..10).collect::<Vec<_>>()).unwrap();
        let newest = files(&cache, "index")
            .into_iter()
            .max_by_key(|path| path.metadata().unwrap().modified().unwrap())
            .unwrap();
        let then = SystemTime::now() - Duration::from_secs(age * 100);
        File::open(newest).unwrap().set_modified(then).unwrap();
    }
    // Reading makes the older one the younger.
    assert_eq!(found(&cache, "a", 10), 10);
    store(&cache, "c", &(0..10).collect::<Vec<_>>()).unwrap();
    assert_eq!(found(&cache, "a", 10), 10);
    assert_eq!(found(&cache, "b", 10), 0);
    assert_eq!(found(&cache, "c", 10), 10);
    assert_eq!(cache.list().unwrap().len(), 2);
}

#[test]
fn what_is_in_use_is_neither_evicted_nor_cleared() {
    let (folder, _) = temporary();
    let cache = FeatureCache::new(folder.path(), Some(64 * 3 + 15 * ROW_BYTES));
    let in_use = store(&cache, "a", &(0..10).collect::<Vec<_>>()).unwrap();
    let refused = store(&cache, "b", &(0..10).collect::<Vec<_>>()).unwrap_err();
    assert!(
        matches!(refused, TrainError::CacheTooSmall { .. }),
        "{refused}"
    );
    assert_eq!(cache.clear().unwrap(), 0);
    assert_eq!(found_in(&in_use, 10), 10);
    drop(in_use);
    assert_eq!(cache.clear().unwrap(), 64 + 10 * ROW_BYTES);
    assert_eq!(cache.list().unwrap(), []);
}

#[test]
fn what_would_not_fit_an_empty_cache_evicts_nothing() {
    let (folder, _) = temporary();
    let cache = FeatureCache::new(folder.path(), Some(20 * ROW_BYTES));
    store(&cache, "a", &(0..10).collect::<Vec<_>>()).unwrap();
    let refused = store(&cache, "b", &(0..30).collect::<Vec<_>>()).unwrap_err();
    assert!(
        matches!(refused, TrainError::CacheTooSmall { .. }),
        "{refused}"
    );
    assert_eq!(found(&cache, "a", 10), 10);
}

#[test]
fn a_listing_tells_what_is_there() {
    let (_folder, cache) = temporary();
    assert_eq!(cache.list().unwrap(), []);
    store(&cache, "a", &(0..10).collect::<Vec<_>>()).unwrap();
    let spaces = cache.list().unwrap();
    assert_eq!(spaces.len(), 1);
    assert_eq!(spaces[0].key, Some(space_key("a")));
    assert_eq!(spaces[0].rows, 10);
    assert_eq!(spaces[0].bytes, 64 + 10 * ROW_BYTES);
    assert!(spaces[0].last_used.unwrap().elapsed().unwrap() < Duration::from_mins(1));
}

#[test]
fn clearing_leaves_what_is_not_the_caches() {
    let (_folder, cache) = temporary();
    store(&cache, "a", &[0]).unwrap();
    let notes = cache.folder().join("notes.txt");
    std::fs::write(&notes, "mine").unwrap();
    let in_space = files(&cache, "index")[0].with_file_name("mine.txt");
    std::fs::write(&in_space, "mine").unwrap();
    cache.clear().unwrap();
    assert!(notes.exists() && in_space.exists());
    assert_eq!(files(&cache, "rows"), Vec::<PathBuf>::new());
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_for_writers_alone() {
    let (folder, _) = temporary();
    // A file where the folder should be: it can be neither listed nor created, whoever asks.
    let path = folder.path().join("features");
    std::fs::write(&path, "").unwrap();
    let cache = FeatureCache::new(&path, Some(1 << 20));
    assert_eq!(found(&cache, "a", 1), 0);
    let refused = store(&cache, "a", &[0]).unwrap_err();
    assert!(matches!(refused, TrainError::Io { .. }), "{refused}");
}

#[test]
fn rows_of_another_length_are_refused() {
    let (_folder, cache) = temporary();
    let key = space_key("a");
    let mut space = cache.space(&key, ROW_LEN);
    assert!(matches!(
        space.store(&[row_key(0)], &row(0)),
        Err(TrainError::CacheNotReserved)
    ));
    cache.reserve(&mut space, &key, 1).unwrap();
    assert!(matches!(
        space.store(&[row_key(0)], &[0.0; ROW_LEN - 1]),
        Err(TrainError::RowLength { .. })
    ));
}

#[test]
fn threads_that_write_the_same_rows_do_not_disturb_each_other() {
    let (_folder, cache) = temporary();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let space = store(&cache, "a", &(0..40).collect::<Vec<_>>()).unwrap();
                assert_eq!(found_in(&space, 40), 40);
            });
            scope.spawn(|| found(&cache, "a", 40));
        }
    });
    assert_eq!(found(&cache, "a", 40), 40);
}

/// Not a test of its own: the process that [`killed_writers_lose_no_committed_row`] starts and kills. Writes rows until
/// then, printing how many are committed.
#[test]
fn writes_until_killed() {
    let Some(folder) = std::env::var_os("REGRAFT_TEST_WRITE_TO") else {
        return;
    };
    let cache = FeatureCache::new(folder, Some(1 << 30));
    let key = space_key("a");
    let mut space = cache.space(&key, ROW_LEN);
    cache.reserve(&mut space, &key, 100_000).unwrap();
    for first in (0..100_000).step_by(4) {
        let keys: Vec<_> = (first..first + 4).map(row_key).collect();
        let values: Vec<_> = (first..first + 4).flat_map(row).collect();
        space.store(&keys, &values).unwrap();
        std::fs::write(
            cache
                .folder()
                .join(format!("committed-{}", std::process::id())),
            (first + 4).to_string(),
        )
        .unwrap();
    }
    std::thread::sleep(Duration::from_mins(1));
}

#[test]
fn killed_writers_lose_no_committed_row() {
    let (_folder, cache) = temporary();
    for round in 0..4 {
        let mut writers: Vec<_> = (0..2)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "writes_until_killed", "--nocapture"])
                    .env("REGRAFT_TEST_WRITE_TO", cache.folder())
                    .stdout(std::process::Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let committed = |id| {
            let path = cache.folder().join(format!("committed-{id}"));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.parse::<usize>().unwrap_or(0)
        };
        let started = SystemTime::now();
        while writers.iter().any(|w| committed(w.id()) < 50 + 13 * round) {
            assert!(started.elapsed().unwrap() < Duration::from_mins(1));
            std::thread::sleep(Duration::from_millis(1));
        }
        found(&cache, "a", 100);
        for writer in &mut writers {
            writer.kill().unwrap();
            writer.wait().unwrap();
        }
        for writer in &writers {
            let count = committed(writer.id());
            assert_eq!(found(&cache, "a", count), count);
        }
    }
    // The room that the killed writers had reserved is free again.
    assert!(cache.clear().unwrap() > 0);
    assert_eq!(cache.list().unwrap(), []);
}
