//! The folder that a training run leaves behind.
//!
//! | file | |
//! |---|---|
//! | `config.toml` | the settings, complete; a valid configuration again |
//! | `model.safetensors` | the weights of the best epoch so far, under the reference implementation's names |
//! | `model.json` | what is needed to use them: [`ModelCard`] |
//! | `history.csv` | a line per epoch |
//! | `metrics.json` | the best epoch |
//! | `checkpoints/last.safetensors` | the weights of the last epoch |
//!
//! Every file is written under a temporary name, synced and renamed, so at any moment it is whole or not there; a folder
//! that already holds something is never written to.

use crate::error::TrainError;
use crate::event::EpochRecord;
use regraft_graph::StateDict;
use regraft_models::Preprocessing;
use regraft_weights::{TensorData, TensorView, write_safetensors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Everything about a trained model but its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Version of this form.
    pub format: u32,
    /// Name of the architecture, as the zoo spells it.
    pub architecture: String,
    /// Class names, in the order of the outputs.
    pub classes: Vec<String>,
    /// What the images must look like.
    pub preprocessing: Preprocessing,
    /// Where it all comes from.
    pub provenance: Provenance,
}

/// Where a trained model comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Where the pre-trained weights were taken from.
    pub weights: String,
    /// BLAKE3 digest of all values that training started from, whatever file they were in.
    pub initial_state: String,
    /// BLAKE3 digest of the images and their labels.
    pub dataset: String,
    /// Which part was trained.
    pub strategy: String,
    /// The seed.
    pub seed: u64,
    /// Version of regraft.
    pub regraft: String,
    /// The kernel library and its version.
    pub kernels: String,
}

/// The best epoch, and how the run went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// The epoch that `model.safetensors` is from.
    pub best_epoch: usize,
    /// Its accuracy on the validation images.
    pub accuracy: f64,
    /// Its mean cross entropy on the validation images.
    pub loss: f64,
    /// Number of validation images.
    pub validation_images: usize,
    /// Epochs that were trained.
    pub epochs: usize,
    /// Wall-clock seconds of the whole run.
    pub seconds: f64,
    /// Whether it was stopped before its last epoch.
    pub interrupted: bool,
}

/// The form of `model.json` that this version writes and reads.
const CARD_FORMAT: u32 = 1;

/// A run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Creates the folder `output`, or else the first that is free of `runs/train`, `runs/train2`, ... An empty folder may
    /// exist already.
    ///
    /// # Errors
    /// [`TrainError::RunExists`] if there is something in the folder, [`TrainError::Io`] if it cannot be created or
    /// written to.
    pub fn create(output: Option<&Path>) -> Result<Self, TrainError> {
        let run = match output {
            Some(path) => {
                std::fs::create_dir_all(path)
                    .map_err(TrainError::io("create the run folder", path))?;
                let mut entries =
                    std::fs::read_dir(path).map_err(TrainError::io("read the folder", path))?;
                if entries.next().is_some() {
                    return Err(TrainError::RunExists {
                        path: path.to_owned(),
                    });
                }
                Self {
                    path: path.to_owned(),
                }
            }
            None => Self::create_numbered(Path::new("runs"))?,
        };
        // Shows now, not after hours of training, that nothing can be written here.
        let checkpoints = run.path.join("checkpoints");
        std::fs::create_dir(&checkpoints)
            .map_err(TrainError::io("create the folder", checkpoints))?;
        Ok(run)
    }

    fn create_numbered(parent: &Path) -> Result<Self, TrainError> {
        std::fs::create_dir_all(parent).map_err(TrainError::io("create the run folder", parent))?;
        let mut number = 1_usize;
        loop {
            let name = if number == 1 {
                "train".to_owned()
            } else {
                format!("train{number}")
            };
            let path = parent.join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(TrainError::io("create the run folder", path)(error)),
            }
        }
    }

    /// Removes the folder if nothing was written into it, for a run that failed before it began.
    pub(crate) fn discard(self) {
        // Neither call removes anything that holds a file.
        let _ = std::fs::remove_dir(self.path.join("checkpoints"));
        let _ = std::fs::remove_dir(&self.path);
    }

    /// The folder of a finished or interrupted run.
    ///
    /// # Errors
    /// [`TrainError::NotARun`] if it has no `model.json` or no weights.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let run = Self {
            path: path.to_owned(),
        };
        for file in [run.card_path(), run.weights_path()] {
            if !file.is_file() {
                return Err(TrainError::NotARun {
                    path: path.to_owned(),
                    missing: file
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned())
                        .unwrap_or_default(),
                });
            }
        }
        Ok(run)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The weights of the best epoch.
    pub fn weights_path(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// The weights of the last epoch.
    pub fn last_weights_path(&self) -> PathBuf {
        self.path.join("checkpoints").join("last.safetensors")
    }

    fn card_path(&self) -> PathBuf {
        self.path.join("model.json")
    }

    /// Writes `config.toml`.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write_config(&self, settings: &crate::TrainSettings) -> Result<(), TrainError> {
        let path = self.path.join("config.toml");
        let text = toml::to_string(settings).map_err(|error| {
            TrainError::io("write", &path)(std::io::Error::other(error.to_string()))
        })?;
        write_file(&path, text.as_bytes())
    }

    /// Writes `model.json`.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write_card(&self, card: &ModelCard) -> Result<(), TrainError> {
        write_json(&self.card_path(), card)
    }

    /// Reads `model.json`.
    ///
    /// # Errors
    /// [`TrainError::Io`] if it cannot be read, [`TrainError::Card`] if it is no model card of this version.
    pub fn read_card(&self) -> Result<ModelCard, TrainError> {
        let path = self.card_path();
        let text = std::fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
        let card: ModelCard = serde_json::from_str(&text).map_err(|source| TrainError::Card {
            path: path.clone(),
            source,
        })?;
        if card.format == CARD_FORMAT {
            Ok(card)
        } else {
            Err(TrainError::CardFormat {
                path,
                expected: CARD_FORMAT,
                got: card.format,
            })
        }
    }

    /// Writes the weights of the best epoch, `model.safetensors`.
    ///
    /// # Errors
    /// [`TrainError::Weights`].
    pub fn write_weights(&self, state: &StateDict) -> Result<(), TrainError> {
        write_state(&self.weights_path(), state)
    }

    /// Writes the weights of the last epoch, `checkpoints/last.safetensors`.
    ///
    /// # Errors
    /// [`TrainError::Weights`].
    pub fn write_last_weights(&self, state: &StateDict) -> Result<(), TrainError> {
        write_state(&self.last_weights_path(), state)
    }

    /// Writes `history.csv`.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write_history(&self, epochs: &[EpochRecord]) -> Result<(), TrainError> {
        let mut text = String::from(
            "epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds,images_per_second\n",
        );
        for e in epochs {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{},{:.6},{:.6},{:.6},{:.6},{},{:.4},{:.1}",
                e.epoch,
                e.train_loss,
                e.train_accuracy,
                e.val_loss,
                e.val_accuracy,
                e.lr,
                e.seconds,
                e.images_per_second
            );
        }
        write_file(&self.path.join("history.csv"), text.as_bytes())
    }

    /// Writes `metrics.json`.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write_metrics(&self, metrics: &RunMetrics) -> Result<(), TrainError> {
        write_json(&self.path.join("metrics.json"), metrics)
    }
}

impl ModelCard {
    /// A card of the form that this version writes.
    pub fn new(
        architecture: &str,
        classes: &[String],
        preprocessing: Preprocessing,
        provenance: Provenance,
    ) -> Self {
        Self {
            format: CARD_FORMAT,
            architecture: architecture.to_owned(),
            classes: classes.to_vec(),
            preprocessing,
            provenance,
        }
    }
}

fn write_state(path: &Path, state: &StateDict) -> Result<(), TrainError> {
    let tensors = state.iter().map(|(name, tensor)| TensorView {
        name,
        shape: &tensor.shape,
        data: TensorData::F32(&tensor.data),
    });
    // What PyTorch's loaders look for.
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(write_safetensors(path, tensors, &metadata)?)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| TrainError::io("write", path)(error.into()))?;
    text.push(b'\n');
    write_file(path, &text)
}

/// Writes a file that is either whole or not there.
fn write_file(path: &Path, content: &[u8]) -> Result<(), TrainError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".regraft-").suffix(".tmp");
        // Temporary files are private by default; results are as public as any new file (less the umask).
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(TrainError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_graph::HostTensor;

    fn card() -> ModelCard {
        let provenance = Provenance {
            weights: "weights.safetensors".to_owned(),
            initial_state: "00".to_owned(),
            dataset: "11".to_owned(),
            strategy: "probe".to_owned(),
            seed: 3,
            regraft: "0.1.0".to_owned(),
            kernels: "oneDNN 3.14.1".to_owned(),
        };
        let classes = ["ants".to_owned(), "bees".to_owned()];
        ModelCard::new("resnet18", &classes, Preprocessing::IMAGENET, provenance)
    }

    fn state() -> StateDict {
        let mut state = StateDict::new();
        state.insert("fc.weight", HostTensor::full(&[2, 3], 0.5));
        state
    }

    #[test]
    fn a_run_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/run");
        let run = RunFolder::create(Some(&path)).unwrap();
        run.write_card(&card()).unwrap();
        run.write_weights(&state()).unwrap();
        let again = RunFolder::open(&path).unwrap();
        assert_eq!(again.read_card().unwrap(), card());
        let weights = regraft_weights::Checkpoint::open(&again.weights_path()).unwrap();
        assert_eq!(weights.read_f32("fc.weight").unwrap(), [0.5; 6]);
    }

    #[test]
    fn a_folder_that_holds_something_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        RunFolder::create(Some(folder.path())).unwrap();
        let error = RunFolder::create(Some(folder.path())).unwrap_err();
        assert!(matches!(error, TrainError::RunExists { .. }), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn runs_are_numbered_and_never_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("runs");
        let names: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| RunFolder::create_numbered(&parent).unwrap().path))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let mut names: Vec<_> = names.iter().map(|p| p.file_name().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["train", "train2", "train3", "train4", "train5", "train6"]
        );
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = RunFolder::create(Some(&file.join("run"))).unwrap_err();
        assert!(error.to_string().contains("file/run"), "{error}");
    }

    #[test]
    fn a_folder_that_is_no_run_is_an_error_that_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("`model.json`"), "{error}");
        let run = RunFolder {
            path: folder.path().to_owned(),
        };
        run.write_card(&card()).unwrap();
        let error = RunFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("`model.safetensors`"), "{error}");
    }

    #[test]
    fn damaged_and_future_cards_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder {
            path: folder.path().to_owned(),
        };
        std::fs::write(run.card_path(), "{").unwrap();
        assert!(matches!(run.read_card(), Err(TrainError::Card { .. })));
        let future = ModelCard {
            format: 99,
            ..card()
        };
        run.write_card(&future).unwrap();
        assert!(matches!(
            run.read_card(),
            Err(TrainError::CardFormat { got: 99, .. })
        ));
    }

    #[test]
    fn history_has_a_line_per_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder {
            path: folder.path().to_owned(),
        };
        let record = EpochRecord {
            epoch: 1,
            train_loss: 0.5,
            train_accuracy: 0.75,
            val_loss: 0.25,
            val_accuracy: 1.0,
            lr: 1e-3,
            seconds: 0.125,
            images_per_second: 2000.0,
        };
        run.write_history(&[record]).unwrap();
        let text = std::fs::read_to_string(folder.path().join("history.csv")).unwrap();
        assert_eq!(
            text,
            "epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds,images_per_second\n\
             1,0.500000,0.750000,0.250000,1.000000,0.001,0.1250,2000.0\n"
        );
    }
}
