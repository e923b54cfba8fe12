//! A whole training run: from settings to a run folder.

use crate::config::TrainSettings;
use crate::error::TrainError;
use crate::event::{EpochRecord, Event, Listener, RunInfo};
use crate::feature_cache::FeatureCache;
use crate::features::{Extractor, Features, Images};
use crate::fit::{Task, fit};
use crate::frozen_part::CutModel;
use crate::preprocessing::to_data;
use crate::pretrained::{self, Pretrained, digest};
use crate::recipe;
use crate::recorder::Recorder;
use crate::run_folder::{ModelCard, Provenance, RunFolder};
use regraft_data::{
    Dataset, DecodeOptions, ImageFolder, Loader, LoaderConfig, Samples, Split, Transform,
    file_digests, skip_bad_images, verify,
};
use regraft_models::{BuildOptions, Model};
use serde::Serialize;
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainReport {
    /// The run folder.
    pub run: PathBuf,
    /// The epoch that the saved weights are from; 0 if none was finished.
    pub best_epoch: usize,
    /// That epoch's metrics.
    pub metrics: Metrics,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// All epochs.
    pub epochs: Vec<EpochRecord>,
    /// Elements that training changed.
    pub trainable_parameters: usize,
    /// Elements of all parameters.
    pub total_parameters: usize,
    /// Whether the run was stopped before its last epoch.
    pub interrupted: bool,
}

/// Metrics on the validation images.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Metrics {
    /// Share of images that are classified correctly.
    pub accuracy: f64,
    /// Mean cross entropy.
    pub loss: f64,
}

/// Trains as the settings say and leaves a run folder. Features of the frozen part are kept in `cache`, if one is given
/// and the settings allow it. `stop` ends the run after the step it is in; what was trained until then is saved.
///
/// # Errors
/// Whatever is wrong with data, weights or settings is found before anything is trained. [`TrainError::LossNotFinite`]
/// when training diverges; the best epoch until then is saved all the same. [`TrainError::Stopped`] when it is stopped
/// before training began.
pub fn train(
    settings: &TrainSettings,
    cache: Option<&FeatureCache>,
    listener: &mut dyn Listener,
    stop: &AtomicBool,
) -> Result<TrainReport, TrainError> {
    let started = Instant::now();
    regraft_engine::set_threads(settings.threads);
    let dataset = load_dataset(settings, listener)?;
    let (model, pretrained) = load_model(settings, dataset.classes.len(), listener)?;
    let classes = dataset.classes.as_slice();
    let preprocessing = to_data(&model.preprocessing);
    let evaluation = Transform::evaluation(&preprocessing);
    let training = if settings.augment {
        Transform::training(&preprocessing)
    } else {
        evaluation
    };
    let train = images(settings, (Split::Train, &dataset.train), training)?;
    let validation = images(
        settings,
        (Split::Validation, &dataset.validation),
        evaluation,
    )?;
    let dataset_digest = dataset_digest([&train, &validation]);
    let cut = CutModel::new(&model.graph)?;

    let run = RunFolder::create(settings.output.as_deref())?;
    let from = (&model, &pretrained);
    let splits = [train, validation];
    let [train, validation] = match features(settings, cache, from, &cut, splits, listener, stop) {
        Ok(features) => features,
        Err(error) => {
            run.discard();
            return Err(with_all_bad_images(error, &dataset, settings));
        }
    };
    run.write_config(settings)?;
    let provenance = provenance(settings, &pretrained, &dataset_digest);
    run.write_card(&ModelCard::new(
        model.entry.name,
        classes,
        model.preprocessing,
        provenance,
    ))?;
    listener.on_event(&Event::Started(RunInfo {
        run: run.path(),
        model: model.entry.name,
        classes,
        train_images: train.len(),
        validation_images: validation.len(),
        trainable_parameters: model.graph.trainable_parameter_count(),
        total_parameters: model.graph.parameter_count(),
        cut: &cut.cut(),
    }));

    let task = Task {
        graph: &cut.trained,
        state: &pretrained.state,
        fresh: &pretrained.fresh,
        num_classes: classes.len(),
        train: &train,
        validation: &validation,
    };
    let mut recorder = Recorder::new(run, &pretrained.state, listener);
    let fitted = fit(&task, settings, &mut recorder, stop);
    let (trained, interrupted) = match &fitted {
        Ok(fitted) => (Some(&fitted.state), fitted.interrupted),
        Err(_) => (None, true),
    };
    let saved = recorder.finish(trained, validation.len(), started, interrupted);
    // What went wrong in training matters more than that it could not be saved either.
    fitted?;
    let (run, metrics, epochs) = saved?;
    Ok(TrainReport {
        run: run.path().to_owned(),
        best_epoch: metrics.best_epoch,
        metrics: Metrics {
            accuracy: metrics.accuracy,
            loss: metrics.loss,
        },
        seconds: metrics.seconds,
        epochs,
        trainable_parameters: model.graph.trainable_parameter_count(),
        total_parameters: model.graph.parameter_count(),
        interrupted,
    })
}

fn load_dataset(
    settings: &TrainSettings,
    listener: &mut dyn Listener,
) -> Result<Dataset, TrainError> {
    let mut dataset = ImageFolder::new(&settings.data)
        .validation(settings.validation()?)
        .seed(settings.seed)
        .load()?;
    if settings.skip_bad_images {
        let options = DecodeOptions::default();
        for bad in skip_bad_images(&mut dataset, &options, settings.threads, || {})? {
            listener.on_event(&Event::Warning(format!(
                "`{}` is left out: {}",
                bad.path.display(),
                bad.reason
            )));
        }
    }
    for note in &dataset.notes {
        listener.on_event(&Event::Note(note.to_string()));
    }
    Ok(dataset)
}

fn load_model(
    settings: &TrainSettings,
    num_classes: usize,
    listener: &mut dyn Listener,
) -> Result<(Model, Pretrained), TrainError> {
    let options = BuildOptions {
        num_classes: Some(num_classes),
        input_size: settings.image_size.map(|size| [size, size]),
        ..BuildOptions::default()
    };
    let mut model = regraft_models::build(&settings.model, &options)?;
    // The new head is drawn as PyTorch draws that of a new layer, not as the whole network's would be.
    model.replace_head(num_classes)?;
    recipe::apply(&mut model, settings.recipe())?;
    let weights = settings.weights.as_deref();
    let pretrained = pretrained::load(&model, weights, settings.seed, listener)?;
    Ok((model, pretrained))
}

/// The images of a split, ready to be loaded.
fn images(
    settings: &TrainSettings,
    (split, samples): (Split, &Samples),
    transform: Transform,
) -> Result<Images, TrainError> {
    let config = LoaderConfig {
        batch_size: settings.batch_size,
        threads: settings.threads,
        seed: settings.seed,
        ..LoaderConfig::default()
    };
    let digests = file_digests(samples, settings.threads)?;
    Ok(Images {
        split,
        loader: Loader::new(Arc::new(samples.clone()), transform, &config)?,
        keys: digests.into_iter().map(|digest| digest.0).collect(),
    })
}

/// The digest of all images and their labels.
fn dataset_digest(splits: [&Images; 2]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for images in splits {
        hasher.update(&(images.keys.len() as u64).to_le_bytes());
        for (label, key) in images.loader.samples().labels().zip(&images.keys) {
            hasher.update(&(label as u64).to_le_bytes()).update(key);
        }
    }
    hasher.finalize()
}

/// Rows that are whole images are larger than the files they come from and save the decoding alone: they are kept for
/// small data sets only.
const MAX_IMAGE_BYTES: usize = 1 << 30;

/// Features of the training and the validation images.
fn features(
    settings: &TrainSettings,
    cache: Option<&FeatureCache>,
    (model, pretrained): (&Model, &Pretrained),
    cut: &CutModel,
    [train, validation]: [Images; 2],
    listener: &mut dyn Listener,
    stop: &AtomicBool,
) -> Result<[Features; 2], TrainError> {
    let images = train.keys.len() + validation.keys.len();
    let bytes = images * cut.row_len() * size_of::<f32>();
    let is_worth_it = !cut.is_at_input() || bytes <= MAX_IMAGE_BYTES;
    let transform = validation.loader.transform().fingerprint();
    let key = cut.space_key(model.entry.name, &pretrained.state, transform)?;
    let frozen = cut.frozen_part(&pretrained.state)?;
    let extractor = Extractor {
        cut,
        frozen: frozen.map(|frozen| Rc::new(RefCell::new(frozen))),
        cache: cache
            .filter(|_| settings.cache && is_worth_it)
            .map(|cache| (cache, &key)),
    };
    Ok([
        extractor.features(train, listener, stop)?,
        extractor.features(validation, listener, stop)?,
    ])
}

/// A run that meets one bad image tells of all.
fn with_all_bad_images(
    error: TrainError,
    dataset: &Dataset,
    settings: &TrainSettings,
) -> TrainError {
    match error {
        TrainError::Data(error) => {
            let options = DecodeOptions::default();
            let all = verify(dataset, &options, settings.threads, || {});
            all.err().unwrap_or(error).into()
        }
        other => other,
    }
}

fn provenance(
    settings: &TrainSettings,
    pretrained: &Pretrained,
    dataset: &blake3::Hash,
) -> Provenance {
    Provenance {
        weights: pretrained.source.clone(),
        initial_state: digest(pretrained.state.iter()).to_hex().to_string(),
        dataset: dataset.to_hex().to_string(),
        strategy: settings.strategy.to_string(),
        seed: settings.seed,
        regraft: env!("CARGO_PKG_VERSION").to_owned(),
        kernels: regraft_engine::kernel_library(),
    }
}
