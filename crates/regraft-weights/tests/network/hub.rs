//! The hub: its cache, its refusals, and working without it.

use std::fs;
use std::path::Path;

use regraft_weights::{
    Checkpoint, Hub, HubConfig, HubId, Silent, TensorData, TensorView, WeightsError,
    write_safetensors,
};
use tempfile::TempDir;

use crate::fake_server::{FakeServer, Reply, Request};
use crate::{content, downloader, files, sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn hub(endpoint: &str, cache: &Path) -> Hub {
    let config = HubConfig {
        endpoint: endpoint.to_owned(),
        cache: cache.to_owned(),
        token: None,
        offline: None,
    };
    Hub::new(config, downloader())
}

fn offline_hub(cache: &Path) -> Hub {
    let config = HubConfig {
        endpoint: "http://127.0.0.1:9".to_owned(),
        cache: cache.to_owned(),
        token: None,
        offline: Some("HF_HUB_OFFLINE"),
    };
    Hub::new(config, downloader())
}

fn id(text: &str) -> HubId {
    text.parse().unwrap()
}

/// Answers as the hub does for a large file: asked for headers it points to storage, which has the bytes.
fn large_file(request: &Request, body: &[u8]) -> Reply {
    if request.path.starts_with("/storage/") {
        return Reply::ranged(request, body);
    }
    Reply::redirect(format!(
        "http://{}/storage/x?signature=1",
        request.header("host").unwrap()
    ))
    .with("X-Repo-Commit", COMMIT)
    .with("X-Linked-Etag", format!("\"{}\"", sha256(body)))
    .with("X-Linked-Size", body.len().to_string())
    .with("ETag", "\"of-the-redirect\"")
}

/// A hub of one repository `org/name` with these large files.
fn serve(files: Vec<(&'static str, Vec<u8>)>) -> FakeServer {
    FakeServer::start(move |request| {
        let path = request.path.split('?').next().unwrap().to_owned();
        if let Some(digest) = path.strip_prefix("/storage/") {
            let file = files.iter().find(|(_, body)| sha256(body) == digest);
            return Reply::ranged(request, &file.unwrap().1);
        }
        let file = files.iter().find(|(name, _)| {
            [COMMIT, "main", "v1"]
                .iter()
                .any(|revision| path == format!("/org/name/resolve/{revision}/{name}"))
        });
        let Some((_, body)) = file else {
            return Reply::status(404).with("X-Error-Code", "EntryNotFound");
        };
        Reply::redirect(format!(
            "http://{}/storage/{}",
            request.header("host").unwrap(),
            sha256(body)
        ))
        .with("X-Repo-Commit", COMMIT)
        .with("X-Linked-Etag", format!("\"{}\"", sha256(body)))
        .with("X-Linked-Size", body.len().to_string())
    })
}

fn safetensors(name: &str) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x");
    let tensor = TensorView {
        name,
        shape: &[2],
        data: TensorData::F32(&[1.0, 2.0]),
    };
    write_safetensors(&path, [tensor], &std::collections::BTreeMap::new()).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn a_file_is_cached_as_python_caches_it() {
    let body = content(100_000);
    let server = serve(vec![("sub/model.bin", body.clone())]);
    let cache = TempDir::new().unwrap();
    let hub = hub(&server.url(""), cache.path());
    let path = hub
        .fetch(&id("hub:org/name@v1/sub/model.bin"), &Silent)
        .unwrap();
    assert_eq!(fs::read(&path).unwrap(), body);

    let repository = cache.path().join("models--org--name");
    assert_eq!(
        path,
        repository
            .join("snapshots")
            .join(COMMIT)
            .join("sub/model.bin")
    );
    assert_eq!(
        fs::read_to_string(repository.join("refs/v1")).unwrap(),
        COMMIT
    );
    assert_eq!(
        fs::read(repository.join("blobs").join(sha256(&body))).unwrap(),
        body
    );
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(&path).unwrap(),
        Path::new("../../../blobs").join(sha256(&body))
    );

    // Another revision of the same bytes costs a question, no download; a commit not even that.
    let before = server.requests().len();
    hub.fetch(&id("hub:org/name/sub/model.bin"), &Silent)
        .unwrap();
    assert_eq!(server.requests().len(), before + 1);
    hub.fetch(
        &id(&format!("hub:org/name@{COMMIT}/sub/model.bin")),
        &Silent,
    )
    .unwrap();
    assert_eq!(server.requests().len(), before + 1);
}

#[test]
fn without_a_file_the_usual_names_are_tried_and_shards_completed() {
    let index = r#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#;
    let server = serve(vec![
        ("model.safetensors.index.json", index.as_bytes().to_vec()),
        ("model-1.safetensors", safetensors("a")),
        ("model-2.safetensors", safetensors("b")),
        ("pytorch_model.bin", b"not wanted".to_vec()),
    ]);
    let cache = TempDir::new().unwrap();
    let path = hub(&server.url(""), cache.path())
        .fetch(&id("hub:org/name"), &Silent)
        .unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);

    // All of it serves offline.
    let again = offline_hub(cache.path())
        .fetch(&id("hub:org/name"), &Silent)
        .unwrap();
    assert_eq!(again, path);
}

#[test]
fn a_repository_without_weights_names_what_was_tried() {
    let server = serve(vec![("README.md", b"hi".to_vec())]);
    let cache = TempDir::new().unwrap();
    let error = hub(&server.url(""), cache.path())
        .fetch(&id("hub:org/name"), &Silent)
        .unwrap_err();
    assert!(
        matches!(&error, WeightsError::NotInHub { file, revision, .. }
            if file.contains("pytorch_model.bin") && revision == "main"),
        "{error}"
    );
}

#[test]
fn a_missing_log_in_and_a_missing_file_say_what_to_do() {
    for status in [401, 403] {
        let server = FakeServer::start(move |_| Reply::status(status));
        let cache = TempDir::new().unwrap();
        let error = hub(&server.url(""), cache.path())
            .fetch(&id("hub:org/gated"), &Silent)
            .unwrap_err();
        assert!(
            matches!(&error, WeightsError::HubAccess { repo, .. } if repo == "org/gated"),
            "{error}"
        );
        assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    }
    let server = FakeServer::start(|_| Reply::status(404));
    let cache = TempDir::new().unwrap();
    let error = hub(&server.url(""), cache.path())
        .fetch(&id("hub:org/name/x.pth"), &Silent)
        .unwrap_err();
    assert!(
        matches!(&error, WeightsError::NotInHub { file, .. } if file == "x.pth"),
        "{error}"
    );
    assert!(files(cache.path()).is_empty());
}

#[test]
fn the_token_goes_to_the_hub_only() {
    let body = content(1000);
    let storage = FakeServer::start({
        let body = body.clone();
        move |request| Reply::ranged(request, &body)
    });
    let server = FakeServer::start({
        let location = storage.url("/storage/x").replace("127.0.0.1", "localhost");
        let body = body.clone();
        move |request| match request.header("authorization") {
            Some("Bearer hf_secret") => Reply::redirect(location.clone())
                .with("X-Repo-Commit", COMMIT)
                .with("X-Linked-Etag", sha256(&body)),
            _ => Reply::status(401),
        }
    });
    let cache = TempDir::new().unwrap();
    let config = HubConfig {
        endpoint: server.url(""),
        cache: cache.path().to_owned(),
        token: Some("hf_secret".to_owned()),
        offline: None,
    };
    let path = Hub::new(config, downloader())
        .fetch(&id("hub:org/private/m.bin"), &Silent)
        .unwrap();
    assert_eq!(fs::read(path).unwrap(), body);
    assert!(
        storage
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
}

#[test]
fn a_renamed_repository_is_followed() {
    let body = content(1000);
    let server = FakeServer::start({
        let body = body.clone();
        move |request| match request.path.strip_prefix("/old/name/") {
            Some(rest) => Reply::redirect(format!("/org/name/{rest}")),
            None => large_file(request, &body),
        }
    });
    let cache = TempDir::new().unwrap();
    let path = hub(&server.url(""), cache.path())
        .fetch(&id("hub:old/name/m.bin"), &Silent)
        .unwrap();
    assert_eq!(fs::read(path).unwrap(), body);

    let server = FakeServer::start(|request| Reply::redirect(request.path.clone()));
    let error = hub(&server.url(""), cache.path())
        .fetch(&id("hub:a/b/m.bin"), &Silent)
        .unwrap_err();
    assert!(error.to_string().contains("circles"), "{error}");
}

#[test]
fn bytes_that_differ_from_the_stated_digest_are_refused() {
    let server = FakeServer::start(|request| {
        if request.path.starts_with("/storage/") {
            return Reply::ok(b"tampered");
        }
        large_file(request, b"genuine!")
    });
    let cache = TempDir::new().unwrap();
    let error = hub(&server.url(""), cache.path())
        .fetch(&id("hub:org/name/m.bin"), &Silent)
        .unwrap_err();
    assert!(
        matches!(error, WeightsError::DigestMismatch { .. }),
        "{error}"
    );
    assert_eq!(files(cache.path()), ["models--org--name/refs/main"]);
}

#[test]
fn headers_that_would_lead_out_of_the_cache_are_refused() {
    for (commit, etag) in [
        ("../../../x", "abc"),
        (COMMIT, "../../../x"),
        (COMMIT, ""),
        ("", "abc"),
    ] {
        let server = FakeServer::start(move |_| {
            Reply::ok(b"x")
                .with("X-Repo-Commit", commit)
                .with("ETag", etag)
        });
        let cache = TempDir::new().unwrap();
        let error = hub(&server.url(""), cache.path())
            .fetch(&id("hub:org/name/m.bin"), &Silent)
            .unwrap_err();
        assert!(
            error.to_string().contains("is HF_ENDPOINT a hub?"),
            "{error}"
        );
        assert!(files(cache.path()).is_empty());
    }
}

#[test]
fn small_files_are_named_by_their_git_hash() {
    let server = FakeServer::start(|_| {
        Reply::ok(b"{}")
            .with("X-Repo-Commit", COMMIT)
            .with("ETag", "W/\"9e26dfee\"")
    });
    let cache = TempDir::new().unwrap();
    let path = hub(&server.url(""), cache.path())
        .fetch_file(&id("hub:org/name"), "config.json", &Silent)
        .unwrap();
    assert_eq!(fs::read(path).unwrap(), b"{}");
    assert!(files(cache.path()).contains(&"models--org--name/blobs/9e26dfee".to_owned()));
}

#[test]
fn a_link_whose_blob_was_removed_is_fetched_again() {
    let body = content(1000);
    let server = serve(vec![("m.bin", body.clone())]);
    let cache = TempDir::new().unwrap();
    let hub = hub(&server.url(""), cache.path());
    let path = hub.fetch(&id("hub:org/name/m.bin"), &Silent).unwrap();
    fs::remove_dir_all(cache.path().join("models--org--name/blobs")).unwrap();
    assert_eq!(hub.fetch(&id("hub:org/name/m.bin"), &Silent).unwrap(), path);
    assert_eq!(fs::read(path).unwrap(), body);
}

#[test]
fn offline_uses_the_cache_or_says_what_it_looked_for() {
    let cache = TempDir::new().unwrap();
    let error = offline_hub(cache.path())
        .fetch(&id("hub:org/name"), &Silent)
        .unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, WeightsError::Offline { .. }), "{message}");
    for part in [
        "`hub:org/name` is not in the cache",
        "main/model.safetensors`",
        "HF_HUB_OFFLINE is set",
        "hf download",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let server = serve(vec![("model.safetensors", safetensors("a"))]);
    let path = hub(&server.url(""), cache.path())
        .fetch(&id("hub:org/name"), &Silent)
        .unwrap();
    assert_eq!(
        offline_hub(cache.path())
            .fetch(&id("hub:org/name"), &Silent)
            .unwrap(),
        path
    );
}

#[test]
fn an_unreachable_hub_falls_back_to_the_cache() {
    let cache = TempDir::new().unwrap();
    let dead = FakeServer::start(|_| Reply::status(500)).url("");
    let error = hub(&dead, cache.path())
        .fetch(&id("hub:org/name"), &Silent)
        .unwrap_err();
    assert!(matches!(error, WeightsError::Network { .. }), "{error}");

    let server = serve(vec![("model.safetensors", safetensors("a"))]);
    let path = hub(&server.url(""), cache.path())
        .fetch(&id("hub:org/name"), &Silent)
        .unwrap();
    assert_eq!(
        hub(&dead, cache.path())
            .fetch(&id("hub:org/name"), &Silent)
            .unwrap(),
        path
    );
}
