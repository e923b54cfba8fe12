//! The download itself: resuming, checking, trying again, giving up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use regraft_weights::{Download, Silent, WeightsError};
use tempfile::TempDir;

use crate::fake_server::{FakeServer, Reply};
use crate::{content, downloader, files, sha256};

fn fetch(url: &str, path: &Path, digest: Option<&str>) -> Result<(), WeightsError> {
    downloader().fetch(&download(url, path, digest), &Silent)
}

fn download<'a>(url: &'a str, path: &'a Path, sha256: Option<&'a str>) -> Download<'a> {
    Download {
        url,
        path,
        name: "data",
        sha256,
        size: None,
        authorization: None,
    }
}

fn target() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sub/data.bin");
    (folder, path)
}

#[test]
fn a_file_arrives_whole_with_progress_and_is_not_fetched_again() {
    let body = content(1_000_000);
    let server = FakeServer::start({
        let body = body.clone();
        move |request| Reply::ranged(request, &body)
    });
    let (folder, path) = target();
    let seen = Mutex::new(Vec::new());
    let progress = |name: &str, done: u64, total: Option<u64>| {
        seen.lock().unwrap().push((name.to_owned(), done, total));
    };
    let url = server.url("/data.bin");
    let digest = sha256(&body);
    let download = download(&url, &path, Some(&digest));
    downloader().fetch(&download, &progress).unwrap();
    assert_eq!(fs::read(&path).unwrap(), body);
    assert_eq!(files(folder.path()), ["sub/data.bin"]);

    let seen = seen.into_inner().unwrap();
    assert_eq!(
        seen.first().unwrap(),
        &("data".to_owned(), 0, Some(1_000_000))
    );
    assert_eq!(
        seen.last().unwrap(),
        &("data".to_owned(), 1_000_000, Some(1_000_000))
    );
    assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].1));

    downloader().fetch(&download, &Silent).unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_cut_connection_is_resumed_where_it_was_cut() {
    let body = content(300_000);
    let server = FakeServer::start({
        let body = body.clone();
        let count = AtomicUsize::new(0);
        move |request| {
            let reply = Reply::ranged(request, &body);
            if count.fetch_add(1, Ordering::SeqCst) < 3 {
                reply.cut_after(70_000)
            } else {
                reply
            }
        }
    });
    let (_folder, path) = target();
    fetch(&server.url("/data.bin"), &path, Some(&sha256(&body))).unwrap();
    assert_eq!(fs::read(&path).unwrap(), body);
    let starts: Vec<_> = server
        .requests()
        .iter()
        .map(crate::fake_server::Request::range_start)
        .collect();
    assert_eq!(starts, [None, Some(70_000), Some(140_000), Some(210_000)]);
}

#[test]
fn a_later_run_resumes_what_an_earlier_one_left() {
    let body = content(200_000);
    let (_folder, path) = target();
    let cutting = FakeServer::start({
        let body = body.clone();
        move |request| match request.range_start() {
            None => Reply::ok(&body).cut_after(50_000),
            Some(_) => Reply::status(503),
        }
    });
    let error = fetch(&cutting.url("/data.bin"), &path, None).unwrap_err();
    assert!(
        matches!(&error, WeightsError::Network { reason, .. } if reason == "HTTP 503"),
        "{error}"
    );
    assert!(!path.exists());

    let whole = FakeServer::start({
        let body = body.clone();
        move |request| Reply::ranged(request, &body)
    });
    fetch(&whole.url("/data.bin"), &path, Some(&sha256(&body))).unwrap();
    assert_eq!(whole.requests()[0].range_start(), Some(50_000));
    assert_eq!(fs::read(&path).unwrap(), body);
}

fn leave_partial(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(format!("{}.regraft.incomplete", path.display()), bytes).unwrap();
}

#[test]
fn a_wrong_part_of_an_earlier_run_is_thrown_away() {
    let body = content(100_000);
    let server = FakeServer::start({
        let body = body.clone();
        move |request| Reply::ranged(request, &body)
    });
    for left in [vec![0; 40_000], vec![0; 100_000], vec![0; 150_000]] {
        let (folder, path) = target();
        leave_partial(&path, &left);
        fetch(&server.url("/data.bin"), &path, Some(&sha256(&body))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), body);
        assert_eq!(files(folder.path()), ["sub/data.bin"]);
    }
}

#[test]
fn a_server_that_cannot_resume_sends_all_again() {
    let body = content(100_000);
    let server = FakeServer::start({
        let body = body.clone();
        move |_| Reply::ok(&body)
    });
    let (_folder, path) = target();
    leave_partial(&path, &body[..40_000]);
    fetch(&server.url("/data.bin"), &path, Some(&sha256(&body))).unwrap();
    assert_eq!(fs::read(&path).unwrap(), body);
}

#[test]
fn a_whole_part_is_not_fetched_again() {
    let body = content(1000);
    let server = FakeServer::start(|_| Reply::status(500));
    let (_folder, path) = target();
    leave_partial(&path, &body);
    let url = server.url("/data.bin");
    let digest = sha256(&body);
    let download = Download {
        size: Some(1000),
        ..download(&url, &path, Some(&digest))
    };
    downloader().fetch(&download, &Silent).unwrap();
    assert!(server.requests().is_empty());
}

#[test]
fn a_wrong_digest_is_an_error_and_keeps_nothing() {
    let server = FakeServer::start(|_| Reply::ok(b"tampered"));
    let (folder, path) = target();
    let error = fetch(&server.url("/data.bin"), &path, Some(&sha256(b"genuine"))).unwrap_err();
    assert!(
        matches!(&error, WeightsError::DigestMismatch { got, .. } if *got == sha256(b"tampered")),
        "{error}"
    );
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_file_of_another_digest_that_is_there_is_reported_not_replaced() {
    let server = FakeServer::start(|_| Reply::ok(b"genuine"));
    let (_folder, path) = target();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "mine").unwrap();
    let error = fetch(&server.url("/data.bin"), &path, Some(&sha256(b"genuine"))).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("remove the file to download it again"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert!(server.requests().is_empty());
}

#[test]
fn a_length_other_than_promised_is_an_error() {
    let server = FakeServer::start(|_| Reply::ok(b"12345678"));
    let (_folder, path) = target();
    let url = server.url("/data.bin");
    let download = Download {
        size: Some(4),
        ..download(&url, &path, None)
    };
    let error = downloader().fetch(&download, &Silent).unwrap_err();
    assert!(
        matches!(
            error,
            WeightsError::SizeMismatch {
                expected: 4,
                got: 8,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn refusals_are_not_tried_again_and_failures_are() {
    for (status, tries) in [(404, 1), (401, 1), (500, 3), (429, 3)] {
        let server = FakeServer::start(move |_| Reply::status(status));
        let (folder, path) = target();
        let error = fetch(&server.url("/data.bin"), &path, None).unwrap_err();
        assert!(files(folder.path()).is_empty());
        assert!(
            error.to_string().contains(&format!("HTTP {status}")),
            "{error}"
        );
        assert_eq!(server.requests().len(), tries, "{status}");
    }
}

#[test]
fn an_unreachable_server_is_an_error_with_a_remedy() {
    let address = {
        let server = FakeServer::start(|_| Reply::status(200));
        server.url("/data.bin?secret=1")
    };
    let (_folder, path) = target();
    let error = fetch(&address, &path, None).unwrap_err();
    assert!(matches!(error, WeightsError::Network { .. }), "{error}");
    assert!(
        error.to_string().contains("check the network") && !error.to_string().contains("secret"),
        "{error}"
    );
}

#[test]
fn redirects_are_followed_without_telling_the_other_host_who_asks() {
    let storage = FakeServer::start(|_| Reply::ok(b"bytes"));
    let location = storage
        .url("/blob?signature=1")
        .replace("127.0.0.1", "localhost");
    let server = FakeServer::start(move |_| Reply::redirect(location.clone()));
    let (_folder, path) = target();
    let url = server.url("/data.bin");
    let download = Download {
        authorization: Some("Bearer secret"),
        ..download(&url, &path, None)
    };
    downloader().fetch(&download, &Silent).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"bytes");
    assert_eq!(
        server.requests()[0].header("authorization"),
        Some("Bearer secret")
    );
    assert_eq!(storage.requests()[0].header("authorization"), None);
}

#[test]
fn several_threads_that_want_one_file_share_one_download() {
    let body = content(500_000);
    let server = FakeServer::start({
        let body = body.clone();
        move |request| Reply::ranged(request, &body)
    });
    let (folder, path) = target();
    let url = server.url("/data.bin");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| fetch(&url, &path, Some(&sha256(&body))).unwrap());
        }
    });
    assert_eq!(fs::read(&path).unwrap(), body);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(files(folder.path()), ["sub/data.bin"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("sub"), "a file in the way").unwrap();
    let path = folder.path().join("sub/data.bin");
    let error = fetch("http://127.0.0.1:9/", &path, None).unwrap_err();
    assert!(
        matches!(
            error,
            WeightsError::Io {
                action: "create",
                ..
            }
        ),
        "{error}"
    );
}
