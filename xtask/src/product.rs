//! The release binary `regraft`, built and called as a user would call it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::process::stdout_of;
use crate::setup::BuildEnv;

/// The binary that cargo built.
pub(crate) struct Product(PathBuf);

impl Product {
    /// Builds the release binary.
    pub(crate) fn build(env: &BuildEnv) -> Result<Self> {
        let mut command = env.cargo("build")?;
        command.args(["--release", "--package", "regraft-cli"]);
        command.args(env.feature_flags());
        command.arg("--message-format=json-render-diagnostics");
        let messages = stdout_of(&mut command)?;
        let binary = executable(&messages, "regraft").context("cargo built no binary `regraft`")?;
        Ok(Self(binary))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A call of a verb, to be completed.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.0);
        command.arg(verb);
        command
    }

    /// Runs a verb and reads its JSON; its progress goes to the terminal.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        verb: &str,
        paths: &[&Path],
        flags: &[&str],
    ) -> Result<T> {
        let mut command = self.command(verb);
        command.args(paths).args(flags);
        json_of(&mut command)
    }
}

/// Runs a call of the binary with JSON as its output, and reads it.
pub(crate) fn json_of<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    command.args(["--output-format", "json"]);
    let json = stdout_of(command)?;
    serde_json::from_str(&json)
        .with_context(|| format!("`regraft` printed unexpected JSON: {json}"))
}

/// The path of a binary in cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_where_cargo_says() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"regraft","kind":["lib"]},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"regraft"},"executable":"/t/release/regraft"}
"#;
        let expected = Some(PathBuf::from("/t/release/regraft"));
        assert_eq!(executable(messages, "regraft"), expected);
        assert_eq!(executable(messages, "other"), None);
    }
}
