//! The inputs of the trained part of a model: features of the frozen part, from the cache or computed on the way.

use crate::error::TrainError;
use crate::event::{Event, Listener};
use crate::feature_cache::{FeatureCache, RowId, RowKey, Space, SpaceKey};
use crate::frozen_part::{CutModel, CutValue, FrozenPart};
use regraft_data::{Batches, DataError, DecodeOptions, Loader, Split, find_bad_images};
use regraft_engine::{Session, Step, for_each_chunk_mut};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The labelled inputs of one split.
#[derive(Debug)]
pub(crate) struct Features {
    labels: Vec<usize>,
    values: Vec<CutValue>,
    row_len: usize,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Rows of the cache, in the order of the samples.
    Cached { space: Box<Space>, rows: Vec<RowId> },
    /// Images, decoded again in every epoch, and the frozen part if there is one.
    Computed {
        loader: Loader,
        frozen: Option<Rc<RefCell<FrozenPart>>>,
    },
}

impl Features {
    /// Number of samples.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The samples at `order` in batches of `batch_size`; `epoch` decides random augmentation.
    pub(crate) fn epoch(&self, epoch: usize, order: Vec<usize>, batch_size: usize) -> Epoch<'_> {
        let rows = match &self.source {
            Source::Cached { space, rows } => Rows::Cached { space, rows },
            Source::Computed { loader, frozen } => Rows::Computed(ComputedRows {
                batches: loader.epoch(epoch as u64, order.clone()),
                frozen: frozen.as_deref(),
                row_len: self.row_len,
                rows: Vec::new(),
                taken: 0,
            }),
        };
        Epoch {
            features: self,
            rows,
            order,
            batch_size,
            next: 0,
            labels: Vec::new(),
        }
    }
}

/// One pass over the samples.
#[derive(Debug)]
pub(crate) struct Epoch<'f> {
    features: &'f Features,
    rows: Rows<'f>,
    order: Vec<usize>,
    batch_size: usize,
    next: usize,
    labels: Vec<usize>,
}

#[derive(Debug)]
enum Rows<'f> {
    Cached { space: &'f Space, rows: &'f [RowId] },
    Computed(ComputedRows<'f>),
}

impl Epoch<'_> {
    /// Writes the inputs of the next batch into a step of `session` and gives it with the labels; `None` after the last.
    ///
    /// The step's batch size is that of the samples, or `padded` if given: then what is behind them is arbitrary.
    pub(crate) fn next_into<'s>(
        &mut self,
        session: &'s mut Session,
        padded: Option<usize>,
    ) -> Result<Option<(Step<'s>, &[usize])>, TrainError> {
        let end = (self.next + self.batch_size).min(self.order.len());
        let samples = &self.order[self.next..end];
        if samples.is_empty() {
            return Ok(None);
        }
        self.next = end;
        let features = self.features;
        self.labels.clear();
        self.labels
            .extend(samples.iter().map(|sample| features.labels[*sample]));
        let mut step = session.batch(padded.unwrap_or(samples.len()))?;
        match &mut self.rows {
            Rows::Cached { space, rows } => {
                features.write(&mut step, samples.len(), |i| space.row(rows[samples[i]]))?;
            }
            Rows::Computed(computed) => {
                let rows = computed.take(samples.len())?;
                let row_len = features.row_len;
                let row = |i: usize| &rows[i * row_len..][..row_len];
                features.write(&mut step, samples.len(), row)?;
            }
        }
        Ok(Some((step, &self.labels)))
    }
}

/// Rows computed from images on the way. Images come in the loader's batches, rows go in batches of any size.
#[derive(Debug)]
struct ComputedRows<'f> {
    batches: Batches,
    frozen: Option<&'f RefCell<FrozenPart>>,
    row_len: usize,
    rows: Vec<f32>,
    /// Values at the front of `rows` that were given away.
    taken: usize,
}

impl ComputedRows<'_> {
    /// The next `count` rows, which the order must still have.
    fn take(&mut self, count: usize) -> Result<&[f32], TrainError> {
        self.rows.drain(..self.taken);
        self.taken = count * self.row_len;
        while self.rows.len() < self.taken {
            let Some(batch) = self.batches.next_batch() else {
                unreachable!("the loader gives every sample of the order or an error");
            };
            let batch = batch?;
            match self.frozen {
                Some(frozen) => {
                    let start = self.rows.len();
                    self.rows.resize(start + batch.len() * self.row_len, 0.0);
                    let rows = &mut self.rows[start..];
                    frozen.borrow_mut().run(&batch.images, rows)?;
                }
                None => self.rows.extend_from_slice(&batch.images),
            }
        }
        Ok(&self.rows[..self.taken])
    }
}

impl Features {
    /// Writes the rows of a batch into the inputs of the trained part.
    fn write<'r>(
        &self,
        step: &mut Step<'_>,
        samples: usize,
        row: impl Fn(usize) -> &'r [f32] + Sync,
    ) -> Result<(), TrainError> {
        // Less is copied sooner than a second thread has come.
        const FOR_ONE_THREAD: usize = 1 << 16;
        for value in &self.values {
            let input = &mut step.input_mut(&value.name)?[..samples * value.len];
            let copy = |sample: usize, input: &mut [f32]| {
                input.copy_from_slice(&row(sample)[value.start..][..value.len]);
            };
            if input.len() <= FOR_ONE_THREAD {
                let rows = input.chunks_exact_mut(value.len).enumerate();
                rows.for_each(|(sample, input)| copy(sample, input));
            } else {
                for_each_chunk_mut([(input, value.len)], |sample, [input]| copy(sample, input));
            }
        }
        Ok(())
    }
}

/// The images of one split.
#[derive(Debug)]
pub(crate) struct Images {
    /// Which split.
    pub(crate) split: Split,
    /// Decodes and transforms them.
    pub(crate) loader: Loader,
    /// What each is filed under: the digest of its file.
    pub(crate) keys: Vec<RowKey>,
}

/// What turns images into features, and where features are kept.
#[derive(Debug)]
pub(crate) struct Extractor<'a> {
    /// The model, cut.
    pub(crate) cut: &'a CutModel,
    /// Its frozen part; `None` if an image's features are the image itself.
    pub(crate) frozen: Option<Rc<RefCell<FrozenPart>>>,
    /// The cache and the space for these features.
    pub(crate) cache: Option<(&'a FeatureCache, &'a SpaceKey)>,
}

impl Extractor<'_> {
    /// Makes the features of a split available: from the cache where there is one and the images are not augmented,
    /// computing and storing what it lacks. Features that cannot be cached are computed in every epoch; then all images
    /// are decoded once now, so that a bad one does not stop training halfway.
    ///
    /// # Errors
    /// When images cannot be loaded or the frozen part cannot be run; [`TrainError::Stopped`].
    pub(crate) fn features(
        &self,
        images: Images,
        listener: &mut dyn Listener,
        stop: &AtomicBool,
    ) -> Result<Features, TrainError> {
        let labels = images.loader.samples().labels().collect();
        let source = if let Some((space, rows)) = self.cached(&images, listener, stop)? {
            Source::Cached {
                space: Box::new(space),
                rows,
            }
        } else {
            check_images(&images)?;
            Source::Computed {
                frozen: self.frozen.clone(),
                loader: images.loader,
            }
        };
        Ok(Features {
            labels,
            values: self.cut.values.clone(),
            row_len: self.cut.row_len(),
            source,
        })
    }

    /// The rows of the cache; `None` if it cannot be used. A cache that fails costs time, never the run.
    fn cached(
        &self,
        images: &Images,
        listener: &mut dyn Listener,
        stop: &AtomicBool,
    ) -> Result<Option<(Space, Vec<RowId>)>, TrainError> {
        let Some((cache, key)) = self.cache else {
            return Ok(None);
        };
        if images.loader.transform().is_random() {
            return Ok(None);
        }
        let threads = regraft_engine::threads();
        let mut space = cache.space(key, self.cut.row_len());
        let mut rows = space.locate(&images.keys, threads);
        let missing: Vec<_> = (0..rows.len()).filter(|i| rows[*i].is_none()).collect();
        listener.on_event(&Event::CacheSearched {
            split: images.split,
            found: rows.len() - missing.len(),
            images: rows.len(),
        });
        if !missing.is_empty() {
            let stored = cache
                .reserve(&mut space, key, missing.len())
                .map_err(Failure::Cache);
            let stored = stored
                .and_then(|()| self.store(images, missing.clone(), &mut space, listener, stop));
            match stored {
                Ok(()) => {}
                Err(Failure::Run(error)) => return Err(error),
                Err(Failure::Cache(error)) => {
                    listener.on_event(&Event::Warning(format!(
                        "the feature cache cannot be used: {}",
                        with_causes(&error)
                    )));
                    return Ok(None);
                }
            }
            let keys: Vec<_> = missing.iter().map(|i| images.keys[*i]).collect();
            for (i, row) in missing.iter().zip(space.locate(&keys, threads)) {
                rows[*i] = row;
            }
        }
        let rows: Option<Vec<_>> = rows.into_iter().collect();
        if rows.is_none() {
            listener.on_event(&Event::Warning(
                "the feature cache cannot be used: what was stored cannot be read back".to_owned(),
            ));
        }
        Ok(rows.map(|rows| (space, rows)))
    }

    /// Computes and stores the features of the samples at `order`.
    fn store(
        &self,
        images: &Images,
        order: Vec<usize>,
        space: &mut Space,
        listener: &mut dyn Listener,
        stop: &AtomicBool,
    ) -> Result<(), Failure> {
        let (mut done, total) = (0, order.len());
        let mut rows = Vec::new();
        let mut batches = images.loader.epoch(0, order);
        while let Some(batch) = batches.next_batch() {
            let batch = batch.map_err(|error| Failure::Run(error.into()))?;
            let rows = match &self.frozen {
                Some(frozen) => {
                    rows.resize(batch.len() * self.cut.row_len(), 0.0);
                    let run = frozen.borrow_mut().run(&batch.images, &mut rows);
                    run.map_err(Failure::Run)?;
                    &rows
                }
                None => &batch.images,
            };
            let keys: Vec<_> = batch.indices.iter().map(|i| images.keys[*i]).collect();
            space.store(&keys, rows).map_err(Failure::Cache)?;
            done += batch.len();
            listener.on_event(&Event::Features {
                split: images.split,
                done,
                total,
            });
            if stop.load(Ordering::Relaxed) {
                return Err(Failure::Run(TrainError::Stopped));
            }
        }
        space.finish_writing();
        Ok(())
    }
}

/// Why features could not be stored.
enum Failure {
    /// The cache cannot be written: the run goes on without.
    Cache(TrainError),
    /// They cannot be computed.
    Run(TrainError),
}

/// Decodes all images once.
fn check_images(images: &Images) -> Result<(), TrainError> {
    let threads = regraft_engine::threads();
    let samples = images.loader.samples();
    let bad = find_bad_images(samples, &DecodeOptions::default(), threads, || {});
    if bad.is_empty() {
        return Ok(());
    }
    Err(DataError::BadImages {
        bad,
        checked: samples.len(),
    }
    .into())
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
