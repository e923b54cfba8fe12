//! Weights from the Hugging Face hub, in the cache folder that its Python library uses.
//!
//! Layout, headers and variables follow `huggingface_hub` (`file_download.py`, `constants.py`): a file is stored once
//! under `blobs/<etag>`, and `snapshots/<commit>/<file>` links to it, so each tool finds what the other fetched. The
//! crate `hf-hub` is not used because it brings an async runtime and a second transfer protocol for this one download.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::address::redacted;
use crate::atomic_file;
use crate::download::{Download, Downloader, Head, Progress};
use crate::environment::{self, Lookup, expand_home, first_flag, variable};
use crate::error::WeightsError;
use crate::folder::{self, CHECKPOINT_NAMES};
use crate::hub_id::{HubId, is_commit, is_plain_name};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const OFFLINE_FLAGS: &[&str] = &["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "REGRAFT_OFFLINE"];

/// A repository renamed more often than this is a loop.
const MAX_RENAMES: usize = 5;

/// Which hub, as whom, and where its files are kept.
#[derive(Clone)]
pub struct HubConfig {
    /// Address of the hub.
    pub endpoint: String,
    /// The cache folder, shared with Python.
    pub cache: PathBuf,
    /// Access token.
    pub token: Option<String>,
    /// The variable that forbids the network, if one does.
    pub offline: Option<&'static str>,
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("endpoint", &redacted(&self.endpoint))
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .finish()
    }
}

impl HubConfig {
    /// Reads `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_TOKEN` (or the file that `hf auth login`
    /// writes), `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` and `REGRAFT_OFFLINE`.
    ///
    /// # Errors
    /// If none of them names a cache folder and the user has no home folder.
    pub fn from_env() -> Result<Self, WeightsError> {
        Self::from_lookup(&variable)
    }

    fn from_lookup(lookup: Lookup<'_>) -> Result<Self, WeightsError> {
        let home = match lookup("HF_HOME") {
            Some(home) => expand_home(&home, lookup),
            None => environment::user_cache(lookup, "HF_HOME")?.join("huggingface"),
        };
        let cache = lookup("HF_HUB_CACHE").or_else(|| lookup("HUGGINGFACE_HUB_CACHE"));
        let token_file = lookup("HF_TOKEN_PATH")
            .map_or_else(|| home.join("token"), |path| expand_home(&path, lookup));
        let token = lookup("HF_TOKEN").or_else(|| fs::read_to_string(token_file).ok());
        let endpoint = lookup("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: cache.map_or_else(|| home.join("hub"), |cache| expand_home(&cache, lookup)),
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            offline: first_flag(lookup, OFFLINE_FLAGS),
        })
    }
}

/// The hub and its cache.
#[derive(Debug, Clone)]
pub struct Hub {
    config: HubConfig,
    downloader: Downloader,
}

impl Hub {
    /// A hub of these settings.
    pub fn new(config: HubConfig, downloader: Downloader) -> Self {
        Self { config, downloader }
    }

    /// The hub that the environment names.
    ///
    /// # Errors
    /// As [`HubConfig::from_env`] and [`Downloader::from_env`].
    pub fn from_env() -> Result<Self, WeightsError> {
        Ok(Self::new(HubConfig::from_env()?, Downloader::from_env()?))
    }

    /// Makes weights available and returns the file for [`Checkpoint::open`](crate::Checkpoint::open): the one named, or
    /// the first of [`CHECKPOINT_NAMES`] that the repository has, with all shards if it is an index.
    ///
    /// # Errors
    /// As [`Hub::fetch_file`].
    pub fn fetch(&self, id: &HubId, progress: &dyn Progress) -> Result<PathBuf, WeightsError> {
        let path = match &id.file {
            Some(file) => self.fetch_file(id, file, progress)?,
            None => self.fetch_first(id, progress)?,
        };
        if path.to_string_lossy().ends_with(".index.json") {
            for shard in folder::shards(&path)? {
                // Shards lie beside their index.
                let file = match id.file.as_deref().and_then(|file| file.rsplit_once('/')) {
                    Some((parent, _)) => format!("{parent}/{shard}"),
                    None => shard,
                };
                self.fetch_file(id, &file, progress)?;
            }
        }
        Ok(path)
    }

    fn fetch_first(&self, id: &HubId, progress: &dyn Progress) -> Result<PathBuf, WeightsError> {
        let mut first_failure = None;
        for name in CHECKPOINT_NAMES {
            match self.fetch_file(id, name, progress) {
                Err(error @ (WeightsError::NotInHub { .. } | WeightsError::Offline { .. })) => {
                    first_failure.get_or_insert(error);
                }
                result => return result,
            }
        }
        Err(match first_failure {
            Some(offline @ WeightsError::Offline { .. }) => offline,
            _ => self.not_in_hub(id, &CHECKPOINT_NAMES.join(", ")),
        })
    }

    /// Makes one file of the repository available, such as `config.json`, and returns where it is.
    ///
    /// A commit that is cached is used without asking; for a branch or tag the hub is asked for its commit first, and
    /// what is cached serves if the hub cannot be reached. Large files are checked by the SHA-256 that the hub states.
    ///
    /// # Errors
    /// If the hub does not have the file or wants a log-in, the download fails, or it is not cached and a flag of the
    /// environment forbids the network.
    pub fn fetch_file(
        &self,
        id: &HubId,
        file: &str,
        progress: &dyn Progress,
    ) -> Result<PathBuf, WeightsError> {
        let repository = self
            .config
            .cache
            .join(format!("models--{}", id.repo.replace('/', "--")));
        let cached = cached(&repository, &id.revision, file);
        if let Some(path) = cached
            .as_ref()
            .filter(|_| is_commit(&id.revision) || self.config.offline.is_some())
        {
            return Ok(path.clone());
        }
        if let Some(flag) = self.config.offline {
            let snapshot = repository.join("snapshots").join(&id.revision).join(file);
            return Err(WeightsError::Offline {
                what: id.to_string(),
                looked_for: snapshot,
                reason: format!("{flag} is set"),
                remedy: format!(
                    "unset {flag}, or run `hf download {} --revision {}` where there is a network and copy the cache, \
                     or pass a file",
                    id.repo, id.revision
                ),
            });
        }
        let remote = match self.ask(id, file) {
            Ok(remote) => remote,
            Err(error @ WeightsError::Network { .. }) => {
                let Some(path) = cached else {
                    return Err(error);
                };
                tracing::warn!(%error, path = %path.display(), "hub not reached, using the cached file");
                return Ok(path);
            }
            Err(error) => return Err(error),
        };
        self.download(id, file, &repository, &remote, progress)
    }

    /// Asks the hub which commit the revision is and what the file is.
    fn ask(&self, id: &HubId, file: &str) -> Result<Remote, WeightsError> {
        let mut url = self.url(id, &id.revision, file);
        let authorization = self.authorization();
        for _ in 0..MAX_RENAMES {
            let head = self.downloader.head(&url, authorization.as_deref())?;
            let location = head.header("Location").unwrap_or_default();
            // A relative redirect means that the repository was renamed; an absolute one leads to the storage.
            if head.status.is_redirection()
                && location.starts_with('/')
                && head.header("X-Linked-Etag").is_none()
            {
                url = format!("{}{location}", self.config.endpoint);
                continue;
            }
            return match head.status.as_u16() {
                200..=399 => Remote::read(&url, &head),
                status @ (401 | 403) => Err(WeightsError::HubAccess {
                    repo: id.repo.clone(),
                    endpoint: redacted(&self.config.endpoint),
                    status,
                }),
                404 => Err(self.not_in_hub(id, file)),
                status => Err(WeightsError::HttpStatus {
                    url: redacted(&url),
                    status,
                }),
            };
        }
        Err(WeightsError::Network {
            url: redacted(&url),
            reason: "it redirects in circles".to_owned(),
        })
    }

    fn download(
        &self,
        id: &HubId,
        file: &str,
        repository: &Path,
        remote: &Remote,
        progress: &dyn Progress,
    ) -> Result<PathBuf, WeightsError> {
        if id.revision != remote.commit {
            let reference = repository.join("refs").join(&id.revision);
            write_reference(&reference, &remote.commit)?;
        }
        let link = repository.join("snapshots").join(&remote.commit).join(file);
        if link.exists() {
            return Ok(link);
        }
        let blob = repository.join("blobs").join(&remote.etag);
        if !blob.exists() {
            self.downloader.fetch(
                &Download {
                    url: &self.url(id, &remote.commit, file),
                    path: &blob,
                    name: file,
                    sha256: remote.sha256(),
                    size: remote.size,
                    authorization: self.authorization().as_deref(),
                },
                progress,
            )?;
        }
        link_blob(&blob, &link, file)?;
        Ok(link)
    }

    fn url(&self, id: &HubId, revision: &str, file: &str) -> String {
        format!(
            "{}/{}/resolve/{}/{file}",
            self.config.endpoint,
            id.repo,
            revision.replace('/', "%2F")
        )
    }

    fn authorization(&self) -> Option<String> {
        self.config
            .token
            .as_ref()
            .map(|token| format!("Bearer {token}"))
    }

    fn not_in_hub(&self, id: &HubId, file: &str) -> WeightsError {
        WeightsError::NotInHub {
            repo: id.repo.clone(),
            revision: id.revision.clone(),
            file: file.to_owned(),
            endpoint: redacted(&self.config.endpoint),
        }
    }
}

/// What the hub says about a file.
struct Remote {
    commit: String,
    /// Name of the blob: the SHA-256 of large files, the git hash of others.
    etag: String,
    size: Option<u64>,
}

impl Remote {
    fn read(url: &str, head: &Head) -> Result<Self, WeightsError> {
        let bad = |reason: &str| WeightsError::Network {
            url: redacted(url),
            reason: reason.to_owned(),
        };
        let commit = head.header("X-Repo-Commit").unwrap_or_default();
        let etag = head
            .header("X-Linked-Etag")
            .or_else(|| head.header("ETag"))
            .unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        // Both become names of files.
        if !is_commit(commit) {
            return Err(bad("the answer names no commit; is HF_ENDPOINT a hub?"));
        }
        if !is_plain_name(etag) {
            return Err(bad("the answer has no usable ETag; is HF_ENDPOINT a hub?"));
        }
        let size = match (head.header("X-Linked-Size"), head.status.is_success()) {
            (Some(size), _) => size.parse().ok(),
            (None, true) => head
                .header("Content-Length")
                .and_then(|size| size.parse().ok()),
            (None, false) => None,
        };
        Ok(Self {
            commit: commit.to_owned(),
            etag: etag.to_owned(),
            size,
        })
    }

    fn sha256(&self) -> Option<&str> {
        let is_sha256 =
            self.etag.len() == 64 && self.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_sha256.then_some(self.etag.as_str())
    }
}

/// The file in the cache, if the revision is known there.
fn cached(repository: &Path, revision: &str, file: &str) -> Option<PathBuf> {
    let commit = match fs::read_to_string(repository.join("refs").join(revision)) {
        Ok(commit) => commit.trim().to_owned(),
        Err(_) => revision.to_owned(),
    };
    let path = repository.join("snapshots").join(commit).join(file);
    path.exists().then_some(path)
}

fn write_reference(reference: &Path, commit: &str) -> Result<(), WeightsError> {
    if fs::read_to_string(reference).is_ok_and(|known| known.trim() == commit) {
        return Ok(());
    }
    create_parent(reference)?;
    atomic_file::write(reference, |file| {
        std::io::Write::write_all(file, commit.as_bytes())
    })
}

/// Makes `link` show the blob: a relative link, as Python makes, or a copy where there are none.
fn link_blob(blob: &Path, link: &Path, file: &str) -> Result<(), WeightsError> {
    create_parent(link)?;
    if link.symlink_metadata().is_ok() {
        // It led to a blob that was since removed.
        fs::remove_file(link).map_err(WeightsError::io("remove", link))?;
    }
    #[cfg(unix)]
    {
        let up = "../".repeat(2 + file.matches('/').count());
        let target = format!(
            "{up}blobs/{}",
            blob.file_name().unwrap_or_default().to_string_lossy()
        );
        match std::os::unix::fs::symlink(target, link) {
            Ok(()) => return Ok(()),
            // Another process was faster.
            Err(_) if link.exists() => return Ok(()),
            Err(error) => tracing::debug!(%error, file, "cannot link, copying"),
        }
    }
    let mut source = fs::File::open(blob).map_err(WeightsError::io("open", blob))?;
    atomic_file::write(link, |copy| std::io::copy(&mut source, copy).map(drop))
}

fn create_parent(path: &Path) -> Result<(), WeightsError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(WeightsError::io("create", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> HubConfig {
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        HubConfig::from_lookup(&lookup).unwrap()
    }

    #[test]
    fn the_cache_is_where_python_keeps_it() {
        let home = ("HOME", "/home/ada");
        assert_eq!(
            config(&[home]).cache,
            Path::new("/home/ada/.cache/huggingface/hub")
        );
        assert_eq!(
            config(&[home, ("XDG_CACHE_HOME", "/c")]).cache,
            Path::new("/c/huggingface/hub")
        );
        assert_eq!(
            config(&[home, ("HF_HOME", "~/hf")]).cache,
            Path::new("/home/ada/hf/hub")
        );
        assert_eq!(
            config(&[home, ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/h")]).cache,
            Path::new("/h")
        );
    }

    #[test]
    fn the_token_never_shows() {
        let config = config(&[
            ("HOME", "/nowhere"),
            ("HF_TOKEN", "hf_secret"),
            ("HF_HUB_OFFLINE", "1"),
        ]);
        assert_eq!(config.token.as_deref(), Some("hf_secret"));
        assert_eq!(config.offline, Some("HF_HUB_OFFLINE"));
        assert_eq!(config.endpoint, DEFAULT_ENDPOINT);
        assert!(!format!("{config:?}").contains("secret"));
    }
}
