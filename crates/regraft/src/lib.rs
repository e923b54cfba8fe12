//! This crate is transfer learning as a library: the facade over Regraft's crates, and a tour of them. It has no code of
//! its own.
//!
//! # The short way
//! [`TrainConfig`] says what is wanted, everything else has a default; [`train::train`] leaves a run folder, and
//! [`Classifier`] is what came of it. The command line does nothing else.
//!
//! ```no_run
//! use regraft::train::{InferenceOptions, train};
//! use regraft::{Classifier, Event, Strategy, TrainConfig};
//! use std::sync::atomic::AtomicBool;
//!
//! # fn main() -> Result<(), regraft::train::TrainError> {
//! let settings = TrainConfig {
//!     data: Some("photos".into()), // one folder of images for each class
//!     model: Some("resnet18".to_owned()),
//!     strategy: Some(Strategy::Last(2)), // the head and the stage before it
//!     ..TrainConfig::default()
//! };
//! let mut show = |event: &Event<'_>| {
//!     if let Event::EpochFinished { record, .. } = event {
//!         println!("epoch {}: accuracy {:.3}", record.epoch, record.val_accuracy);
//!     }
//! };
//! let report = train(&settings.check()?, None, &mut show, &AtomicBool::new(false))?;
//!
//! let classifier = Classifier::open(&report.run)?;
//! let photos = ["cat.jpg".into(), "dog.jpg".into()];
//! for guess in classifier.predict(&photos, &InferenceOptions::default(), &mut show)? {
//!     let (class, probability) = guess.ranking[0];
//!     println!("{}: {} {probability:.2}", guess.path.display(), classifier.classes()[class]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # A model is data
//! What transfer learning does to a model are short functions from graph to graph ([`surgery`]), and all of it can be
//! looked at before anything runs:
//!
//! ```
//! use regraft::models::{BuildOptions, build};
//! use regraft::NamePattern;
//! use regraft::surgery::{self, frozen_boundary};
//!
//! let mut model = build("resnet18", &BuildOptions::default())?;
//! model.replace_head(3)?;
//! surgery::freeze(&mut model.graph, &NamePattern::new("conv1,bn1,layer[123]")?)?;
//!
//! let summary = model.graph.summary();
//! assert_eq!(summary.parameters, 11_178_051);
//! assert_eq!(summary.trainable, 8_395_267);
//! // What runs once per image, and is then cached, ends here:
//! let cut = frozen_boundary(&model.graph);
//! assert_eq!(model.graph.node(cut.nodes[0]).name, "layer3.1.relu_1");
//! assert!(summary.frozen_multiply_adds * 4 > summary.multiply_adds * 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The long way
//! The parts are public, for training that Regraft does not foresee. This is the program that people write with
//! PyTorch: load a model and its weights, freeze it, put a new head on, read a folder of images, train, measure.
//!
//! ```no_run
//! use regraft::data::{ImageFolder, Loader, LoaderConfig, Preprocessing, Transform, shuffled_indices};
//! use regraft::engine::{Mode, Precision, Session, SessionOptions};
//! use regraft::models::{BuildOptions, build};
//! use regraft::train::{AdamConfig, BatchLoss, CrossEntropy, Event, Optimizer, ParamGroup, UpdateRule, pretrained};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let data = ImageFolder::new("photos").load()?;
//! let mut model = build("resnet18", &BuildOptions::default())?;
//! model.replace_head(data.classes.len())?;
//! model.train_last_stages(1)?; // freeze everything but the head
//! let weights = Some("resnet18.safetensors");
//! let state = pretrained::load(&model, weights, 0, &mut |_: &Event<'_>| {})?.state;
//!
//! let options = SessionOptions { mode: Mode::Train, precision: Precision::F32 };
//! let mut session = Session::new(&model.graph, &state, options)?;
//! let loss = CrossEntropy::new(data.classes.len(), 0.0)?;
//! let len = session.values_and_gradients()?.0.len();
//! let groups = vec![ParamGroup { range: 0..len, lr: 1e-3, weight_decay: 0.0 }];
//! let mut optimizer = Optimizer::new(UpdateRule::Adam(AdamConfig::default()), groups, len)?;
//!
//! let transform = Transform::training(&Preprocessing::default());
//! let loader = Loader::new(Arc::new(data.train), transform, &LoaderConfig::default())?;
//! for epoch in 0..5 {
//!     let mut so_far = BatchLoss::default();
//!     let mut batches = loader.epoch(epoch, shuffled_indices(loader.samples().len(), 0, epoch));
//!     while let Some(batch) = batches.next_batch() {
//!         let batch = batch?;
//!         let mut step = session.batch(batch.len())?;
//!         step.input_mut("image")?.copy_from_slice(&batch.images);
//!         step.forward(epoch)?;
//!         let (logits, gradient) = step.output_and_gradient("logits")?;
//!         so_far += loss.loss_and_gradient(logits, &batch.labels, gradient)?;
//!         step.backward()?;
//!         let (values, gradients) = session.values_and_gradients()?;
//!         optimizer.step(values, gradients)?;
//!     }
//!     println!("epoch {epoch}: loss {:.4}, accuracy {:.4}", so_far.mean_loss(), so_far.accuracy());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The crates
//! | module | what it is |
//! |---|---|
//! | [`graph`] | models as data, shapes, surgery, summaries |
//! | [`models`] | the zoo |
//! | [`weights`] | safetensors, PyTorch files, downloads |
//! | [`data`] | folders of images to batches |
//! | [`engine`] | compiles a graph into a plan and runs it |
//! | [`train`](mod@train) | strategies, optimizers, the loop, the feature cache, run folders |
//! | [`eval`] | metrics |
#![warn(missing_docs)]

pub use regraft_data as data;
pub use regraft_engine as engine;
pub use regraft_eval as eval;
pub use regraft_graph as graph;
pub use regraft_models as models;
pub use regraft_train as train;
pub use regraft_weights as weights;

pub use regraft_data::ImageFolder;
pub use regraft_engine::Session;
pub use regraft_eval::ClassificationMetrics;
pub use regraft_graph::{Graph, NamePattern, StateDict, surgery};
pub use regraft_models::Model;
pub use regraft_train::{Classifier, Event, Listener, Strategy, TrainConfig, TrainReport};
pub use regraft_weights::Checkpoint;
