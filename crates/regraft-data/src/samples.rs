//! A list of labelled image files that stays small with a million of them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{BadImage, DataError, Result};

/// One labelled image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The image file.
    pub path: PathBuf,
    /// The index of its class in [`Dataset::classes`](crate::Dataset::classes).
    pub label: usize,
}

/// Labelled image files of one split, in the order of torchvision's `ImageFolder`.
///
/// Folder names are kept once, so a sample costs its file name and 24 bytes.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    root: PathBuf,
    folders: Arc<Vec<PathBuf>>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Box<OsStr>,
    folder: u32,
    label: u32,
}

impl Samples {
    /// The samples of `listing`: class index, folder relative to `root`, and the file names in it.
    pub(crate) fn new(
        root: PathBuf,
        listing: impl IntoIterator<Item = (usize, PathBuf, Vec<Box<OsStr>>)>,
    ) -> Self {
        let mut folders = Vec::new();
        let mut entries = Vec::new();
        for (label, folder, names) in listing {
            let index = folders.len() as u32;
            folders.push(folder);
            entries.extend(names.into_iter().map(|name| Entry {
                name,
                folder: index,
                label: label as u32,
            }));
        }
        entries.shrink_to_fit();
        Self {
            root,
            folders: Arc::new(folders),
            entries,
        }
    }

    /// Samples given one by one, for data that is not laid out in folders.
    pub fn from_list(samples: impl IntoIterator<Item = Sample>) -> Self {
        let mut folders: Vec<PathBuf> = Vec::new();
        let mut entries = Vec::new();
        for Sample { path, label } in samples {
            let folder = path.parent().unwrap_or(Path::new(""));
            if folders.last().map(PathBuf::as_path) != Some(folder) {
                folders.push(folder.to_path_buf());
            }
            entries.push(Entry {
                name: path.file_name().unwrap_or_default().into(),
                folder: folders.len().saturating_sub(1) as u32,
                label: label as u32,
            });
        }
        Self {
            root: PathBuf::new(),
            folders: Arc::new(folders),
            entries,
        }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The folder that holds the class folders.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The sample at `index`.
    pub fn get(&self, index: usize) -> Option<Sample> {
        self.entries.get(index).map(|entry| self.sample(entry))
    }

    /// The sample at `index`.
    ///
    /// # Errors
    /// [`DataError::NoSuchSample`] past the end.
    pub(crate) fn try_get(&self, index: usize) -> Result<Sample> {
        self.get(index).ok_or(DataError::NoSuchSample {
            index,
            len: self.len(),
        })
    }

    /// The path of a sample below [`root`](Self::root): `<class>/.../<file>`.
    pub fn relative_path(&self, index: usize) -> Option<PathBuf> {
        let entry = self.entries.get(index)?;
        Some(self.folder(entry).join(&*entry.name))
    }

    /// All samples, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Sample> + '_ {
        self.entries.iter().map(|entry| self.sample(entry))
    }

    /// The class indices of all samples, in order.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.entries.iter().map(|entry| entry.label as usize)
    }

    /// The number of samples of each of `num_classes` classes.
    pub fn class_counts(&self, num_classes: usize) -> Vec<usize> {
        let mut counts = vec![0; num_classes];
        for label in self.labels() {
            if let Some(count) = counts.get_mut(label) {
                *count += 1;
            }
        }
        counts
    }

    /// Keeps the samples for whose index `keep` says so, in order.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let entries = self
            .entries
            .iter()
            .enumerate()
            .filter(|(index, _)| keep(*index))
            .map(|(_, entry)| entry.clone())
            .collect();
        Self {
            root: self.root.clone(),
            folders: Arc::clone(&self.folders),
            entries,
        }
    }

    /// The samples that are not among `bad`.
    #[must_use]
    pub fn without(&self, bad: &[BadImage]) -> Self {
        let bad: HashSet<usize> = bad.iter().map(|image| image.index).collect();
        self.filter(|index| !bad.contains(&index))
    }

    /// Replaces every label `l` by `labels[l]`.
    pub(crate) fn relabel(mut self, labels: &[usize]) -> Self {
        for entry in &mut self.entries {
            if let Some(&label) = labels.get(entry.label as usize) {
                entry.label = label as u32;
            }
        }
        self
    }

    fn folder(&self, entry: &Entry) -> &Path {
        self.folders
            .get(entry.folder as usize)
            .map_or(Path::new(""), PathBuf::as_path)
    }

    fn sample(&self, entry: &Entry) -> Sample {
        let mut path = self.root.join(self.folder(entry));
        path.push(&*entry.name);
        Sample {
            path,
            label: entry.label as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_back_what_it_was_made_of() {
        let list: Vec<_> = [("a/1.png", 0), ("a/2.png", 0), ("b/1.png", 1), ("c.png", 2)]
            .map(|(path, label)| Sample {
                path: PathBuf::from(path),
                label,
            })
            .into();
        let samples = Samples::from_list(list.clone());
        assert_eq!(samples.iter().collect::<Vec<_>>(), list);
        assert_eq!(samples.class_counts(3), [2, 1, 1]);
        let odd = samples.filter(|index| index % 2 == 1);
        assert_eq!(
            odd.iter().collect::<Vec<_>>(),
            [list[1].clone(), list[3].clone()]
        );
        assert!(samples.get(4).is_none());
    }
}
