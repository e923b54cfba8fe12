//! Batches of network inputs, made by several threads.
//!
//! Two ways to share the cores with a consumer that computes on all of them:
//! - `prefetch = 0`: [`Batches::next_batch`] itself decodes, on `threads` threads, and returns. Decoding and computing
//!   take turns on all cores and never fight. Best when the consumer computes on the same cores.
//! - `prefetch = n`: a thread of its own keeps up to `n` batches ready while the consumer computes. Best when the
//!   consumer computes elsewhere, on a GPU, or waits for something.
//!
//! Batches come in the order asked for and hold the same numbers whatever the number of threads. Their memory is used
//! again.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::decode::DEFAULT_MAX_PIXELS;
use crate::error::{DataError, Result};
use crate::parallel::{available_threads, for_each};
use crate::random::SampleRng;
use crate::reader::ImageReader;
use crate::samples::Samples;
use crate::transform::Transform;

/// How a [`Loader`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Images in a batch; the last one of an epoch may have fewer.
    pub batch_size: usize,
    /// Threads that decode.
    pub threads: usize,
    /// Batches made ahead, see the [module](crate::loader).
    pub prefetch: usize,
    /// The seed of random augmentation.
    pub seed: u64,
    /// Images with more pixels are refused.
    pub max_pixels: u64,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 32,
            threads: available_threads(),
            prefetch: 0,
            seed: 0,
            max_pixels: DEFAULT_MAX_PIXELS,
        }
    }
}

/// Network inputs with their labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The inputs, NHWC: `len` x height x width x 3.
    pub images: Vec<f32>,
    /// The class index of each.
    pub labels: Vec<usize>,
    /// The index of each in the loader's samples.
    pub indices: Vec<usize>,
}

impl Batch {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// Makes batches of a list of samples.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    prefetch: usize,
}

#[derive(Debug)]
struct Shared {
    samples: Arc<Samples>,
    transform: Transform,
    batch_size: usize,
    seed: u64,
    /// One for each thread; locked by whoever fills a batch.
    readers: Mutex<Vec<ImageReader>>,
}

impl Loader {
    /// A loader of `samples`.
    ///
    /// # Errors
    /// [`DataError::InvalidConfig`] when the batch size or the number of threads is 0, or the transform makes no sense.
    pub fn new(samples: Arc<Samples>, transform: Transform, config: &LoaderConfig) -> Result<Self> {
        for (field, value) in [
            ("batch_size", config.batch_size),
            ("threads", config.threads),
        ] {
            if value == 0 {
                return Err(DataError::InvalidConfig {
                    field,
                    got: value.to_string(),
                    expected: "at least 1",
                });
            }
        }
        let readers = (0..config.threads)
            .map(|_| ImageReader::new(transform, config.max_pixels))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            shared: Arc::new(Shared {
                samples,
                transform,
                batch_size: config.batch_size,
                seed: config.seed,
                readers: Mutex::new(readers),
            }),
            prefetch: config.prefetch,
        })
    }

    /// The samples that are loaded.
    pub fn samples(&self) -> &Arc<Samples> {
        &self.shared.samples
    }

    /// The transform that is applied.
    pub fn transform(&self) -> &Transform {
        &self.shared.transform
    }

    /// All samples once, in order.
    pub fn in_order(&self) -> Batches {
        self.epoch(0, (0..self.shared.samples.len()).collect())
    }

    /// The samples at `order`, in that order ([`shuffled_indices`](crate::shuffled_indices) makes one). `epoch` and the
    /// seed decide random augmentation.
    pub fn epoch(&self, epoch: u64, order: Vec<usize>) -> Batches {
        Batches {
            remaining: order.len().div_ceil(self.shared.batch_size),
            batch: Batch::default(),
            source: self.source(epoch, order),
        }
    }

    fn source(&self, epoch: u64, order: Vec<usize>) -> Source {
        let shared = Arc::clone(&self.shared);
        if self.prefetch == 0 {
            return Source::Here {
                shared,
                epoch,
                order,
                next: 0,
            };
        }
        let (to_consumer, batches) = sync_channel(self.prefetch - 1);
        let (give_back, used) = channel();
        let work = {
            let (shared, order) = (Arc::clone(&shared), order.clone());
            move || shared.produce(epoch, &order, &to_consumer, &used)
        };
        match Builder::new().name("regraft-data".to_owned()).spawn(work) {
            Ok(thread) => Source::Ahead {
                batches: Some(batches),
                give_back,
                thread: Some(thread),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot start the prefetch thread, loading without it");
                Source::Here {
                    shared,
                    epoch,
                    order,
                    next: 0,
                }
            }
        }
    }
}

impl Shared {
    /// Fills `batch` with the samples at `indices`.
    fn fill(&self, epoch: u64, indices: &[usize], batch: &mut Batch) -> Result<()> {
        let image_len = self.transform.output_len();
        batch.images.resize(indices.len() * image_len, 0.0);
        batch.indices.clear();
        batch.indices.extend_from_slice(indices);
        batch.labels.clear();
        for &index in indices {
            batch.labels.push(self.samples.try_get(index)?.label);
        }
        // Of several bad images the first is reported, whichever thread came across it.
        let failure: Mutex<Option<(usize, DataError)>> = Mutex::new(None);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let work = indices
            .iter()
            .zip(batch.images.chunks_exact_mut(image_len))
            .enumerate();
        for_each(work, &mut readers, |reader, (position, (&index, out))| {
            let mut rng = SampleRng::new(self.seed, epoch, index as u64);
            let loaded = self
                .samples
                .try_get(index)
                .and_then(|sample| reader.load_into(&sample.path, &mut rng, out));
            if let Err(error) = loaded {
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                if failure.as_ref().is_none_or(|(first, _)| position < *first) {
                    *failure = Some((position, error));
                }
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Fills batches until the order is through, the consumer is gone, or an image is bad.
    fn produce(
        &self,
        epoch: u64,
        order: &[usize],
        to_consumer: &SyncSender<Result<Batch>>,
        used: &Receiver<Batch>,
    ) {
        for indices in order.chunks(self.batch_size) {
            let mut batch = used.try_recv().unwrap_or_default();
            let filled = self.fill(epoch, indices, &mut batch).map(|()| batch);
            let failed = filled.is_err();
            if to_consumer.send(filled).is_err() || failed {
                return;
            }
        }
    }
}

/// The batches of one epoch.
#[derive(Debug)]
pub struct Batches {
    source: Source,
    batch: Batch,
    remaining: usize,
}

#[derive(Debug)]
enum Source {
    Here {
        shared: Arc<Shared>,
        epoch: u64,
        order: Vec<usize>,
        next: usize,
    },
    Ahead {
        /// `None` once the consumer has gone.
        batches: Option<Receiver<Result<Batch>>>,
        give_back: Sender<Batch>,
        thread: Option<JoinHandle<()>>,
    },
}

impl Batches {
    /// How many batches are left.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// The next batch, or `None` after the last. It stays valid until the next call.
    ///
    /// # Errors
    /// [`DataError::Io`] or [`DataError::Decode`] naming the first image of the batch that cannot be loaded. The epoch
    /// ends there.
    pub fn next_batch(&mut self) -> Option<Result<&Batch>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let filled = match &mut self.source {
            Source::Here {
                shared,
                epoch,
                order,
                next,
            } => {
                let start = *next;
                *next = (start + shared.batch_size).min(order.len());
                let indices = order.get(start..*next).unwrap_or_default();
                shared.fill(*epoch, indices, &mut self.batch)
            }
            Source::Ahead {
                batches, give_back, ..
            } => {
                // The producer may be through already; then nobody needs the memory.
                let _ = give_back.send(std::mem::take(&mut self.batch));
                match batches.as_ref()?.recv() {
                    Ok(received) => received.map(|batch| self.batch = batch),
                    // The producer ended early: it reported an error before.
                    Err(_) => return None,
                }
            }
        };
        if let Err(error) = filled {
            self.remaining = 0;
            return Some(Err(error));
        }
        Some(Ok(&self.batch))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Source::Ahead {
            batches, thread, ..
        } = self
        {
            // The producer notices that the channel is closed and ends.
            drop(batches.take());
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}
