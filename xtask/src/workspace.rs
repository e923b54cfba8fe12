//! What cargo knows of the workspace, and the folders outside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::stdout_of;

/// The part of `cargo metadata` that the commands use.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) resolve: Resolve,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) pkg: String,
    pub(crate) dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DependencyKind {
    /// `dev`, `build`, or nothing for a normal dependency.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo. `Cargo.lock` has to be up to date.
    pub(crate) fn load() -> Result<Self> {
        // Without a platform, cargo would download the crates of all of them.
        let version = stdout_of(Command::new(cargo()).arg("-vV"))?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("`cargo -vV` names no host")?;
        let json = stdout_of(
            Command::new(cargo())
                .args(["metadata", "--format-version", "1", "--locked"])
                .args(["--filter-platform", host])
                .current_dir(root()?),
        )?;
        serde_json::from_str(&json).context("cannot read what `cargo metadata` printed")
    }

    /// The crates of the workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        let is_member = |package: &&Package| self.workspace_members.contains(&package.id);
        self.packages.iter().filter(is_member)
    }
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> Result<PathBuf> {
    // At run time: a copied target folder must not lead back to the checkout that filled it.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("`CARGO_MANIFEST_DIR` is not set: run this as `cargo xtask`")?;
    let root = Path::new(&manifest).parent();
    Ok(root.context("xtask lies in no workspace")?.to_owned())
}

/// The user's cache folder for this project: `$XDG_CACHE_HOME/regraft` or `~/.cache/regraft`.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither `XDG_CACHE_HOME` nor `HOME` is set, so there is no cache folder")?;
    Ok(cache.join("regraft"))
}
