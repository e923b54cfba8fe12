//! Reads a data set as torchvision's `ImageFolder` does: one folder per class, optionally below one folder per split.
//!
//! Deliberate differences from torchvision: hidden files and folders are ignored (`.ipynb_checkpoints` is no class),
//! links that lead back to a folder already listed are not followed, and a folder that cannot be read is an error.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{DataError, Result};
use crate::listing::{FolderContent, IgnoredFiles, list_class, read_folder};
use crate::note::Note;
use crate::samples::Samples;
use crate::split::{Split, stratified_split};

/// torchvision's `IMG_EXTENSIONS`; files that end otherwise are ignored, in either case of letters.
pub const IMAGE_EXTENSIONS: [&str; 9] = [
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
];

/// The share of each class that is held back when a data set has no validation folder.
pub const DEFAULT_VALIDATION_FRACTION: f64 = 0.2;

/// Where the validation images come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Validation {
    /// The validation folder of the data set, or [`DEFAULT_VALIDATION_FRACTION`] of the training images.
    #[default]
    Automatic,
    /// This share of the training images, whatever folders there are.
    Fraction(f64),
    /// The class folders in this folder.
    Folder(PathBuf),
}

impl FromStr for Validation {
    type Err = DataError;

    /// Reads `--val DIR|FRACTION`: whatever parses as a number is a fraction (`./0.2` is a folder).
    fn from_str(text: &str) -> Result<Self> {
        match text.parse::<f64>() {
            Ok(fraction) if fraction > 0.0 && fraction < 1.0 => Ok(Validation::Fraction(fraction)),
            Ok(got) => Err(DataError::InvalidFraction { got }),
            Err(_) => Ok(Validation::Folder(PathBuf::from(text))),
        }
    }
}

/// A data set as it was found: every label is an index into [`classes`](Self::classes) in every split.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dataset {
    /// The folder the user named.
    pub root: PathBuf,
    /// Class names, sorted.
    pub classes: Vec<String>,
    /// What to train on.
    pub train: Samples,
    /// What to compare epochs by.
    pub validation: Samples,
    /// What to measure the finished model on; empty when the data set has no test folder.
    pub test: Samples,
    /// What the user should be told.
    pub notes: Vec<Note>,
    /// Files in class folders that are not images by their extension.
    pub ignored: IgnoredFiles,
}

impl Dataset {
    /// The samples of a split.
    pub fn split(&self, split: Split) -> &Samples {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// Checks that every class can still be learned, after images were left out.
    ///
    /// # Errors
    /// [`DataError::ClassLost`] when a class has no training image, [`DataError::NoValidationImages`] when validation has
    /// none at all.
    pub fn check_classes(&self) -> Result<()> {
        let counts = self.train.class_counts(self.classes.len());
        for (class, count) in self.classes.iter().zip(counts) {
            if count == 0 {
                return Err(DataError::ClassLost {
                    class: class.clone(),
                    root: self.train.root().to_path_buf(),
                });
            }
        }
        if self.validation.is_empty() {
            return Err(DataError::NoValidationImages {
                root: self.validation.root().to_path_buf(),
            });
        }
        Ok(())
    }

    /// Splits that have images, with their samples.
    pub fn splits(&self) -> impl Iterator<Item = (Split, &Samples)> {
        Split::ALL
            .into_iter()
            .map(|split| (split, self.split(split)))
            .filter(|(_, samples)| !samples.is_empty())
    }
}

/// A folder of images, and how to take it apart.
///
/// `root` holds either one folder per split ([`Split::folder_names`]) that holds one folder per class, or one folder per
/// class. A folder called `train` that holds images and no folders is a class of trains, not a split.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    root: PathBuf,
    validation: Validation,
    seed: u64,
}

/// The class folders of one split.
struct ClassRoot {
    classes: Vec<String>,
    samples: Samples,
    /// Classes with no image, as indices into `classes`, and how many other files are in them.
    empty: Vec<(usize, usize)>,
}

/// The split folders of a root.
#[derive(Default)]
struct Layout {
    train: Option<PathBuf>,
    validation: Option<PathBuf>,
    test: Option<PathBuf>,
}

impl ImageFolder {
    /// A data set below `root`, with automatic validation and seed 0. Nothing is read yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            validation: Validation::Automatic,
            seed: 0,
        }
    }

    /// Where the validation images come from.
    pub fn validation(mut self, validation: Validation) -> Self {
        self.validation = validation;
        self
    }

    /// The seed of an automatic split.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Lists the images for training and validation. No image is opened.
    ///
    /// # Errors
    /// When a folder is missing or cannot be read, the layout is not one of the two, a class has no image, there are
    /// fewer than two classes, or another split has a class that training has not.
    pub fn load(&self) -> Result<Dataset> {
        let mut found = Found::default();
        let layout = find_layout(&self.root, &mut found)?;
        let train_root = match &layout {
            None => self.root.clone(),
            Some(Layout {
                train: Some(train), ..
            }) => train.clone(),
            Some(layout) => {
                return Err(DataError::MissingTrainSplit {
                    path: self.root.clone(),
                    found: [&layout.validation, &layout.test]
                        .into_iter()
                        .flatten()
                        .map(|path| file_name(path))
                        .collect(),
                });
            }
        };
        let layout = layout.unwrap_or_default();
        let ClassRoot {
            classes,
            samples: all,
            empty,
        } = list_classes(&train_root, &mut found)?;
        if let Some(&(class, other_files_count)) = empty.first() {
            return Err(DataError::EmptyClass {
                path: train_root.join(classes.get(class).map_or("", String::as_str)),
                other_files_count,
            });
        }
        if let [class] = classes.as_slice() {
            return Err(DataError::OneClass {
                path: train_root,
                class: class.clone(),
            });
        }

        let other = |folder: &Path, split: Split, found: &mut Found| {
            let listed = list_classes(folder, found)?;
            let (samples, without) = align(listed, &classes, folder)?;
            if !without.is_empty() {
                found.notes.push(Note::ClassesWithoutImages {
                    split,
                    classes: without,
                });
            }
            Ok::<_, DataError>(samples)
        };
        let test = match &layout.test {
            Some(folder) => other(folder, Split::Test, &mut found)?,
            None => Samples::default(),
        };
        let validation_folder = match &self.validation {
            Validation::Folder(folder) => Some(folder),
            Validation::Automatic => layout.validation.as_ref(),
            Validation::Fraction(_) => None,
        };
        if let Some(unused) = layout
            .validation
            .as_ref()
            .filter(|own| validation_folder != Some(own))
        {
            found.notes.push(Note::UnusedFolder {
                path: unused.clone(),
            });
        }
        let (train, validation) = if let Some(folder) = validation_folder {
            check_folder(folder)?;
            let validation = other(folder, Split::Validation, &mut found)?;
            (all, validation)
        } else {
            let fraction = match self.validation {
                Validation::Fraction(fraction) => fraction,
                _ => DEFAULT_VALIDATION_FRACTION,
            };
            let (train, validation) = stratified_split(&all, fraction, self.seed)?;
            found.notes.push(Note::AutomaticSplit {
                fraction,
                seed: self.seed,
                train: train.len(),
                validation: validation.len(),
                has_test: layout.test.is_some(),
            });
            (train, validation)
        };
        let (notes, ignored) = found.finish();
        let dataset = Dataset {
            root: self.root.clone(),
            classes,
            train,
            validation,
            test,
            notes,
            ignored,
        };
        dataset.check_classes()?;
        Ok(dataset)
    }

    /// Lists the images to measure a trained model on, labelled by the model's `classes`: those of the test folder, else
    /// of the validation folder, else of the class folders in the root, all of them.
    ///
    /// # Errors
    /// As [`load`](Self::load), and when the data has a class that the model has not.
    pub fn load_for_evaluation(&self, classes: &[String]) -> Result<EvaluationData> {
        let mut found = Found::default();
        let layout = find_layout(&self.root, &mut found)?.unwrap_or_default();
        let (folder, split) = match (layout.test, layout.validation, layout.train) {
            (Some(test), _, _) => (test, Some(Split::Test)),
            (None, Some(validation), _) => (validation, Some(Split::Validation)),
            (None, None, Some(train)) => (train, Some(Split::Train)),
            (None, None, None) => (self.root.clone(), None),
        };
        let listed = list_classes(&folder, &mut found)?;
        let (samples, without) = align(listed, classes, &folder)?;
        if !without.is_empty() {
            found.notes.push(Note::ClassesWithoutImages {
                split: split.unwrap_or(Split::Test),
                classes: without,
            });
        }
        let (notes, ignored) = found.finish();
        Ok(EvaluationData {
            split,
            samples,
            notes,
            ignored,
        })
    }
}

/// What [`ImageFolder::load_for_evaluation`] found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EvaluationData {
    /// The split the images are of, or `None` when the root has no split folders.
    pub split: Option<Split>,
    /// The images, labelled by the classes of the model.
    pub samples: Samples,
    /// What the user should be told.
    pub notes: Vec<Note>,
    /// Files in class folders that are not images by their extension.
    pub ignored: IgnoredFiles,
}

/// What is noticed on the way.
#[derive(Default)]
struct Found {
    notes: Vec<Note>,
    ignored: IgnoredFiles,
}

impl Found {
    fn finish(mut self) -> (Vec<Note>, IgnoredFiles) {
        if let Some(example) = self.ignored.examples.first() {
            self.notes.push(Note::IgnoredFiles {
                count: self.ignored.count,
                example: example.clone(),
            });
        }
        (self.notes, self.ignored)
    }
}

/// The split folders of `root`, or `None` when it holds class folders.
fn find_layout(root: &Path, found: &mut Found) -> Result<Option<Layout>> {
    check_folder(root)?;
    let content = read_folder(root)?;
    let mut layout = Layout::default();
    let mut others = Vec::new();
    let mut flat_validation = None;
    for name in &content.folders {
        let path = root.join(name);
        match split_of(name) {
            Some(Split::Validation) if !holds_folders(&path)? => flat_validation = Some(path),
            Some(split) if holds_folders(&path)? => {
                let place = match split {
                    Split::Train => &mut layout.train,
                    Split::Validation => &mut layout.validation,
                    Split::Test => &mut layout.test,
                };
                if let Some(first) = place {
                    return Err(DataError::AmbiguousSplit {
                        path: root.to_path_buf(),
                        split: split.name(),
                        first: file_name(first),
                        second: file_name(&path),
                    });
                }
                *place = Some(path);
            }
            _ => others.push(path),
        }
    }
    let has_split = layout.train.is_some()
        // Without a train folder, `test` beside other folders is as likely a class.
        || (others.is_empty() && flat_validation.is_none() && (layout.validation.is_some() || layout.test.is_some()));
    if !has_split {
        return Ok(None);
    }
    // Reported as what it is when it is listed; a flat `test` is a competition's unlabelled one, and fine to leave.
    layout.validation = layout.validation.or(flat_validation);
    for path in others {
        found.notes.push(Note::UnusedFolder { path });
    }
    note_stray_images(root, &content, found);
    Ok(Some(layout))
}

fn split_of(name: &OsString) -> Option<Split> {
    let name = name.to_str()?;
    Split::ALL.into_iter().find(|split| {
        split
            .folder_names()
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    })
}

/// Whether a folder holds class folders, or could: an empty `train` is a split without classes, not an empty class.
fn holds_folders(path: &Path) -> Result<bool> {
    let content = read_folder(path)?;
    Ok(!content.folders.is_empty() || content.images.is_empty())
}

fn check_folder(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(DataError::NotADirectory {
            path: path.to_path_buf(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(DataError::MissingFolder {
                path: path.to_path_buf(),
                near: similar_siblings(path),
            })
        }
        Err(error) => Err(DataError::io(path, error)),
    }
}

/// Folders beside a missing one that it may have been meant to be.
fn similar_siblings(path: &Path) -> Vec<String> {
    const SHOWN: usize = 3;
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Vec::new(),
    };
    let wanted = file_name(path).to_lowercase();
    let allowed = (wanted.chars().count() / 3).max(1);
    let mut near: Vec<(usize, String)> = read_folder(parent)
        .map(|content| content.folders)
        .unwrap_or_default()
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .map(|name| {
            (
                strsim::damerau_levenshtein(&name.to_lowercase(), &wanted),
                name,
            )
        })
        .filter(|(distance, name)| {
            *distance <= allowed || (wanted.len() >= 3 && name.to_lowercase().starts_with(&wanted))
        })
        .collect();
    near.sort();
    near.into_iter().take(SHOWN).map(|(_, name)| name).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn note_stray_images(path: &Path, content: &FolderContent, found: &mut Found) {
    if !content.images.is_empty() {
        found.notes.push(Note::StrayImages {
            path: path.to_path_buf(),
            count: content.images.len(),
        });
    }
}

/// Lists the class folders in `root`; labels index the returned classes.
fn list_classes(root: &Path, found: &mut Found) -> Result<ClassRoot> {
    let content = read_folder(root)?;
    if content.folders.is_empty() {
        return Err(match content.images.first() {
            Some(example) => DataError::ImagesOutsideClasses {
                path: root.to_path_buf(),
                count: content.images.len(),
                example: example.to_string_lossy().into_owned(),
            },
            None => DataError::NoClassFolders {
                path: root.to_path_buf(),
            },
        });
    }
    note_stray_images(root, &content, found);
    let mut classes = Vec::with_capacity(content.folders.len());
    let mut listed = Vec::new();
    let mut empty = Vec::new();
    for (label, folder) in content.folders.iter().enumerate() {
        let name = folder.to_str().ok_or_else(|| DataError::ClassNameNotUtf8 {
            path: root.join(folder),
        })?;
        classes.push(name.to_owned());
        let class = list_class(root, folder)?;
        if class.folders.is_empty() {
            empty.push((label, class.ignored.count));
        }
        found.ignored.merge(class.ignored);
        found.notes.extend(
            class
                .skipped_links
                .into_iter()
                .map(|path| Note::SkippedLink { path }),
        );
        listed.extend(
            class
                .folders
                .into_iter()
                .map(|(folder, names)| (label, folder, names)),
        );
    }
    let samples = Samples::new(root.to_path_buf(), listed);
    tracing::debug!(root = %root.display(), classes = classes.len(), images = samples.len(), "listed");
    Ok(ClassRoot {
        classes,
        samples,
        empty,
    })
}

/// Re-labels a listing by the names of the training classes. Also returns the classes it has no image of.
fn align(listed: ClassRoot, classes: &[String], folder: &Path) -> Result<(Samples, Vec<String>)> {
    let position: HashMap<&str, usize> = classes
        .iter()
        .enumerate()
        .map(|(label, class)| (class.as_str(), label))
        .collect();
    let (labels, unknown): (Vec<_>, Vec<_>) = listed
        .classes
        .into_iter()
        .map(|name| position.get(name.as_str()).copied().ok_or(name))
        .partition(Result::is_ok);
    let unknown: Vec<String> = unknown.into_iter().filter_map(Result::err).collect();
    if !unknown.is_empty() {
        return Err(DataError::UnknownClasses {
            path: folder.to_path_buf(),
            unknown,
            expected: classes.to_vec(),
        });
    }
    let labels: Vec<usize> = labels.into_iter().flatten().collect();
    let samples = listed.samples.relabel(&labels);
    let without = classes
        .iter()
        .zip(samples.class_counts(classes.len()))
        .filter(|(_, count)| *count == 0)
        .map(|(class, _)| class.clone())
        .collect();
    Ok((samples, without))
}
