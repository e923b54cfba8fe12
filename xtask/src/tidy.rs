//! `cargo xtask tidy`: the rules of the tree that no lint knows.

mod arrows;
mod sources;

use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::{Metadata, root};

/// Checks the tree and prints what is wrong with it.
pub(crate) fn run() -> Result<ExitCode> {
    let problems = check()?;
    print(&problems);
    if problems.is_empty() {
        println!("tidy: ok");
        Ok(ExitCode::SUCCESS)
    } else {
        println!("tidy: {} problems", problems.len());
        Ok(ExitCode::FAILURE)
    }
}

/// One line for each broken rule.
pub(crate) fn check() -> Result<Vec<String>> {
    let mut problems = sources::check(&root()?)?;
    problems.extend(arrows::check(&Metadata::load()?));
    Ok(problems)
}

/// Shows problems as errors.
pub(crate) fn print(problems: &[String]) {
    for problem in problems {
        eprintln!("error: {problem}");
    }
}
