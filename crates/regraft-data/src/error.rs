//! Everything that can go wrong between a folder and a batch.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use crate::decode::DecodeError;

/// Shorthand for results of this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// How many bad images [`DataError::BadImages`] prints; the rest are counted.
const BAD_IMAGES_SHOWN: usize = 10;

/// What is wrong with the data a user pointed at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused a file or folder.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// What was being read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The folder does not exist.
    #[error("folder `{}` does not exist{}", path.display(), did_you_mean(near))]
    MissingFolder {
        /// The folder asked for.
        path: PathBuf,
        /// Names beside it that look alike, best first.
        near: Vec<String>,
    },
    /// The path exists, but it is a file.
    #[error("`{}` is a file, expected a folder with one sub-folder per class", path.display())]
    NotADirectory {
        /// The path asked for.
        path: PathBuf,
    },
    /// A folder holds no class folders at all.
    #[error(
        "no class folders in `{}`, expected one sub-folder of images per class",
        path.display()
    )]
    NoClassFolders {
        /// The folder that should hold class folders.
        path: PathBuf,
    },
    /// Images lie where class folders are expected.
    #[error(
        "`{}` holds {count} images such as `{example}` but no class folders, \
         expected one sub-folder of images per class",
        path.display()
    )]
    ImagesOutsideClasses {
        /// The folder that should hold class folders.
        path: PathBuf,
        /// How many images lie directly in it.
        count: usize,
        /// The name of one of them.
        example: String,
    },
    /// A class folder holds no image.
    #[error(
        "class folder `{}` holds no image{}, expected files ending in {}",
        path.display(),
        other_files(*other_files_count),
        crate::image_folder::IMAGE_EXTENSIONS.join(", ")
    )]
    EmptyClass {
        /// The class folder.
        path: PathBuf,
        /// Files in it that are not images by their extension.
        other_files_count: usize,
    },
    /// Every image of a class was skipped.
    #[error("no readable image is left in class `{class}` of `{}`", root.display())]
    ClassLost {
        /// The class that has no image any more.
        class: String,
        /// The folder of the split.
        root: PathBuf,
    },
    /// Validation has no image left, or never had one.
    #[error("no readable image for validation in `{}`", root.display())]
    NoValidationImages {
        /// The folder of the split.
        root: PathBuf,
    },
    /// There is nothing to tell apart.
    #[error("`{}` has only one class, `{class}`; a classifier needs at least two", path.display())]
    OneClass {
        /// The folder that holds class folders.
        path: PathBuf,
        /// The only class.
        class: String,
    },
    /// The name of a class folder is not valid UTF-8, so no model file could carry it.
    #[error("the name of class folder `{}` is not valid UTF-8", path.display())]
    ClassNameNotUtf8 {
        /// The class folder.
        path: PathBuf,
    },
    /// A split has classes that the model is not trained on.
    #[error(
        "`{}` has {} that are not among the {} training classes: {}; the training classes are {}",
        path.display(),
        count(unknown.len(), "class", "classes"),
        expected.len(),
        list(unknown),
        list(expected)
    )]
    UnknownClasses {
        /// The folder of the split.
        path: PathBuf,
        /// Its classes that training does not have.
        unknown: Vec<String>,
        /// The training classes.
        expected: Vec<String>,
    },
    /// A root has validation or test folders but nothing to train on.
    #[error(
        "no `train` folder in `{}`, which holds only {}",
        path.display(),
        list(found)
    )]
    MissingTrainSplit {
        /// The root of the data set.
        path: PathBuf,
        /// The splits that are there.
        found: Vec<String>,
    },
    /// Two folders name the same split.
    #[error("`{}` has both `{first}` and `{second}`, expected one {split} folder", path.display())]
    AmbiguousSplit {
        /// The root of the data set.
        path: PathBuf,
        /// `train`, `validation` or `test`.
        split: &'static str,
        /// One folder.
        first: String,
        /// The other folder.
        second: String,
    },
    /// The share of validation images is not a proper fraction.
    #[error("validation fraction `{got}` is out of range, expected more than 0 and less than 1")]
    InvalidFraction {
        /// What was asked for.
        got: f64,
    },
    /// No class has two images, so none can be held back for validation.
    #[error(
        "`{}` has too few images for an automatic validation split: every class has a single image",
        path.display()
    )]
    TooFewToSplit {
        /// The folder of class folders.
        path: PathBuf,
    },
    /// A value of the configuration cannot work.
    #[error("`{field}` is `{got}`, expected {expected}")]
    InvalidConfig {
        /// The field, as it is called in the configuration.
        field: &'static str,
        /// Its value.
        got: String,
        /// What would have worked.
        expected: &'static str,
    },
    /// A buffer does not fit what is written into it.
    #[error("output buffer has {got} values, expected {expected}")]
    BufferSize {
        /// `height * width * 3` of the transform's output.
        expected: usize,
        /// The length of the buffer.
        got: usize,
    },
    /// A sample index past the end of its split.
    #[error("sample {index} does not exist, the split has {len} samples")]
    NoSuchSample {
        /// The index asked for.
        index: usize,
        /// The number of samples.
        len: usize,
    },
    /// One image cannot be decoded.
    #[error("cannot decode `{}`", path.display())]
    Decode {
        /// The image file.
        path: PathBuf,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A check of all images found bad ones.
    #[error("{} of {checked} images cannot be read:{}", bad.len(), bad_lines(bad))]
    BadImages {
        /// Every bad image, in data set order.
        bad: Vec<BadImage>,
        /// How many images were checked.
        checked: usize,
    },
}

impl DataError {
    /// Wraps an I/O error with the path it happened at.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        DataError::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    /// What the user can do about it, where that is known: the `hint:` line of a command line.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            DataError::BadImages { .. } => {
                Some("repair or remove these files, or pass `--skip-bad-images` to leave them out")
            }
            DataError::ImagesOutsideClasses { .. } | DataError::NoClassFolders { .. } => {
                Some("lay the data out as `DATA/<class>/<image>` or `DATA/train/<class>/<image>`")
            }
            DataError::EmptyClass { .. } => Some("put images in the folder, or remove it"),
            DataError::UnknownClasses { .. } => {
                Some("classes are matched by folder name; rename or remove the folders that differ")
            }
            DataError::MissingTrainSplit { .. } => {
                Some("name the folder to train on `train`, or pass it as DATA")
            }
            DataError::TooFewToSplit { .. } => {
                Some("add images, or name a validation folder with `--val DIR`")
            }
            _ => None,
        }
    }
}

/// An image that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BadImage {
    /// The index of the sample in its split.
    pub index: usize,
    /// The image file.
    pub path: PathBuf,
    /// What is wrong with it, one sentence without a full stop.
    pub reason: String,
}

fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() {
        String::new()
    } else {
        format!(", did you mean {}?", list(near))
    }
}

fn other_files(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (1 other file)".to_owned(),
        _ => format!(" ({count} other files)"),
    }
}

fn count(n: usize, singular: &str, plural: &str) -> String {
    format!("{n} {}", if n == 1 { singular } else { plural })
}

/// Names in backticks, the first few of them when there are many.
pub(crate) fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

fn bad_lines(bad: &[BadImage]) -> String {
    let mut text = String::new();
    for image in bad.iter().take(BAD_IMAGES_SHOWN) {
        let _ = write!(text, "\n  `{}`: {}", image.path.display(), image.reason);
    }
    if bad.len() > BAD_IMAGES_SHOWN {
        let _ = write!(text, "\n  and {} more", bad.len() - BAD_IMAGES_SHOWN);
    }
    text
}
