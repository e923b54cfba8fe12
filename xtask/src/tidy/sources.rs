//! Rules for single files: headers, sizes, names, who may print, and the lints of each crate.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The most lines a file may have.
const MAX_LINES: usize = 800;

/// Files that may be longer, because they are generated or nothing but a table.
const LONG_FILES: &[&str] = &[];

/// Names that say nothing about what is in a file or folder.
const BANNED_NAMES: [&str; 8] = [
    "base",
    "common",
    "helper",
    "helpers",
    "misc",
    "util",
    "utilities",
    "utils",
];

/// Folders of the workspace that hold Rust files.
const SOURCE_FOLDERS: [&str; 5] = ["crates", "xtask", "tests", "examples", "fuzz"];

/// The crates that talk to people. All others leave that to them and emit `tracing` events.
const PRINTING_CRATES: [&str; 2] = ["crates/regraft-cli", "xtask"];

/// Checks all files below `root`.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in SOURCE_FOLDERS {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();

    let mut problems = Vec::new();
    for file in &files {
        let path = file.strip_prefix(root).unwrap_or(file);
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot read `{}`", file.display()))?;
        if path.extension() == Some(OsStr::new("rs")) {
            check_source(path, &text, &mut problems);
        } else {
            check_manifest(path, &text, &mut problems);
        }
    }
    Ok(problems)
}

/// Gathers Rust files and manifests.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // A link could lead out of the tree, or in a circle.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                collect(&entry.path(), files)?;
            }
        } else if kind.is_file()
            && (entry.path().extension() == Some(OsStr::new("rs")) || name == "Cargo.toml")
        {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn check_source(path: &Path, text: &str, problems: &mut Vec<String>) {
    let shown = path.display();
    if !text.starts_with("//!") {
        problems.push(format!(
            "`{shown}` does not start with `//!`: say in one sentence what the file is"
        ));
    }

    let lines = text.lines().count();
    let exception = LONG_FILES.iter().any(|long| path == Path::new(long));
    if lines > MAX_LINES && !exception {
        problems.push(format!(
            "`{shown}` has {lines} lines, at most {MAX_LINES} are allowed: split it by concept"
        ));
    }

    let without_extension = path.with_extension("");
    for name in &without_extension {
        if BANNED_NAMES.iter().any(|banned| name == *banned) {
            problems.push(format!(
                "`{shown}`: `{}` says nothing, name it after the concept in it",
                name.display()
            ));
        }
    }

    let may_print = PRINTING_CRATES
        .iter()
        .any(|prefix| path.starts_with(prefix));
    let product = path.components().any(|part| part.as_os_str() == "src");
    if product && !may_print {
        for lint in ["clippy::print_stdout", "clippy::print_stderr"] {
            if text.contains(lint) {
                problems.push(format!(
                    "`{shown}` switches off `{lint}`: a library emits `tracing` events instead"
                ));
            }
        }
    }
}

fn check_manifest(path: &Path, text: &str, problems: &mut Vec<String>) {
    let inherits = text
        .split_once("[lints]")
        .is_some_and(|(_, rest)| rest.trim_start().starts_with("workspace = true"));
    if !inherits {
        problems.push(format!(
            "`{}` does not use the lints of the workspace: add `[lints]` `workspace = true`",
            path.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(path: &str, text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check_source(Path::new(path), text, &mut problems);
        problems
    }

    #[test]
    fn a_file_with_a_header_is_fine() {
        let source = "crates/regraft-eval/src/confusion.rs";
        assert!(problems_of(source, "//! The confusion matrix.\n").is_empty());
    }

    #[test]
    fn a_file_without_a_header_is_a_problem() {
        let problems = problems_of("crates/a/src/lib.rs", "use std::fs;\n//! Late.\n");
        assert!(problems[0].contains("does not start with `//!`"));
        assert_eq!(problems_of("crates/a/src/lib.rs", "").len(), 1);
    }

    #[test]
    fn a_file_over_the_cap_is_a_problem() {
        let text = "//! Long.\n".repeat(MAX_LINES);
        assert!(problems_of("crates/a/src/long.rs", &text).is_empty());
        let problems = problems_of("crates/a/src/long.rs", &format!("{text}//\n"));
        assert!(problems[0].contains("has 801 lines"), "{problems:?}");
    }

    #[test]
    fn names_that_say_nothing_are_problems_for_files_and_folders() {
        for path in ["crates/a/src/utils.rs", "crates/a/tests/common/mod.rs"] {
            assert_eq!(problems_of(path, "//! A.").len(), 1, "{path}");
        }
        assert!(problems_of("crates/a/src/baseline.rs", "//! A.").is_empty());
    }

    #[test]
    fn only_some_crates_may_switch_off_the_print_lints() {
        // In two parts, so that this file does not contain it.
        let text = format!("//! A.\n#![allow(clippy::{})]", "print_stdout");
        assert_eq!(
            problems_of("crates/regraft-data/src/lib.rs", &text).len(),
            1
        );
        assert!(problems_of("crates/regraft-data/tests/jpeg.rs", &text).is_empty());
        assert!(problems_of("crates/regraft-cli/src/main.rs", &text).is_empty());
    }

    #[test]
    fn a_manifest_without_the_lints_of_the_workspace_is_a_problem() {
        let mut problems = Vec::new();
        let path = Path::new("crates/a/Cargo.toml");
        check_manifest(path, "[lints]\nworkspace = true\n", &mut problems);
        assert!(problems.is_empty());
        check_manifest(path, "[package]\nname = \"a\"\n", &mut problems);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn files_are_found_below_the_folders_of_the_workspace() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("crates/a/src");
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(root.path().join("crates/a/target")).unwrap();
        fs::write(source.join("lib.rs"), "fn main() {}").unwrap();
        fs::write(source.join("data.json"), "{}").unwrap();
        fs::write(root.path().join("crates/a/target/made.rs"), "").unwrap();
        let problems = check(root.path()).unwrap();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("crates/a/src/lib.rs"), "{problems:?}");
    }
}
