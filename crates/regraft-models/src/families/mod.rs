//! The families of the zoo, one file each: configuration, variants, graph and rows of the registry.

mod efficientnet_lite;
mod mobilenet_v2;
mod resnet;
mod squeezenet;

use crate::entry::ModelEntry;

/// The rows of every family.
pub(crate) const FAMILIES: &[&[ModelEntry]] = &[
    efficientnet_lite::MODELS,
    mobilenet_v2::MODELS,
    resnet::MODELS,
    squeezenet::MODELS,
];

/// The family whose first row is the model that is trained when none is named.
pub(crate) const DEFAULT: &[ModelEntry] = efficientnet_lite::MODELS;
