//! Whole runs on small synthetic photos: what a run leaves behind, and that neither the cache nor anything that goes wrong
//! changes its numbers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use regraft_data::{ImageFolder, Split};
use regraft_graph::{NamePattern, StateDict};
use regraft_train::config::{BatchNormMode, FolderOrFraction, OptimizerName};
use regraft_train::feature_cache::FeatureCache;
use regraft_train::{
    Classifier, EpochRecord, Event, InferenceOptions, Layer, Strategy, TrainConfig, TrainError,
    TrainReport, train,
};
use regraft_weights::Checkpoint;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A temporary folder with a data set, a cache and runs in it.
struct Place {
    folder: tempfile::TempDir,
    runs: Cell<usize>,
}

/// What a run told and left behind.
struct Run {
    report: TrainReport,
    /// Images whose features were computed.
    computed: usize,
    warnings: Vec<String>,
    notes: Vec<String>,
    cut: Vec<String>,
}

impl Place {
    /// Blue and red noise, `train` and `validation` images a class.
    fn new(train: usize, validation: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (split, count) in [("train", train), ("val", validation)] {
            for (class, name) in ["blue", "red"].iter().enumerate() {
                let folder = folder.path().join("photos").join(split).join(name);
                std::fs::create_dir_all(&folder).unwrap();
                for i in 0..count {
                    let seed = (i * 2 + class) * 2 + usize::from(split == "val");
                    write_bmp(&folder.join(format!("{i:03}.bmp")), class, seed);
                }
            }
        }
        Self {
            folder,
            runs: Cell::new(0),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, model: &str) -> TrainConfig {
        self.runs.set(self.runs.get() + 1);
        TrainConfig {
            data: Some(self.path("photos")),
            model: Some(model.to_owned()),
            weights: Some("none".to_owned()),
            image_size: Some(32),
            batch_size: Some(8),
            epochs: Some(3),
            lr: Some(1e-2),
            threads: Some(1),
            output: Some(self.path(&format!("run{}", self.runs.get()))),
            ..TrainConfig::default()
        }
    }

    fn cache(&self) -> FeatureCache {
        FeatureCache::new(self.path("cache"), Some(1 << 30))
    }

    fn run(&self, config: TrainConfig) -> Result<Run, TrainError> {
        self.run_with(config, &self.cache(), |_| {})
    }

    #[expect(clippy::unused_self, reason = "a run happens in a place")]
    fn run_with(
        &self,
        config: TrainConfig,
        cache: &FeatureCache,
        mut also: impl FnMut(&Event<'_>),
    ) -> Result<Run, TrainError> {
        let (mut computed, mut cut) = (0, Vec::new());
        let (mut warnings, mut notes) = (Vec::new(), Vec::new());
        let mut listener = |event: &Event<'_>| {
            match event {
                Event::Features { done, total, .. } if done == total => computed += total,
                Event::Warning(text) => warnings.push(text.clone()),
                Event::Note(text) => notes.push(text.clone()),
                Event::Started(info) => cut = info.cut.to_vec(),
                _ => {}
            }
            also(event);
        };
        let stop = AtomicBool::new(false);
        let report = train(&config.check()?, Some(cache), &mut listener, &stop)?;
        Ok(Run {
            report,
            computed,
            warnings,
            notes,
            cut,
        })
    }
}

/// A 40 x 32 image of noise whose blue or red channel is bright.
fn write_bmp(path: &Path, bright: usize, seed: usize) {
    let (width, height) = (40_u32, 32_u32);
    let mut bytes = Vec::from(*b"BM");
    for field in [54 + width * height * 3, 0, 54, 40, width, height] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend([1, 0, 24, 0]);
    bytes.extend([0; 24]);
    let mut state = seed as u64 + 1;
    for i in 0..width * height * 3 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let noise = (state >> 57) as u8;
        // Pixels are blue, green, red.
        let is_bright = i as usize % 3 == bright * 2;
        bytes.push(if is_bright { 128 + noise } else { noise });
    }
    std::fs::write(path, bytes).unwrap();
}

fn weights(path: &Path) -> StateDict {
    let checkpoint = Checkpoint::open(path).unwrap();
    let tensor = |name: &str| regraft_graph::HostTensor {
        shape: checkpoint.info(name).unwrap().shape.clone(),
        data: checkpoint.read_f32(name).unwrap(),
    };
    let names = checkpoint.names();
    names.map(|name| (name.to_owned(), tensor(name))).collect()
}

fn best(run: &Run) -> StateDict {
    weights(&run.report.run.join("model.safetensors"))
}

/// An epoch without what the clock says.
fn numbers(epochs: &[EpochRecord]) -> Vec<[f64; 4]> {
    epochs
        .iter()
        .map(|e| [e.train_loss, e.train_accuracy, e.val_loss, e.val_accuracy])
        .collect()
}

#[test]
fn a_probe_learns_and_leaves_a_run_that_can_be_used() {
    let place = Place::new(12, 6);
    let config = TrainConfig {
        epochs: Some(20),
        ..place.config("squeezenet1_1")
    };
    let run = place.run(config).unwrap();
    let report = &run.report;
    assert!(report.metrics.accuracy >= 0.9, "{:?}", report.metrics);
    assert_eq!(report.epochs.len(), 20);
    assert_eq!(report.trainable_parameters, 512 * 2 + 2);
    assert_eq!(run.cut, ["features.12.cat"]);
    for file in [
        "config.toml",
        "model.json",
        "history.csv",
        "metrics.json",
        "checkpoints/last.safetensors",
    ] {
        assert!(report.run.join(file).is_file(), "{file}");
    }
    let again = TrainConfig::read(&report.run.join("config.toml")).unwrap();
    assert_eq!(again.check().unwrap().epochs, 20);

    let classifier = Classifier::open(&report.run).unwrap();
    assert_eq!(classifier.classes(), ["blue", "red"]);
    let folder = ImageFolder::new(place.path("photos"));
    let data = folder.load_for_evaluation(classifier.classes()).unwrap();
    let options = InferenceOptions {
        batch_size: 5,
        threads: 1,
    };
    let mut silent = |_: &Event<'_>| {};
    let (mut correct, mut count) = (0, 0);
    classifier
        .evaluate(&data.samples, &options, &mut silent, |logits, labels| {
            for (row, label) in logits.chunks(2).zip(labels) {
                correct += usize::from((row[1] > row[0]) == (*label == 1));
                count += 1;
            }
        })
        .unwrap();
    assert_eq!(count, 12);
    assert_eq!(correct as f64 / 12.0, report.metrics.accuracy);

    let paths: Vec<_> = data.samples.iter().map(|sample| sample.path).collect();
    let predictions = classifier.predict(&paths, &options, &mut silent).unwrap();
    let right = predictions.iter().zip(data.samples.labels());
    assert_eq!(
        right.filter(|(p, label)| p.ranking[0].0 == *label).count(),
        correct
    );
    assert_eq!(predictions[3].path, paths[3]);

    let embed = |layer| {
        classifier
            .embed(&paths, &layer, &options, &mut |_: &Event<'_>| {})
            .unwrap()
    };
    let features = embed(Layer::Features);
    assert_eq!(
        (features.shape.as_slice(), features.values.len()),
        (&[512][..], 12 * 512)
    );
    let map = embed(Layer::Node("features.12.cat".to_owned()));
    assert_eq!(map.shape, [512, 1, 1]);
    assert_eq!(
        map.values, features.values,
        "a map of one pixel is its own mean"
    );
    assert_eq!(embed(Layer::Logits).shape, [2]);
}

#[test]
fn with_and_without_cache_and_from_a_warm_one_the_bits_are_the_same() {
    let place = Place::new(11, 5);
    for (model, strategy) in [
        ("squeezenet1_1", "probe"),
        ("resnet18", "last:2"),
        ("resnet18", "full"),
    ] {
        let run = |cache: bool| {
            let config = TrainConfig {
                strategy: Some(strategy.parse().unwrap()),
                cache: Some(cache),
                epochs: Some(2),
                ..place.config(model)
            };
            place.run(config).unwrap()
        };
        let (cold, warm, uncached) = (run(true), run(true), run(false));
        assert_eq!(
            (cold.computed, warm.computed, uncached.computed),
            (32, 0, 0)
        );
        for other in [&warm, &uncached] {
            assert_eq!(numbers(&cold.report.epochs), numbers(&other.report.epochs));
            assert!(best(&cold) == best(other), "{model} {strategy}");
        }
    }
}

#[test]
fn without_cache_wide_features_are_all_evaluated() {
    // At 128 pixels the features are so wide that they are evaluated in smaller batches than images are loaded in.
    let place = Place::new(8, 19);
    let run = |cache: bool| {
        let config = TrainConfig {
            cache: Some(cache),
            image_size: Some(128),
            batch_size: Some(32),
            epochs: Some(2),
            ..place.config("squeezenet1_1")
        };
        place.run(config).unwrap()
    };
    let (cached, uncached) = (run(true), run(false));
    assert_eq!(
        numbers(&cached.report.epochs),
        numbers(&uncached.report.epochs)
    );
}

#[test]
fn the_seed_decides() {
    let place = Place::new(8, 4);
    let run = |seed| {
        let config = TrainConfig {
            seed: Some(seed),
            ..place.config("squeezenet1_1")
        };
        place.run(config).unwrap()
    };
    let (first, same, other) = (run(1), run(1), run(2));
    assert!(best(&first) == best(&same));
    assert!(best(&first) != best(&other));
}

#[test]
fn frozen_means_frozen() {
    let place = Place::new(8, 4);
    let frozen_front = "features.[0-9],features.1[0-4]";
    for (strategy, freeze, batch_norm, trained) in [
        ("probe", None, BatchNormMode::Train, "classifier"),
        (
            "last:2",
            None,
            BatchNormMode::Train,
            "classifier,features.17,features.18",
        ),
        (
            "full",
            Some(frozen_front),
            BatchNormMode::Train,
            "classifier,features.1[5-8]",
        ),
        (
            "last:2",
            None,
            BatchNormMode::Keep,
            "/classifier|features.17.conv.(0.0|1.0|2)|features.18.0/",
        ),
    ] {
        let config = TrainConfig {
            strategy: Some(strategy.parse().unwrap()),
            freeze: freeze.map(str::to_owned),
            batch_norm: Some(batch_norm),
            ..place.config("mobilenet_v2")
        };
        let run = place.run(config).unwrap();
        let options = regraft_models::BuildOptions {
            num_classes: Some(2),
            input_size: Some([32, 32]),
            ..Default::default()
        };
        let mut model = regraft_models::build("mobilenet_v2", &options).unwrap();
        model.replace_head(2).unwrap();
        let mut initial = StateDict::new();
        regraft_train::init::fill_missing(&model.graph, &mut initial, 0).unwrap();
        let last = weights(&run.report.run.join("checkpoints/last.safetensors"));
        let trained = NamePattern::new(trained).unwrap();
        for (name, before) in initial.iter() {
            let after = last.get(name).unwrap();
            assert_eq!(before != after, trained.matches(name), "{strategy}: {name}");
        }
    }
}

#[test]
fn every_optimizer_lowers_the_loss() {
    let place = Place::new(12, 4);
    for (optimizer, lr) in [
        (OptimizerName::Adam, 1e-2),
        (OptimizerName::AdamW, 1e-2),
        (OptimizerName::Sgd, 1e-1),
    ] {
        let config = TrainConfig {
            optimizer: Some(optimizer),
            lr: Some(lr),
            weight_decay: Some(1e-3),
            label_smoothing: Some(0.05),
            epochs: Some(8),
            ..place.config("squeezenet1_1")
        };
        let run = place.run(config).unwrap();
        let losses: Vec<_> = run.report.epochs.iter().map(|e| e.train_loss).collect();
        assert!(losses[7] < 0.9 * losses[0], "{optimizer:?}: {losses:?}");
    }
}

#[test]
fn a_damaged_cache_costs_time_and_no_bit() {
    let place = Place::new(8, 4);
    let first = place.run(place.config("squeezenet1_1")).unwrap();
    assert_eq!(first.computed, 24);
    for space in std::fs::read_dir(place.path("cache")).unwrap().flatten() {
        for file in std::fs::read_dir(space.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            if file.path().extension().is_some_and(|e| e == "rows") {
                let mut bytes = std::fs::read(file.path()).unwrap();
                bytes[100] ^= 1;
                std::fs::write(file.path(), bytes).unwrap();
            }
        }
    }
    let second = place.run(place.config("squeezenet1_1")).unwrap();
    // One row in the file of each split.
    assert_eq!(second.computed, 2);
    assert!(best(&first) == best(&second));
}

#[test]
fn a_cache_that_cannot_be_written_or_is_too_small_is_a_warning() {
    let place = Place::new(8, 4);
    let with_cache = place.run(place.config("squeezenet1_1")).unwrap();
    std::fs::write(place.path("file"), "").unwrap();
    for cache in [
        FeatureCache::new(place.path("file"), Some(1 << 30)),
        FeatureCache::new(place.path("small"), Some(1000)),
    ] {
        let config = place.config("squeezenet1_1");
        let run = place.run_with(config, &cache, |_| {}).unwrap();
        assert!(
            run.warnings[0].contains("feature cache cannot be used"),
            "{:?}",
            run.warnings
        );
        assert!(best(&run) == best(&with_cache));
    }
}

#[test]
fn augmentation_trains_on_other_pixels_and_validates_on_cached_features() {
    let place = Place::new(8, 4);
    let plain = place.run(place.config("squeezenet1_1")).unwrap();
    let augmented = |place: &Place| {
        let config = TrainConfig {
            augment: Some(true),
            ..place.config("squeezenet1_1")
        };
        place.run(config).unwrap()
    };
    let (first, second) = (augmented(&place), augmented(&place));
    assert_eq!(
        first.computed, 0,
        "validation features are those of the plain run"
    );
    assert_ne!(numbers(&plain.report.epochs), numbers(&first.report.epochs));
    assert!(best(&first) == best(&second));
}

#[test]
fn divergence_is_an_error_that_says_where_and_keeps_the_best_epoch() {
    let place = Place::new(8, 4);
    let config = TrainConfig {
        optimizer: Some(OptimizerName::Sgd),
        lr: Some(1e38),
        epochs: Some(30),
        ..place.config("resnet18")
    };
    let output = config.output.clone().unwrap();
    let error = place.run(config).err().unwrap();
    assert!(matches!(error, TrainError::LossNotFinite { .. }), "{error}");
    assert!(
        error.to_string().contains("a learning rate below"),
        "{error}"
    );
    assert!(output.join("metrics.json").is_file());
}

#[test]
fn a_stopped_run_is_usable() {
    let place = Place::new(8, 4);
    for (epoch_to_stop, finished) in [(1, 0), (2, 1)] {
        let stop = AtomicBool::new(false);
        let config = place.config("squeezenet1_1").check().unwrap();
        let mut listener = |event: &Event<'_>| {
            if matches!(event, Event::Step { epoch, .. } if *epoch == epoch_to_stop) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let report = train(&config, Some(&place.cache()), &mut listener, &stop).unwrap();
        assert!(report.interrupted);
        assert_eq!(report.epochs.len(), finished);
        assert_eq!(report.best_epoch, finished);
        let classifier = Classifier::open(&report.run).unwrap();
        assert_eq!(classifier.classes().len(), 2);
    }
}

#[test]
fn stopping_while_features_are_computed_keeps_them() {
    let place = Place::new(8, 4);
    let stop = AtomicBool::new(false);
    let config = place.config("squeezenet1_1").check().unwrap();
    let mut listener = |event: &Event<'_>| {
        if matches!(event, Event::Features { .. }) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let error = train(&config, Some(&place.cache()), &mut listener, &stop).unwrap_err();
    assert!(matches!(error, TrainError::Stopped), "{error}");
    assert!(
        !config.output.unwrap().exists(),
        "an empty run folder is removed"
    );
    let run = place.run(place.config("squeezenet1_1")).unwrap();
    assert_eq!(run.computed, 24 - 8);
}

#[test]
fn bad_images_are_listed_before_training_or_left_out() {
    let place = Place::new(8, 4);
    for bad in ["train/blue/003.bmp", "train/red/001.bmp", "val/red/000.bmp"] {
        std::fs::write(place.path("photos").join(bad), b"not an image").unwrap();
    }
    for cache in [true, false] {
        let config = TrainConfig {
            cache: Some(cache),
            ..place.config("squeezenet1_1")
        };
        let output = config.output.clone().unwrap();
        let error = place.run(config).err().unwrap().to_string();
        for bad in ["003.bmp", "001.bmp", "000.bmp"] {
            assert!(error.contains(bad), "{error}");
        }
        assert!(!output.exists(), "an empty run folder is removed");
    }
    let config = TrainConfig {
        skip_bad_images: Some(true),
        ..place.config("squeezenet1_1")
    };
    let run = place.run(config).unwrap();
    assert_eq!(run.warnings.len(), 3, "{:?}", run.warnings);
    assert_eq!(run.computed, 21);
}

#[test]
fn a_last_batch_that_is_too_small_for_batch_norm_is_left_out_and_said() {
    // 17 images in batches of 8 leave one; 32 pixels leave one value per channel at the end of the network.
    let place = Place::new(8, 4);
    let extra = place.path("photos/train/red/extra.bmp");
    write_bmp(&extra, 1, 999);
    let config = TrainConfig {
        strategy: Some(Strategy::Full),
        epochs: Some(1),
        ..place.config("mobilenet_v2")
    };
    let run = place.run(config).unwrap();
    assert!(
        run.notes.iter().any(|n| n.contains("left out")),
        "{:?}",
        run.notes
    );
    // A batch size of 1 leaves nothing to train on.
    let config = TrainConfig {
        strategy: Some(Strategy::Full),
        batch_size: Some(1),
        ..place.config("mobilenet_v2")
    };
    let error = place.run(config).err().unwrap().to_string();
    assert!(error.contains("batch"), "{error}");
}

#[test]
fn batches_larger_than_the_data_set_are_fine() {
    let place = Place::new(3, 2);
    let config = TrainConfig {
        batch_size: Some(64),
        ..place.config("squeezenet1_1")
    };
    let run = place.run(config).unwrap();
    assert_eq!(run.report.epochs.len(), 3);
}

#[test]
fn a_run_folder_is_never_overwritten() {
    let place = Place::new(3, 2);
    let config = place.config("squeezenet1_1");
    place.run(config.clone()).unwrap();
    let error = place.run(config).err().unwrap();
    assert!(matches!(error, TrainError::RunExists { .. }), "{error}");
}

#[test]
fn a_run_can_start_from_another_runs_weights() {
    let place = Place::new(8, 4);
    let first = place.run(place.config("squeezenet1_1")).unwrap();
    let config = TrainConfig {
        weights: Some(first.report.run.to_str().unwrap().to_owned()),
        epochs: Some(1),
        ..place.config("squeezenet1_1")
    };
    let second = place.run(config).unwrap();
    assert!(second.report.epochs[0].train_loss < first.report.epochs[0].train_loss);
    assert_eq!(
        second.computed, 0,
        "the frozen part and so its features are the same"
    );
}

#[test]
fn an_automatic_split_serves_when_there_is_none() {
    let place = Place::new(10, 2);
    let config = TrainConfig {
        val: Some(FolderOrFraction::Fraction(0.3)),
        ..place.config("squeezenet1_1")
    };
    let mut validation_images = 0;
    let run = place.run_with(config, &place.cache(), |event| {
        if let Event::Started(info) = event {
            validation_images = info.validation_images;
        }
    });
    run.unwrap();
    assert_eq!(validation_images, 6);
}

#[test]
fn weights_of_another_model_are_refused() {
    let place = Place::new(3, 2);
    let first = place.run(place.config("squeezenet1_1")).unwrap();
    let config = TrainConfig {
        weights: Some(first.report.run.to_str().unwrap().to_owned()),
        ..place.config("resnet18")
    };
    let error = place.run(config).err().unwrap().to_string();
    assert!(error.contains("the model is `resnet18`"), "{error}");
}

#[test]
fn progress_of_features_is_told_per_split() {
    let place = Place::new(9, 4);
    let config = place.config("squeezenet1_1");
    let mut told = Vec::new();
    place
        .run_with(config, &place.cache(), |event| {
            if let Event::Features { split, done, total } = event {
                told.push((*split, *done, *total));
            }
        })
        .unwrap();
    let train = [8, 16, 18].map(|done| (Split::Train, done, 18));
    assert_eq!(told, [&train[..], &[(Split::Validation, 8, 8)]].concat());
}
