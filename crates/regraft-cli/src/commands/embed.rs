//! `regraft embed`: feature vectors of photos, in a file.

use crate::args::EmbedArgs;
use crate::exit_status::ExitStatus;
use crate::image_files::{self, bad_images, unlabelled};
use crate::npy;
use crate::output::{Output, Report};
use crate::progress::Progress;
use crate::subject::open_classifier;
use anyhow::{Context, bail};
use regraft::data::DataError;
use regraft::train::{Embeddings, Layer, TrainError};
use regraft::weights::{TensorData, TensorView, write_safetensors};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Name of the tensor in a safetensors file.
const TENSOR: &str = "embeddings";

/// Writes a layer's values.
pub(crate) fn run(
    args: &EmbedArgs,
    threads: Option<usize>,
    output: &mut Output,
) -> anyhow::Result<ExitStatus> {
    let options = super::inference(args.batch_size, threads)?;
    let format = Format::of(&args.output)?;
    let mut progress = Progress::new(output);
    let classifier = open_classifier(&args.subject, args.weights.as_deref(), &mut progress)?;
    let Ok(layer) = args.layer.parse::<Layer>();
    let paths = image_files::find(&args.paths)?;
    let embeddings = match classifier.embed(&paths, &layer, &options, &mut progress) {
        Ok(embeddings) => embeddings,
        Err(error) => {
            let bad = bad_images(error, &unlabelled(&paths), options.threads)?;
            let checked = paths.len();
            return Err(TrainError::from(DataError::BadImages { bad, checked }).into());
        }
    };
    drop(progress);
    let shape: Vec<_> = [paths.len()]
        .into_iter()
        .chain(embeddings.shape.iter().copied())
        .collect();
    let list = format.write(&args.output, &shape, &embeddings, &paths)?;
    output.report(&Embedded {
        output: args.output.clone(),
        file_list: list,
        model: classifier.model().entry.name,
        layer: layer.to_string(),
        shape,
    })?;
    Ok(ExitStatus::Done)
}

/// The form of the file, by its name.
#[derive(Debug, Clone, Copy)]
enum Format {
    Safetensors,
    Npy,
}

impl Format {
    fn of(path: &Path) -> anyhow::Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("npy") => Ok(Self::Npy),
            _ => bail!(
                "cannot tell the format of `{}`, expected a name ending in .safetensors or .npy",
                path.display()
            ),
        }
    }

    /// Writes values and the list of files. Gives the file that holds the list, if it is one of its own.
    fn write(
        self,
        path: &Path,
        shape: &[usize],
        embeddings: &Embeddings,
        files: &[PathBuf],
    ) -> anyhow::Result<Option<PathBuf>> {
        let names: Vec<_> = files.iter().map(|path| path.to_string_lossy()).collect();
        match self {
            Self::Safetensors => {
                let tensor = TensorView {
                    name: TENSOR,
                    shape,
                    data: TensorData::F32(&embeddings.values),
                };
                let files = serde_json::to_string(&names)?;
                let metadata = BTreeMap::from([("files".to_owned(), files)]);
                write_safetensors(path, [tensor], &metadata)?;
                Ok(None)
            }
            Self::Npy => {
                let list = PathBuf::from(format!("{}.files.txt", path.display()));
                write_whole(&list, |out| {
                    names.iter().try_for_each(|name| writeln!(out, "{name}"))
                })?;
                write_whole(path, |out| npy::write(out, shape, &embeddings.values))?;
                Ok(Some(list))
            }
        }
    }
}

/// Writes a file that is either whole or not there.
fn write_whole(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let folder = path.parent().filter(|parent| *parent != Path::new(""));
    let write = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".regraft-").suffix(".tmp");
        // Temporary files are private by default; results are as public as any new file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
        let mut out = BufWriter::new(file);
        content(&mut out)?;
        let file = out.into_inner()?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}

#[derive(Debug, Serialize)]
struct Embedded {
    output: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_list: Option<PathBuf>,
    model: &'static str,
    layer: String,
    /// Images first.
    shape: Vec<usize>,
}

impl Report for Embedded {
    fn write_text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let shape: Vec<_> = self.shape.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "{} of {} for {} images, {}",
            self.layer,
            self.model,
            self.shape[0],
            shape.join("x")
        )?;
        writeln!(out, "{}", self.output.display())
    }
}
