//! The parts of a data set, and how to hold images back for validation when it brings no validation folder.

use std::fmt;
use std::path::Path;

use crate::error::{DataError, Result};
use crate::samples::Samples;

/// One of the three parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What the model is trained on.
    Train,
    /// What epochs are compared by.
    Validation,
    /// What the finished model is measured on.
    Test,
}

impl Split {
    /// Folder names that mean this split, in any case of letters.
    pub fn folder_names(self) -> &'static [&'static str] {
        match self {
            Split::Train => &["train", "training"],
            Split::Validation => &["val", "valid", "validation", "eval", "evaluation"],
            Split::Test => &["test"],
        }
    }

    /// `train`, `validation` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }

    pub(crate) const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::Test];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Splits every class alike: about `fraction` of its images, at least one, go to validation, and at least one stays in
/// training; the image of a class that has only one stays in training. Returns (train, validation).
///
/// Which images go depends on the seed and on each image's path below the class root, and on nothing else: not on the
/// order of the listing, the place of the data set or the machine. So another run, and a later one with images added,
/// validates on (nearly) the same images.
///
/// # Errors
/// [`DataError::InvalidFraction`] unless `0 < fraction < 1`, [`DataError::TooFewToSplit`] when no class has two images.
pub fn stratified_split(samples: &Samples, fraction: f64, seed: u64) -> Result<(Samples, Samples)> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(DataError::InvalidFraction { got: fraction });
    }
    let num_classes = samples.labels().max().map_or(0, |label| label + 1);
    let mut by_class: Vec<Vec<(u64, usize)>> = vec![Vec::new(); num_classes];
    for (index, label) in samples.labels().enumerate() {
        let path = samples.relative_path(index).unwrap_or_default();
        if let Some(class) = by_class.get_mut(label) {
            class.push((rank(&path, seed), index));
        }
    }
    let mut in_validation = vec![false; samples.len()];
    for class in &mut by_class {
        let count = match class.len() {
            0 | 1 => 0,
            len => ((len as f64 * fraction).round() as usize).clamp(1, len - 1),
        };
        class.sort_unstable();
        for &(_, index) in class.iter().take(count) {
            if let Some(flag) = in_validation.get_mut(index) {
                *flag = true;
            }
        }
    }
    let held_back = |index: usize| in_validation.get(index).copied().unwrap_or(false);
    if !in_validation.contains(&true) {
        return Err(DataError::TooFewToSplit {
            path: samples.root().to_path_buf(),
        });
    }
    Ok((
        samples.filter(|index| !held_back(index)),
        samples.filter(held_back),
    ))
}

/// A number that looks random and is the same for the same path on every system.
fn rank(path: &Path, seed: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    for component in path {
        hasher.update(component.as_encoded_bytes());
        hasher.update(b"/");
    }
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
