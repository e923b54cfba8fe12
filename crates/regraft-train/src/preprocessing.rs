//! What a model asks of its images, in the terms of what carries it out.

use regraft_data::{Exif, Interpolation, Preprocessing, Resize};

/// The zoo's description as a recipe for the image loader.
pub(crate) fn to_data(preprocessing: &regraft_models::Preprocessing) -> Preprocessing {
    Preprocessing {
        input_size: preprocessing.input_size,
        resize: Resize::ShorterSide(preprocessing.resize_size()),
        interpolation: match preprocessing.interpolation {
            regraft_models::Interpolation::Bicubic => Interpolation::Bicubic,
            _ => Interpolation::Bilinear,
        },
        mean: preprocessing.mean,
        std: preprocessing.std,
        exif: Exif::Apply,
    }
}
