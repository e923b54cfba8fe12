//! Walks class folders and lists the images in them, without touching the images.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};
use crate::image_folder::IMAGE_EXTENSIONS;

/// How many ignored files are kept by name; the rest are counted.
const IGNORED_FILES_KEPT: usize = 100;

/// Visible files below class folders that are not images by their extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoredFiles {
    /// How many there are.
    pub count: usize,
    /// How many there are of each extension (lower case, without the dot; empty for none).
    pub by_extension: BTreeMap<String, usize>,
    /// The first hundred of them.
    pub examples: Vec<PathBuf>,
}

impl IgnoredFiles {
    fn add(&mut self, path: PathBuf) {
        self.count += 1;
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        *self.by_extension.entry(extension).or_default() += 1;
        if self.examples.len() < IGNORED_FILES_KEPT {
            self.examples.push(path);
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.count += other.count;
        for (extension, count) in other.by_extension {
            *self.by_extension.entry(extension).or_default() += count;
        }
        let room = IGNORED_FILES_KEPT.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }
}

/// The images of one class: folders relative to the split's root, sorted as torchvision sorts them.
#[derive(Debug, Default)]
pub(crate) struct ClassListing {
    pub(crate) folders: Vec<(PathBuf, Vec<Box<OsStr>>)>,
    pub(crate) ignored: IgnoredFiles,
    pub(crate) skipped_links: Vec<PathBuf>,
}

/// The visible things directly in a folder.
#[derive(Debug, Default)]
pub(crate) struct FolderContent {
    /// Names of sub-folders, sorted.
    pub(crate) folders: Vec<OsString>,
    /// Names of images, by extension.
    pub(crate) images: Vec<OsString>,
}

enum Kind {
    Folder {
        is_link: bool,
    },
    File,
    /// A pipe, socket or device: opening one could block for ever.
    Special,
}

/// Whether a name ends in one of torchvision's image extensions, in any case.
pub(crate) fn has_image_extension(name: &Path) -> bool {
    name.extension().is_some_and(|extension| {
        IMAGE_EXTENSIONS.iter().any(|known| {
            known
                .strip_prefix('.')
                .is_some_and(|known| extension.eq_ignore_ascii_case(known))
        })
    })
}

/// Hidden files, and the folder in which macOS archives keep their metadata.
fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX"
}

fn kind_of(entry: &DirEntry) -> std::io::Result<Kind> {
    // Known from the folder itself on the usual file systems, so plain files cost no system call each.
    let file_type = entry.file_type()?;
    if file_type.is_dir() {
        return Ok(Kind::Folder { is_link: false });
    }
    if file_type.is_file() {
        return Ok(Kind::File);
    }
    if !file_type.is_symlink() {
        return Ok(Kind::Special);
    }
    Ok(match fs::metadata(entry.path()) {
        Ok(target) if target.is_dir() => Kind::Folder { is_link: true },
        Ok(target) if !target.is_file() => Kind::Special,
        // A dangling link is listed, so that the check of the images names it.
        Ok(_) | Err(_) => Kind::File,
    })
}

/// Lists what lies directly in `folder`.
pub(crate) fn read_folder(folder: &Path) -> Result<FolderContent> {
    let io = |source| DataError::io(folder, source);
    let mut content = FolderContent::default();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        if is_hidden(&name) {
            continue;
        }
        match kind_of(&entry).map_err(io)? {
            Kind::Folder { .. } => content.folders.push(name),
            Kind::File if has_image_extension(Path::new(&name)) => content.images.push(name),
            Kind::File | Kind::Special => {}
        }
    }
    content.folders.sort();
    content.images.sort();
    Ok(content)
}

/// Lists the images anywhere below `root/class`.
pub(crate) fn list_class(root: &Path, class: &OsStr) -> Result<ClassListing> {
    let mut listing = ClassListing::default();
    let start = PathBuf::from(class);
    // Folders reached through links, by their real path: each is entered once, so links cannot lead in circles.
    let mut entered: HashSet<PathBuf> = fs::canonicalize(root.join(class)).into_iter().collect();
    // Each pending folder with the real paths of the folders whose links led to it.
    let mut pending: Vec<(PathBuf, Vec<PathBuf>)> = vec![(start, Vec::new())];
    while let Some((relative, came_from)) = pending.pop() {
        let folder = root.join(&relative);
        let io = |source| DataError::io(&folder, source);
        let mut images: Vec<Box<OsStr>> = Vec::new();
        for entry in fs::read_dir(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            if is_hidden(&name) {
                continue;
            }
            match kind_of(&entry).map_err(io)? {
                Kind::File if has_image_extension(Path::new(&name)) => {
                    images.push(name.into_boxed_os_str());
                }
                Kind::File | Kind::Special => listing.ignored.add(folder.join(&name)),
                Kind::Folder { is_link: false } => {
                    pending.push((relative.join(&name), came_from.clone()));
                }
                Kind::Folder { is_link: true } => {
                    let target = fs::canonicalize(entry.path()).map_err(io)?;
                    let mut trail = came_from.clone();
                    trail.push(fs::canonicalize(&folder).map_err(io)?);
                    let leads_back = trail.iter().any(|place| place.starts_with(&target));
                    if leads_back || !entered.insert(target) {
                        listing.skipped_links.push(folder.join(&name));
                    } else {
                        pending.push((relative.join(&name), trail));
                    }
                }
            }
        }
        if !images.is_empty() {
            images.sort();
            listing.folders.push((relative, images));
        }
    }
    // torchvision sorts whole path strings, so `a-b` comes before `a/b`: not the order of path components.
    listing
        .folders
        .sort_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
    Ok(listing)
}
