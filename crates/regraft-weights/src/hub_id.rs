//! How users name weights on the hub.

use std::fmt;
use std::str::FromStr;

use crate::address::percent_decode;
use crate::error::WeightsError;

const DEFAULT_REVISION: &str = "main";

/// Weights on the hub: `hub:ORG/NAME[@REVISION][/FILE]`.
///
/// A `/` in a revision is written `%2F`, as in `hub:org/name@refs%2Fpr%2F1`.
///
/// ```
/// let id: regraft_weights::HubId = "hub:timm/resnet18.tv_in1k@v1/model.safetensors".parse()?;
/// assert_eq!((id.repo.as_str(), id.revision.as_str()), ("timm/resnet18.tv_in1k", "v1"));
/// assert_eq!(id.file.as_deref(), Some("model.safetensors"));
/// # Ok::<(), regraft_weights::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// `ORG/NAME`.
    pub repo: String,
    /// Branch, tag or commit; `main` if none is given.
    pub revision: String,
    /// File inside the repository; the usual names are tried if none is given.
    pub file: Option<String>,
}

impl FromStr for HubId {
    type Err = WeightsError;

    fn from_str(id: &str) -> Result<Self, WeightsError> {
        let invalid = |reason| WeightsError::InvalidHubId {
            id: id.to_owned(),
            reason,
        };
        let path = id
            .strip_prefix("hub:")
            .ok_or_else(|| invalid("it does not start with `hub:`"))?;
        let (organisation, rest) = path
            .split_once('/')
            .ok_or_else(|| invalid("it has no `/`"))?;
        let (name, file) = match rest.split_once('/') {
            Some((name, file)) => (name, Some(file)),
            None => (rest, None),
        };
        let (name, revision) = match name.split_once('@') {
            Some((name, revision)) => (name, percent_decode(revision)),
            None => (name, DEFAULT_REVISION.to_owned()),
        };
        if !is_plain_name(organisation) || !is_plain_name(name) {
            return Err(invalid(
                "ORG and NAME are letters, digits, `-`, `_` and `.`",
            ));
        }
        if !is_plain_path(&revision) {
            return Err(invalid("REVISION is no branch, tag or commit"));
        }
        if file.is_some_and(|file| !is_plain_path(file)) {
            return Err(invalid("FILE is no path inside the repository"));
        }
        Ok(Self {
            repo: format!("{organisation}/{name}"),
            revision,
            file: file.map(str::to_owned),
        })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hub:{}", self.repo)?;
        if self.revision != DEFAULT_REVISION {
            write!(f, "@{}", self.revision.replace('/', "%2F"))?;
        }
        match &self.file {
            Some(file) => write!(f, "/{file}"),
            None => Ok(()),
        }
    }
}

/// Whether a revision is a full commit hash, which always means the same files.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A name that is safe as one component of a path and of an address.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.starts_with('.') && (1..=128).contains(&name.len()) && name.bytes().all(is_plain)
}

fn is_plain_path(path: &str) -> bool {
    path.split('/').all(is_plain_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_shown_alike() {
        for (text, repo, revision, file) in [
            (
                "hub:timm/resnet18.tv_in1k",
                "timm/resnet18.tv_in1k",
                "main",
                None,
            ),
            ("hub:a/b@v1.0", "a/b", "v1.0", None),
            (
                "hub:a/b/sub/model.bin",
                "a/b",
                "main",
                Some("sub/model.bin"),
            ),
            (
                "hub:a/b@refs%2Fpr%2F1/x.pth",
                "a/b",
                "refs/pr/1",
                Some("x.pth"),
            ),
        ] {
            let id: HubId = text.parse().unwrap();
            assert_eq!(
                (id.repo.as_str(), id.revision.as_str(), id.file.as_deref()),
                (repo, revision, file)
            );
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn ids_that_lead_elsewhere_are_refused() {
        for text in [
            "timm/resnet18",
            "hub:resnet18",
            "hub:/resnet18",
            "hub:a/",
            "hub:a/b/",
            "hub:a/../c",
            "hub:../b",
            "hub:a/b/../../etc/passwd",
            "hub:a/b//x",
            "hub:a/b@",
            "hub:a/b@..%2F..%2Fx",
            "hub:a/b c",
            "hub:a/b?x=1",
            "hub:a/b/x#y",
        ] {
            let error = text.parse::<HubId>().unwrap_err();
            assert!(
                matches!(&error, WeightsError::InvalidHubId { id, .. } if id == text),
                "{error}"
            );
        }
    }
}
