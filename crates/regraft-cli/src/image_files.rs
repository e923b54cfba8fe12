//! The images that a command line names: files, folders of them, and lists on standard input.

use anyhow::{Context, bail};
use regraft::data::{
    BadImage, DataError, DecodeOptions, IMAGE_EXTENSIONS, Sample, Samples, find_bad_images,
};
use regraft::train::TrainError;
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// All images in the order they are named; those of a folder and its sub-folders are sorted by path. Whatever is named
/// itself is taken for an image, in a folder only files with the name of one.
///
/// # Errors
/// When a folder or standard input cannot be read, or there is no image at all.
pub(crate) fn find(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let lines = std::io::stdin().lock().lines();
            for line in lines {
                let line = line.context("cannot read the list of images on standard input")?;
                if !line.is_empty() {
                    found.push(PathBuf::from(line));
                }
            }
        } else if path.is_dir() {
            let before = found.len();
            walk(path, &mut found)?;
            found[before..].sort();
        } else {
            found.push(path.clone());
        }
    }
    if found.is_empty() {
        let named: Vec<_> = paths
            .iter()
            .map(|path| format!("`{}`", path.display()))
            .collect();
        bail!(
            "no image in {}, expected files ending in {}",
            named.join(", "),
            IMAGE_EXTENSIONS.join(", ")
        );
    }
    Ok(found)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let failed = || format!("cannot read the folder `{}`", folder.display());
    for entry in fs::read_dir(folder).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let path = entry.path();
        // Links to folders may lead back here.
        if entry.file_type().with_context(failed)?.is_dir() {
            walk(&path, found)?;
        } else if is_image(&path) {
            found.push(path);
        }
    }
    Ok(())
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        let extension = extension.to_lowercase();
        extension == "gif" || IMAGE_EXTENSIONS.iter().any(|known| known[1..] == extension)
    })
}

/// Files as samples without labels.
pub(crate) fn unlabelled(paths: &[PathBuf]) -> Samples {
    Samples::from_list(paths.iter().map(|path| Sample {
        path: path.clone(),
        label: 0,
    }))
}

/// All samples that cannot be read, once one was found.
///
/// # Errors
/// The error itself, if it is about something else.
pub(crate) fn bad_images(
    error: TrainError,
    samples: &Samples,
    threads: usize,
) -> Result<Vec<BadImage>, TrainError> {
    match error {
        TrainError::Data(DataError::Decode { .. } | DataError::Io { .. }) => {
            let bad = find_bad_images(samples, &DecodeOptions::default(), threads, || {});
            if bad.is_empty() { Err(error) } else { Ok(bad) }
        }
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_searched_and_sorted_and_files_are_taken_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("b/c")).unwrap();
        for name in ["z.PNG", "a.txt", "b/c/x.jpg", "b/y.gif"] {
            fs::write(path(name), "").unwrap();
        }
        let named = [path("a.txt"), folder.path().to_owned()];
        let expected = ["a.txt", "b/c/x.jpg", "b/y.gif", "z.PNG"].map(path);
        assert_eq!(find(&named).unwrap(), expected);
    }

    #[test]
    fn no_image_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("no image in `"), "{error}");
    }
}
