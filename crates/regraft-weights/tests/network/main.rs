//! Downloads against a fake server on the loopback; no other network is touched.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod download;
mod fake_server;
mod hub;
mod wheel;

use std::path::Path;
use std::time::Duration;

use regraft_weights::{Downloader, DownloaderConfig};
use sha2::{Digest, Sha256};

/// A downloader that is quick to try again and ignores this machine's proxies.
fn downloader() -> Downloader {
    let config = DownloaderConfig {
        proxy_from_env: false,
        ca_bundle: None,
        retries: 2,
        pause: Duration::from_millis(1),
    };
    Downloader::new(&config).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Bytes that no two positions share by accident.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 256 * 13) as u8).collect()
}

/// All files below a folder, relative and sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(
                    path.strip_prefix(folder)
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
    }
    found.sort();
    found
}
