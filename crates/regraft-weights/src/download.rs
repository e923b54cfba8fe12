//! Downloads that resume where they were cut, are checked, and appear under their name only when whole.
//!
//! The only file of the workspace that talks to the network; [`Hub`](crate::Hub) and [`WheelStore`](crate::WheelStore)
//! use it. Proxies are those of the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, …).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body, ResponseExt};

use crate::address::{redacted, split_credentials};
use crate::atomic_file::sync_folder;
use crate::environment::{Lookup, variable};
use crate::error::WeightsError;
use crate::partial_file::{PartialFile, check_digest};

/// Certificates that users of Python tools already point to; `SSL_CERT_FILE` and the system's are used without them.
const CA_VARIABLES: &[&str] = &["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"];

/// Appended to the name of a file that is not whole yet.
const PARTIAL_SUFFIX: &str = ".regraft.incomplete";

/// How long a server may say nothing before the connection is given up.
const SILENCE: Duration = Duration::from_mins(1);

const BLOCK: usize = 256 << 10;

/// Told how far a download is. The library never prints.
pub trait Progress {
    /// `done` of `total` bytes (unknown if `None`) of `name` are there; called after each block.
    fn update(&self, name: &str, done: u64, total: Option<u64>);
}

impl<F: Fn(&str, u64, Option<u64>)> Progress for F {
    fn update(&self, name: &str, done: u64, total: Option<u64>) {
        self(name, done, total);
    }
}

/// A [`Progress`] that tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn update(&self, _name: &str, _done: u64, _total: Option<u64>) {}
}

/// How a [`Downloader`] reaches servers.
#[derive(Debug, Clone)]
pub struct DownloaderConfig {
    /// Use the proxy that the environment names.
    pub proxy_from_env: bool,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// How often to try again when no further byte arrives.
    pub retries: u32,
    /// Pause before the first of these; doubles each time.
    pub pause: Duration,
}

impl Default for DownloaderConfig {
    fn default() -> Self {
        Self {
            proxy_from_env: true,
            ca_bundle: None,
            retries: 4,
            pause: Duration::from_millis(500),
        }
    }
}

impl DownloaderConfig {
    /// The defaults, with the authorities of `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` or `PIP_CERT`.
    pub fn from_env() -> Self {
        Self::from_lookup(&variable)
    }

    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Self {
        // Requests also takes a folder of hashed certificates; the system's own serve then.
        let bundle = CA_VARIABLES
            .iter()
            .find_map(|name| lookup(name))
            .map(PathBuf::from);
        Self {
            ca_bundle: bundle.filter(|path| !path.is_dir()),
            ..Self::default()
        }
    }
}

/// Fetches files over HTTP and HTTPS.
#[derive(Debug, Clone)]
pub struct Downloader {
    agent: Agent,
    retries: u32,
    pause: Duration,
}

/// One file to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Download<'a> {
    /// Where it comes from; a user and password in it become an `Authorization` header.
    pub url: &'a str,
    /// Where it goes.
    pub path: &'a Path,
    /// What [`Progress`] calls it.
    pub name: &'a str,
    /// Its SHA-256 as lower-case hex.
    pub sha256: Option<&'a str>,
    /// Its length in bytes.
    pub size: Option<u64>,
    /// Value of an `Authorization` header; never sent to another host.
    pub authorization: Option<&'a str>,
}

/// Status and headers of a file, redirects not followed.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A small text and where redirects led.
pub(crate) struct Page {
    pub(crate) text: String,
    pub(crate) content_type: String,
    pub(crate) url: String,
}

impl Downloader {
    /// Reads the certificates and prepares connections; none is made yet.
    ///
    /// # Errors
    /// If the file of certificates cannot be read.
    pub fn new(config: &DownloaderConfig) -> Result<Self, WeightsError> {
        let root_certs = match &config.ca_bundle {
            Some(path) => read_certificates(path)?,
            None => RootCerts::PlatformVerifier,
        };
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("regraft/", env!("CARGO_PKG_VERSION")))
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .tls_config(TlsConfig::builder().root_certs(root_certs).build());
        if !config.proxy_from_env {
            builder = builder.proxy(None);
        }
        Ok(Self {
            agent: builder.build().new_agent(),
            retries: config.retries,
            pause: config.pause,
        })
    }

    /// A downloader with the settings of the environment.
    ///
    /// # Errors
    /// If the file of certificates that it names cannot be read.
    pub fn from_env() -> Result<Self, WeightsError> {
        Self::new(&DownloaderConfig::from_env())
    }

    /// Fetches a file, unless it is there already.
    ///
    /// Bytes gather in a `.regraft.incomplete` file beside the destination, which a later call resumes. Two processes that
    /// want the same file share one download. A file that is there is checked, if its digest is given, but never replaced.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses, keeps hanging up, sends other bytes than the digest or size says, or
    /// the file cannot be written.
    pub fn fetch(
        &self,
        download: &Download<'_>,
        progress: &dyn Progress,
    ) -> Result<(), WeightsError> {
        if download.path.exists() {
            return check_existing(download);
        }
        let folder = download.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(WeightsError::io("create", folder))?;
        let mut name = download.path.as_os_str().to_owned();
        name.push(PARTIAL_SUFFIX);
        let partial_path = PathBuf::from(name);

        let mut partial = PartialFile::open(&partial_path)?;
        if download.path.exists() {
            // Another process finished while this one waited for the lock.
            partial.remove();
            return check_existing(download);
        }
        let result = self.complete(&mut partial, download, progress);
        if result.is_err() && partial.length == 0 {
            partial.remove();
        }
        result?;
        sync_folder(folder);
        tracing::info!(url = %redacted(download.url), path = %download.path.display(), "downloaded");
        Ok(())
    }

    /// Fills the partial file, checks it and gives it its name.
    fn complete(
        &self,
        partial: &mut PartialFile<'_>,
        download: &Download<'_>,
        progress: &dyn Progress,
    ) -> Result<(), WeightsError> {
        let mut resumed = partial.length > 0;
        loop {
            self.fill(partial, download, progress)?;
            let got = partial.digest();
            let Some(expected) = download
                .sha256
                .filter(|expected| !expected.eq_ignore_ascii_case(&got))
            else {
                break;
            };
            partial.restart()?;
            if !resumed {
                return Err(WeightsError::DigestMismatch {
                    what: redacted(download.url),
                    expected: expected.to_owned(),
                    got,
                    remedy: "the file was changed on the server or on the way; it was not kept",
                });
            }
            tracing::warn!(url = %redacted(download.url), "the part left by an earlier run was wrong; starting over");
            resumed = false;
        }
        partial.finish(download.path)
    }

    /// Tries until the file is whole, as long as tries bring it forward.
    fn fill(
        &self,
        partial: &mut PartialFile<'_>,
        download: &Download<'_>,
        progress: &dyn Progress,
    ) -> Result<(), WeightsError> {
        let mut failures = 0;
        loop {
            let before = partial.length;
            let reason = match self.attempt(partial, download, progress)? {
                Attempt::Whole => return Ok(()),
                Attempt::Cut(reason) => reason,
            };
            failures = if partial.length > before {
                1
            } else {
                failures + 1
            };
            if failures > self.retries {
                return Err(WeightsError::Network {
                    url: redacted(download.url),
                    reason,
                });
            }
            let pause = self.pause.saturating_mul(1 << (failures - 1).min(6));
            tracing::warn!(url = %redacted(download.url), reason, ?pause, "download cut, trying again");
            std::thread::sleep(pause);
        }
    }

    fn attempt(
        &self,
        partial: &mut PartialFile<'_>,
        download: &Download<'_>,
        progress: &dyn Progress,
    ) -> Result<Attempt, WeightsError> {
        if download.size.is_some_and(|size| partial.length == size) && partial.length > 0 {
            return Ok(Attempt::Whole);
        }
        let (url, authorization) = split_credentials(download.url);
        let mut request = self.agent.get(&url);
        if let Some(authorization) = download.authorization.or(authorization.as_deref()) {
            request = request.header("Authorization", authorization);
        }
        if partial.length > 0 {
            request = request.header("Range", format!("bytes={}-", partial.length));
        }
        let mut response = match request.call() {
            Ok(response) => response,
            Err(error) if partial.received || is_transient(&error) => {
                return Ok(Attempt::Cut(in_words(&error)));
            }
            Err(error) => return Err(network(&url, &error)),
        };
        match response.status().as_u16() {
            200 => partial.restart()?,
            206 if range_start(&response) == Some(partial.length) => {}
            // Another part than asked for, or none left: what we have is not a part of this file.
            206 | 416 if partial.length > 0 => {
                partial.restart()?;
                return Ok(Attempt::Cut("the server could not resume".to_owned()));
            }
            status @ (408 | 429 | 500..=599) => return Ok(Attempt::Cut(format!("HTTP {status}"))),
            status => return Err(WeightsError::HttpStatus { url, status }),
        }
        let total = response
            .body()
            .content_length()
            .map(|length| partial.length + length);
        if let (Some(expected), Some(got)) = (download.size, total)
            && expected != got
        {
            return Err(WeightsError::SizeMismatch { url, expected, got });
        }
        let total = total.or(download.size);
        let mut body = response.body_mut().as_reader();
        let mut block = vec![0; BLOCK];
        progress.update(download.name, partial.length, total);
        loop {
            let count = match body.read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Ok(Attempt::Cut(error.to_string())),
            };
            partial.append(&block[..count])?;
            if let Some(expected) = total.filter(|&total| partial.length > total) {
                return Err(WeightsError::SizeMismatch {
                    url,
                    expected,
                    got: partial.length,
                });
            }
            progress.update(download.name, partial.length, total);
        }
        match total {
            Some(total) if partial.length < total => Ok(Attempt::Cut(format!(
                "connection closed after {} of {total} bytes",
                partial.length
            ))),
            _ => Ok(Attempt::Whole),
        }
    }

    /// Asks for a file's headers without following redirects.
    pub(crate) fn head(
        &self,
        url: &str,
        authorization: Option<&str>,
    ) -> Result<Head, WeightsError> {
        let (url, credentials) = split_credentials(url);
        let mut failures = 0;
        loop {
            let mut request = self
                .agent
                .head(&url)
                .config()
                .max_redirects(0)
                .max_redirects_will_error(false)
                .build();
            if let Some(authorization) = authorization.or(credentials.as_deref()) {
                request = request.header("Authorization", authorization);
            }
            match request.call() {
                Ok(response) => {
                    return Ok(Head {
                        status: response.status(),
                        headers: response.headers().clone(),
                    });
                }
                Err(error) if is_transient(&error) && failures < self.retries => {
                    std::thread::sleep(self.pause.saturating_mul(1 << failures.min(6)));
                    failures += 1;
                }
                Err(error) => return Err(network(&url, &error)),
            }
        }
    }

    /// Reads a page of at most `limit` bytes.
    pub(crate) fn page(&self, url: &str, accept: &str, limit: u64) -> Result<Page, WeightsError> {
        let (url, credentials) = split_credentials(url);
        let mut request = self.agent.get(&url).header("Accept", accept);
        if let Some(authorization) = &credentials {
            request = request.header("Authorization", authorization);
        }
        let mut response = request.call().map_err(|error| network(&url, &error))?;
        if !response.status().is_success() {
            return Err(WeightsError::HttpStatus {
                url,
                status: response.status().as_u16(),
            });
        }
        let content_type = response.body().mime_type().unwrap_or_default().to_owned();
        let final_url = response.get_uri().to_string();
        let text = response
            .body_mut()
            .with_config()
            .limit(limit)
            .lossy_utf8(true)
            .read_to_string();
        Ok(Page {
            text: text.map_err(|error| network(&url, &error))?,
            content_type,
            url: final_url,
        })
    }
}

enum Attempt {
    Whole,
    /// Why it was not, in words.
    Cut(String),
}

fn check_existing(download: &Download<'_>) -> Result<(), WeightsError> {
    match download.sha256 {
        Some(expected) => check_digest(download.path, expected),
        None => Ok(()),
    }
}

fn read_certificates(path: &Path) -> Result<RootCerts, WeightsError> {
    let pem = std::fs::read(path).map_err(WeightsError::io("read the certificates in", path))?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(WeightsError::corrupt(
            path,
            "it holds no certificate in PEM form",
        ));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// First byte of a partial response: `Content-Range: bytes 100-199/200`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get("Content-Range")?.to_str().ok()?;
    range
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .trim()
        .parse()
        .ok()
}

/// Failures that a second try may not meet, as wrong addresses, certificates and networks that are down would.
fn is_transient(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::BrokenPipe
                | ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::Interrupted
                | ErrorKind::TimedOut
                | ErrorKind::UnexpectedEof
        ),
        ureq::Error::Timeout(phase) => {
            !matches!(phase, ureq::Timeout::Connect | ureq::Timeout::Resolve)
        }
        ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

fn network(url: &str, error: &ureq::Error) -> WeightsError {
    WeightsError::Network {
        url: redacted(url),
        reason: in_words(error),
    }
}

/// The system's own words where the failure is the system's.
fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = DownloaderConfig {
            ca_bundle: Some(file.path().to_owned()),
            ..DownloaderConfig::default()
        };
        let error = Downloader::new(&config).unwrap_err();
        assert!(error.to_string().contains("no certificate"), "{error}");
        let config = DownloaderConfig {
            ca_bundle: Some("/nowhere.pem".into()),
            ..config
        };
        assert!(
            Downloader::new(&config)
                .unwrap_err()
                .to_string()
                .contains("/nowhere.pem")
        );
    }

    #[test]
    fn certificates_of_python_tools_are_used() {
        let lookup = |name: &str| (name == "PIP_CERT").then(|| "/etc/pip.pem".to_owned());
        assert_eq!(
            DownloaderConfig::from_lookup(&lookup).ca_bundle,
            Some("/etc/pip.pem".into())
        );
        let folder = |name: &str| (name == "REQUESTS_CA_BUNDLE").then(|| "/".to_owned());
        assert_eq!(DownloaderConfig::from_lookup(&folder).ca_bundle, None);
    }
}
