//! Settings from environment variables, and where caches lie.

use std::path::{Path, PathBuf};

use crate::error::WeightsError;

/// Looks a variable up; the process's environment, or a map in tests.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variable's value in the process's environment; empty is unset.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether any of the variables is set to 1, ON, YES or TRUE, as Hugging Face reads its flags.
pub(crate) fn first_flag(lookup: Lookup<'_>, names: &[&'static str]) -> Option<&'static str> {
    let is_on = |name: &&&'static str| {
        lookup(name).is_some_and(|value| {
            matches!(
                value.to_ascii_uppercase().as_str(),
                "1" | "ON" | "YES" | "TRUE"
            )
        })
    };
    names.iter().find(is_on).copied()
}

/// Where regraft keeps what it can fetch or compute again: `$REGRAFT_CACHE`, else `$XDG_CACHE_HOME/regraft`, else
/// `~/.cache/regraft`.
///
/// # Errors
/// If none of the variables is set and the user has no home folder.
pub fn cache_folder() -> Result<PathBuf, WeightsError> {
    cache_folder_in(&variable)
}

pub(crate) fn cache_folder_in(lookup: Lookup<'_>) -> Result<PathBuf, WeightsError> {
    match lookup("REGRAFT_CACHE") {
        Some(folder) => Ok(PathBuf::from(folder)),
        None => Ok(user_cache(lookup, "REGRAFT_CACHE")?.join("regraft")),
    }
}

/// The user's cache folder by the XDG rules; `instead` is the variable that would have said so.
pub(crate) fn user_cache(
    lookup: Lookup<'_>,
    instead: &'static str,
) -> Result<PathBuf, WeightsError> {
    // The XDG rules: a relative path is invalid and ignored.
    if let Some(folder) = lookup("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
    {
        return Ok(folder);
    }
    match home(lookup) {
        Some(home) => Ok(home.join(".cache")),
        None => Err(WeightsError::Setting {
            name: instead,
            value: String::new(),
            reason: "it must name a cache folder, because the user has no home folder".to_owned(),
        }),
    }
}

pub(crate) fn home(lookup: Lookup<'_>) -> Option<PathBuf> {
    let home = lookup("HOME").or_else(|| lookup("USERPROFILE"));
    home.map(PathBuf::from)
}

/// Replaces a leading `~` by the home folder.
pub(crate) fn expand_home(path: &str, lookup: Lookup<'_>) -> PathBuf {
    match (path.strip_prefix("~/"), home(lookup)) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => Path::new(path).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(variables: &[(&str, &str)]) -> Option<PathBuf> {
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let lookup = move |name: &str| {
            variables
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        };
        cache_folder_in(&lookup).ok()
    }

    #[test]
    fn the_cache_folder_is_the_users_unless_set() {
        let home = ("HOME", "/home/ada");
        assert_eq!(folder(&[home]), Some("/home/ada/.cache/regraft".into()));
        assert_eq!(
            folder(&[home, ("XDG_CACHE_HOME", "/c")]),
            Some("/c/regraft".into())
        );
        assert_eq!(
            folder(&[home, ("XDG_CACHE_HOME", "relative")]),
            Some("/home/ada/.cache/regraft".into())
        );
        assert_eq!(
            folder(&[home, ("XDG_CACHE_HOME", "/c"), ("REGRAFT_CACHE", "/r")]),
            Some("/r".into())
        );
        assert_eq!(folder(&[]), None);
    }

    #[test]
    fn flags_are_read_as_hugging_face_reads_them() {
        for (value, on) in [
            ("1", true),
            ("true", true),
            ("Yes", true),
            ("0", false),
            ("false", false),
            ("", false),
        ] {
            let lookup = |name: &str| (name == "B").then(|| value.to_owned());
            assert_eq!(
                first_flag(&lookup, &["A", "B"]),
                on.then_some("B"),
                "{value}"
            );
        }
    }
}
