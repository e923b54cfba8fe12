//! What a verb is about: the word on the command line is a run folder, a checkpoint file or the name of a model.

use anyhow::bail;
use regraft::train::run_folder::RunFolder;
use regraft::train::{Classifier, Listener, TrainError};
use regraft::weights::CHECKPOINT_NAMES;
use std::path::{Path, PathBuf};

/// Endings of files that hold weights: such a name is never that of a model.
const CHECKPOINT_EXTENSIONS: &[&str] = &["safetensors", "pth", "pt", "bin", "ckpt", "tar", "json"];

/// What a word means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Subject {
    /// The folder of a run.
    Run(RunFolder),
    /// A file, or a folder that holds a checkpoint.
    Checkpoint(PathBuf),
    /// A name, perhaps of a model.
    Model(String),
}

impl Subject {
    /// Looks what is there. A model's name counts only where there is no such file.
    ///
    /// # Errors
    /// [`TrainError::NotARun`] for a folder that is neither a run nor a checkpoint.
    pub(crate) fn find(text: &str) -> Result<Self, TrainError> {
        let path = Path::new(text);
        if path.is_dir() {
            let holds = |name: &str| path.join(name).is_file();
            if !holds("model.json") && CHECKPOINT_NAMES.iter().any(|name| holds(name)) {
                return Ok(Self::Checkpoint(path.to_owned()));
            }
            return RunFolder::open(path).map(Self::Run);
        }
        let is_path = path.components().count() > 1
            || path
                .extension()
                .and_then(|e| e.to_str())
                .is_some_and(|e| CHECKPOINT_EXTENSIONS.contains(&e));
        if path.exists() || is_path {
            Ok(Self::Checkpoint(path.to_owned()))
        } else {
            Ok(Self::Model(text.to_owned()))
        }
    }
}

/// The classifier that a verb is to run: that of a run folder, or a model with published or given weights.
///
/// # Errors
/// When there is no such run or model, or its weights cannot be had.
pub(crate) fn open_classifier(
    text: &str,
    weights: Option<&str>,
    listener: &mut dyn Listener,
) -> anyhow::Result<Classifier> {
    match Subject::find(text)? {
        Subject::Run(_) if weights.is_some() => {
            bail!("`--weights` is for models: the run folder `{text}` has its own weights")
        }
        Subject::Run(run) => Ok(Classifier::open(run.path())?),
        Subject::Model(name) => Ok(Classifier::pretrained(&name, weights, None, listener)?),
        Subject::Checkpoint(path) if !path.exists() => {
            bail!("`{text}` is neither a run folder nor a model: there is no such file or folder")
        }
        Subject::Checkpoint(_) => {
            bail!(
                "`{text}` holds weights only: name the model, and the file with `--weights {text}`"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_comes_before_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("resnet18"), "").unwrap();
        std::fs::create_dir(path("hub")).unwrap();
        std::fs::write(path("hub/model.safetensors"), "").unwrap();
        let find = |path: &Path| Subject::find(path.to_str().unwrap());
        let checkpoint = |name| Subject::Checkpoint(path(name));
        assert_eq!(find(&path("resnet18")).unwrap(), checkpoint("resnet18"));
        assert_eq!(find(&path("hub")).unwrap(), checkpoint("hub"));
        assert!(matches!(
            find(folder.path()),
            Err(TrainError::NotARun { .. })
        ));
    }

    #[test]
    fn what_is_not_there_is_a_name_unless_it_looks_like_a_path() {
        let model = |name: &str| Subject::Model(name.to_owned());
        let none = "no-such-model-here";
        assert_eq!(Subject::find(none).unwrap(), model(none));
        let tagged = "resnet18.tv_in1k";
        assert_eq!(Subject::find(tagged).unwrap(), model(tagged));
        for path in ["none/weights", "none.pth", "./none"] {
            let found = Subject::find(path).unwrap();
            assert_eq!(found, Subject::Checkpoint(path.into()));
        }
    }
}
