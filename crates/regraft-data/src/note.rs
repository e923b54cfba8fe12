//! What a user should be told about a data set though nothing is wrong with it.

use std::fmt;
use std::path::PathBuf;

use crate::error::list;
use crate::split::Split;

/// Something about a data set that a user should be told, though nothing is wrong.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// Validation images were taken from the training images.
    AutomaticSplit {
        /// The share of each class.
        fraction: f64,
        /// The seed that chose them.
        seed: u64,
        /// Images left for training.
        train: usize,
        /// Images held back.
        validation: usize,
        /// A test folder exists and is not used for validation.
        has_test: bool,
    },
    /// A split has no image of some classes.
    ClassesWithoutImages {
        /// The split.
        split: Split,
        /// The classes.
        classes: Vec<String>,
    },
    /// A folder is not part of the data set.
    UnusedFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Images lie beside the class folders, where torchvision ignores them too.
    StrayImages {
        /// The folder that holds class folders.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// Files that are not images by their extension lie in class folders.
    IgnoredFiles {
        /// How many.
        count: usize,
        /// The first of them.
        example: PathBuf,
    },
    /// A symbolic link leads to a folder that is listed already.
    SkippedLink {
        /// The link.
        path: PathBuf,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::AutomaticSplit {
                fraction,
                seed,
                train,
                validation,
                has_test,
            } => {
                write!(
                    f,
                    "no validation folder is used: {validation} images ({:.0}% of each class, seed {seed}) are held \
                     back for validation, {train} are left for training",
                    fraction * 100.0
                )?;
                if *has_test {
                    f.write_str("; the test folder is left for `evaluate`")?;
                }
                Ok(())
            }
            Note::ClassesWithoutImages { split, classes } => {
                write!(f, "the {split} split has no image of {}", list(classes))
            }
            Note::UnusedFolder { path } => {
                write!(f, "folder `{}` is not used", path.display())
            }
            Note::StrayImages { path, count } => {
                let (images, belong) = match count {
                    1 => ("image", "belongs to no class and is"),
                    _ => ("images", "belong to no class and are"),
                };
                write!(
                    f,
                    "{count} {images} directly in `{}` {belong} ignored",
                    path.display()
                )
            }
            Note::IgnoredFiles { count: 1, example } => write!(
                f,
                "`{}` is not an image by its extension and is ignored",
                example.display()
            ),
            Note::IgnoredFiles { count, example } => write!(
                f,
                "{count} files in class folders are not images by their extension and are ignored, the first is `{}`",
                example.display()
            ),
            Note::SkippedLink { path } => write!(
                f,
                "link `{}` leads to a folder that is listed already and is not followed",
                path.display()
            ),
        }
    }
}
