//! What is wrong, or merely remarkable, about a data set, found before any training.
//!
//! Every image is read and decoded once. Findings are data; showing them is the caller's part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::decode::{DecodeOptions, ImageInfo, RgbImage, decode_into, read_file};
use crate::digest::FileDigest;
use crate::error::{DataError, Result, list};
use crate::format::Format;
use crate::image_folder::Dataset;
use crate::note::Note;
use crate::parallel::for_each;
use crate::samples::Samples;
use crate::split::Split;
use crate::verify::reason;

/// Training classes with fewer images are hard to learn and harder to judge.
const FEW_IMAGES: usize = 10;

/// From this ratio of the largest to the smallest training class on, accuracy alone misleads.
const IMBALANCE: f64 = 10.0;

/// Groups of files a finding names; the rest are counted.
const GROUPS_KEPT: usize = 100;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Training would stop.
    Error,
    /// Results would be worse or misleading.
    Warning,
    /// Good to know.
    Note,
}

/// What a finding is about; scripts depend on these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingCode {
    /// A file that cannot be decoded.
    UnreadableImage,
    /// Identical files in different classes.
    ConflictingLabels,
    /// Identical files in different splits.
    Leakage,
    /// Identical files in one split and class.
    Duplicate,
    /// A split has no image of a class.
    ClassWithoutImages,
    /// A training class with few images.
    TinyClass,
    /// Training classes of very different sizes.
    Imbalance,
    /// The content of a file is of another format than its name says.
    WrongExtension,
    /// Photos that are stored sideways.
    ExifOrientation,
    /// Files that are not used.
    IgnoredFiles,
    /// Images beside the class folders.
    StrayImages,
    /// A folder that is not used.
    UnusedFolder,
    /// A link that is not followed.
    SkippedLink,
    /// Validation images are taken from the training images.
    AutomaticSplit,
}

/// One thing worth telling about a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub code: FindingCode,
    /// What it is, one sentence without a full stop.
    pub message: String,
    /// How many groups of files it concerns.
    pub count: usize,
    /// The first hundred groups. A group is one file, or the files that are alike.
    pub groups: Vec<Vec<PathBuf>>,
}

impl Finding {
    fn new(severity: Severity, code: FindingCode, message: String) -> Self {
        Self {
            severity,
            code,
            message,
            count: 0,
            groups: Vec::new(),
        }
    }

    fn about(mut self, mut groups: Vec<Vec<PathBuf>>) -> Self {
        self.count = groups.len();
        groups.truncate(GROUPS_KEPT);
        self.groups = groups;
        self
    }
}

/// The smallest, middle and largest of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: usize,
    /// The middle one (the upper of two).
    pub median: usize,
    /// The largest.
    pub max: usize,
}

impl Spread {
    fn of(mut values: Vec<usize>) -> Self {
        values.sort_unstable();
        Self {
            min: values.first().copied().unwrap_or(0),
            median: values.get(values.len() / 2).copied().unwrap_or(0),
            max: values.last().copied().unwrap_or(0),
        }
    }
}

/// The images of one split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// Which split.
    pub split: Split,
    /// How many images it has.
    pub images: usize,
    /// How many of each class, in class order.
    pub per_class: Vec<ClassCount>,
}

/// The images of one class in one split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class.
    pub class: String,
    /// How many images it has.
    pub images: usize,
}

/// The files of a data set taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImageStatistics {
    /// How many readable images there are of each format, by content.
    pub formats: BTreeMap<Format, usize>,
    /// Widths of the upright images in pixels.
    pub width_px: Spread,
    /// Heights of the upright images in pixels.
    pub height_px: Spread,
    /// Bytes of all readable files.
    pub bytes: u64,
}

/// Everything found out about a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DatasetReport {
    /// The folder of the data set.
    pub root: PathBuf,
    /// Its classes.
    pub classes: Vec<String>,
    /// Its splits.
    pub splits: Vec<SplitReport>,
    /// Its images.
    pub images: ImageStatistics,
    /// What is worth telling, the worst first.
    pub findings: Vec<Finding>,
}

/// One image that was looked at.
struct Examined {
    split: Split,
    label: usize,
    path: PathBuf,
    outcome: Result<Readable>,
}

struct Readable {
    digest: FileDigest,
    info: ImageInfo,
    width: usize,
    height: usize,
    bytes: usize,
}

/// Examines every image of a data set on `threads` threads. `on_image` is called after each, from any thread.
pub fn examine(
    dataset: &Dataset,
    options: &DecodeOptions,
    threads: usize,
    on_image: impl Fn() + Sync,
) -> DatasetReport {
    let examined: Vec<Examined> = dataset
        .splits()
        .flat_map(|(split, samples)| examine_split(split, samples, options, threads, &on_image))
        .collect();
    let mut findings: Vec<Finding> = dataset
        .notes
        .iter()
        .map(|note| of_note(note, dataset))
        .collect();
    findings.extend(unreadable(&examined));
    findings.extend(alike(&examined));
    findings.extend(class_sizes(dataset));
    findings.extend(wrong_extensions(&examined));
    findings.extend(orientations(&examined));
    findings.sort_by_key(|finding| (finding.severity, finding.code));
    DatasetReport {
        root: dataset.root.clone(),
        classes: dataset.classes.clone(),
        splits: dataset
            .splits()
            .map(|(split, samples)| split_report(split, samples, dataset))
            .collect(),
        images: statistics(&examined),
        findings,
    }
}

fn examine_split(
    split: Split,
    samples: &Samples,
    options: &DecodeOptions,
    threads: usize,
    on_image: &(impl Fn() + Sync),
) -> Vec<Examined> {
    let mut examined: Vec<Option<Examined>> = Vec::new();
    examined.resize_with(samples.len(), || None);
    let mut scratch: Vec<(Vec<u8>, RgbImage)> = vec![Default::default(); threads.max(1)];
    for_each(
        examined.iter_mut().enumerate(),
        &mut scratch,
        |(bytes, image), (index, place)| {
            *place = samples.get(index).map(|sample| Examined {
                split,
                label: sample.label,
                outcome: examine_file(&sample.path, options, bytes, image),
                path: sample.path,
            });
            on_image();
        },
    );
    examined.into_iter().flatten().collect()
}

fn examine_file(
    path: &Path,
    options: &DecodeOptions,
    bytes: &mut Vec<u8>,
    image: &mut RgbImage,
) -> Result<Readable> {
    read_file(path, bytes)?;
    let info = decode_into(bytes, options, image).map_err(|source| DataError::Decode {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(Readable {
        digest: FileDigest::of(bytes),
        info,
        width: image.width(),
        height: image.height(),
        bytes: bytes.len(),
    })
}

fn split_report(split: Split, samples: &Samples, dataset: &Dataset) -> SplitReport {
    let counts = samples.class_counts(dataset.classes.len());
    SplitReport {
        split,
        images: samples.len(),
        per_class: dataset
            .classes
            .iter()
            .zip(counts)
            .map(|(class, images)| ClassCount {
                class: class.clone(),
                images,
            })
            .collect(),
    }
}

fn statistics(examined: &[Examined]) -> ImageStatistics {
    let readable: Vec<&Readable> = examined
        .iter()
        .filter_map(|one| one.outcome.as_ref().ok())
        .collect();
    let mut formats = BTreeMap::new();
    for one in &readable {
        *formats.entry(one.info.format).or_default() += 1;
    }
    ImageStatistics {
        formats,
        width_px: Spread::of(readable.iter().map(|one| one.width).collect()),
        height_px: Spread::of(readable.iter().map(|one| one.height).collect()),
        bytes: readable.iter().map(|one| one.bytes as u64).sum(),
    }
}

fn of_note(note: &Note, dataset: &Dataset) -> Finding {
    let (severity, code, paths) = match note {
        Note::AutomaticSplit { .. } => (Severity::Note, FindingCode::AutomaticSplit, vec![]),
        Note::ClassesWithoutImages { .. } => {
            (Severity::Warning, FindingCode::ClassWithoutImages, vec![])
        }
        Note::UnusedFolder { path } => (
            Severity::Note,
            FindingCode::UnusedFolder,
            vec![path.clone()],
        ),
        Note::StrayImages { path, .. } => (
            Severity::Warning,
            FindingCode::StrayImages,
            vec![path.clone()],
        ),
        Note::SkippedLink { path } => {
            (Severity::Note, FindingCode::SkippedLink, vec![path.clone()])
        }
        Note::IgnoredFiles { count, .. } => {
            let groups = dataset
                .ignored
                .examples
                .iter()
                .map(|path| vec![path.clone()])
                .collect();
            let finding = Finding::new(Severity::Note, FindingCode::IgnoredFiles, note.to_string());
            return Finding {
                count: *count,
                ..finding.about(groups)
            };
        }
    };
    Finding::new(severity, code, note.to_string())
        .about(paths.into_iter().map(|path| vec![path]).collect())
}

fn unreadable(examined: &[Examined]) -> Option<Finding> {
    let bad: Vec<(&Examined, String)> = examined
        .iter()
        .filter_map(|one| Some((one, reason(one.outcome.as_ref().err()?))))
        .collect();
    let (first, why) = bad.first()?;
    let message = format!(
        "{} of {} images cannot be read, the first is `{}`: {why}",
        bad.len(),
        examined.len(),
        first.path.display()
    );
    let groups = bad.iter().map(|(one, _)| vec![one.path.clone()]).collect();
    Some(Finding::new(Severity::Error, FindingCode::UnreadableImage, message).about(groups))
}

/// Identical files, by the worst they do: say two things, leak, or merely repeat.
fn alike(examined: &[Examined]) -> Vec<Finding> {
    let mut by_content: BTreeMap<FileDigest, Vec<&Examined>> = BTreeMap::new();
    for one in examined {
        if let Ok(readable) = &one.outcome {
            by_content.entry(readable.digest).or_default().push(one);
        }
    }
    let (mut conflicts, mut leaks, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
    for group in by_content.into_values() {
        let [first, others @ ..] = group.as_slice() else {
            continue;
        };
        if others.is_empty() {
            continue;
        }
        let paths: Vec<PathBuf> = group.iter().map(|one| one.path.clone()).collect();
        if others.iter().any(|other| other.label != first.label) {
            conflicts.push(paths);
        } else if others.iter().any(|other| other.split != first.split) {
            leaks.push(paths);
        } else {
            repeats.push(paths);
        }
    }
    let finding = |severity, code, mut groups: Vec<Vec<PathBuf>>, what: &str| {
        groups.sort();
        let times = if groups.len() == 1 {
            "image is"
        } else {
            "images are"
        };
        let message = format!("{} {times} {what}", groups.len());
        (!groups.is_empty()).then(|| Finding::new(severity, code, message).about(groups))
    };
    [
        finding(
            Severity::Warning,
            FindingCode::ConflictingLabels,
            conflicts,
            "in more than one class, byte for byte: at least one label is wrong",
        ),
        finding(
            Severity::Warning,
            FindingCode::Leakage,
            leaks,
            "in more than one split, byte for byte: the accuracy measured there is too high",
        ),
        finding(
            Severity::Note,
            FindingCode::Duplicate,
            repeats,
            "there more than once, byte for byte, in the same split and class",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn class_sizes(dataset: &Dataset) -> Vec<Finding> {
    let counts = dataset.train.class_counts(dataset.classes.len());
    let named = || dataset.classes.iter().zip(&counts);
    let mut findings = Vec::new();
    let tiny: Vec<String> = named()
        .filter(|(_, count)| **count < FEW_IMAGES)
        .map(|(class, _)| class.clone())
        .collect();
    if !tiny.is_empty() {
        let message = format!("fewer than {FEW_IMAGES} training images of {}", list(&tiny));
        findings.push(Finding::new(
            Severity::Warning,
            FindingCode::TinyClass,
            message,
        ));
    }
    let smallest = named().min_by_key(|(_, count)| **count);
    let largest = named().max_by_key(|(_, count)| **count);
    if let (Some((small, &least)), Some((large, &most))) = (smallest, largest) {
        let ratio = most as f64 / least.max(1) as f64;
        if ratio >= IMBALANCE {
            let message = format!(
                "class `{large}` has {ratio:.0} times the training images of class `{small}` ({most} and {least}): \
                 look at the accuracy of each class, not only at the whole"
            );
            findings.push(Finding::new(
                Severity::Warning,
                FindingCode::Imbalance,
                message,
            ));
        }
    }
    findings
}

fn wrong_extensions(examined: &[Examined]) -> Option<Finding> {
    let wrong: Vec<(&Examined, Format)> = examined
        .iter()
        .filter_map(|one| {
            let format = one.outcome.as_ref().ok()?.info.format;
            let extension = one.path.extension()?.to_str()?;
            (!format.has_extension(extension)).then_some((one, format))
        })
        .collect();
    let (first, format) = wrong.first()?;
    let message = format!(
        "{} files are named after another format than they have, the first is `{}`, a {format}; they are read all the same",
        wrong.len(),
        first.path.display()
    );
    let groups = wrong
        .iter()
        .map(|(one, _)| vec![one.path.clone()])
        .collect();
    Some(Finding::new(Severity::Note, FindingCode::WrongExtension, message).about(groups))
}

fn orientations(examined: &[Examined]) -> Option<Finding> {
    let turned: Vec<Vec<PathBuf>> = examined
        .iter()
        .filter(|one| {
            one.outcome
                .as_ref()
                .is_ok_and(|readable| readable.info.orientation != 1)
        })
        .map(|one| vec![one.path.clone()])
        .collect();
    let message = format!(
        "{} photos are stored turned or mirrored and are put upright by their EXIF orientation, which torchvision's loader ignores",
        turned.len()
    );
    (!turned.is_empty())
        .then(|| Finding::new(Severity::Note, FindingCode::ExifOrientation, message).about(turned))
}
