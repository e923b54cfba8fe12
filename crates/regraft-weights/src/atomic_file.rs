//! Files that are either whole or not there.

use std::fs::File;
use std::path::Path;

use crate::error::WeightsError;

/// Writes `path` through a temporary file in the same folder: filled, synced, renamed, and the folder synced.
pub(crate) fn write(
    path: &Path,
    fill: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), WeightsError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = WeightsError::io("write", path);
    let write = || -> std::io::Result<()> {
        // The kind alone: tempfile's message adds the random name, which tells nobody anything.
        let mut temporary = builder()
            .tempfile_in(folder)
            .map_err(|error| error.kind())?;
        fill(temporary.as_file_mut())?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        sync_folder(folder);
        Ok(())
    };
    write().map_err(failed)
}

fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".regraft-").suffix(".tmp");
    // Temporary files are private by default; what is written here is as public as any new file (less the umask).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// Makes a rename in `folder` survive a power cut where the system can; a folder that cannot be synced is no failure.
pub(crate) fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::debug!(folder = %folder.display(), %error, "folder not synced");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_disk_that_fills_up_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, "old").unwrap();
        let error = write(&path, |file| {
            file.write_all(b"half")?;
            Err(std::io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert!(error.to_string().contains("no storage space"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_error_names_the_file_and_not_the_temporary_one() {
        let path = Path::new("/nowhere/model.safetensors");
        let error = write(path, |_| Ok(())).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot write `/nowhere/model.safetensors`: entity not found"
        );
    }

    #[cfg(unix)]
    #[test]
    fn files_are_as_readable_as_other_new_files() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, usual) = (folder.path().join("ours"), folder.path().join("usual"));
        write(&ours, |_| Ok(())).unwrap();
        std::fs::write(&usual, "").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&usual));
    }
}
