//! Decodes every image once, so that bad ones are known before training starts.

use crate::decode::{DecodeOptions, RgbImage, decode_into, read_file};
use crate::error::{BadImage, DataError, Result};
use crate::image_folder::Dataset;
use crate::parallel::for_each;
use crate::samples::Samples;

/// Decodes all samples completely on `threads` threads and returns those that cannot be used, in order. Headers alone
/// would not show that a file was cut off.
///
/// `on_image` is called after each image, from any thread: a progress bar.
pub fn find_bad_images(
    samples: &Samples,
    options: &DecodeOptions,
    threads: usize,
    on_image: impl Fn() + Sync,
) -> Vec<BadImage> {
    let mut reasons: Vec<Option<BadImage>> = vec![None; samples.len()];
    let mut scratch: Vec<(Vec<u8>, RgbImage)> = vec![Default::default(); threads.max(1)];
    for_each(
        reasons.iter_mut().enumerate(),
        &mut scratch,
        |(bytes, image), (index, bad)| {
            if let Some(sample) = samples.get(index) {
                let decoded = read_file(&sample.path, bytes).and_then(|()| {
                    decode_into(bytes, options, image).map_err(|source| DataError::Decode {
                        path: sample.path.clone(),
                        source,
                    })
                });
                *bad = decoded.err().map(|error| BadImage {
                    index,
                    reason: reason(&error),
                    path: sample.path,
                });
            }
            on_image();
        },
    );
    reasons.into_iter().flatten().collect()
}

/// The innermost words of an error about a file whose name is shown beside them.
pub(crate) fn reason(error: &DataError) -> String {
    match error {
        DataError::Io { source, .. } => source.to_string(),
        DataError::Decode { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// Checks every image of the training and validation splits.
///
/// # Errors
/// [`DataError::BadImages`] with all of them, when there is one.
pub fn verify(
    dataset: &Dataset,
    options: &DecodeOptions,
    threads: usize,
    on_image: impl Fn() + Sync,
) -> Result<()> {
    let mut bad = find_bad_images(&dataset.train, options, threads, &on_image);
    bad.extend(find_bad_images(
        &dataset.validation,
        options,
        threads,
        &on_image,
    ));
    if bad.is_empty() {
        Ok(())
    } else {
        Err(DataError::BadImages {
            bad,
            checked: dataset.train.len() + dataset.validation.len(),
        })
    }
}

/// Leaves bad images out of the training and validation splits and returns them: `--skip-bad-images`.
///
/// # Errors
/// As [`Dataset::check_classes`], when too few are left.
pub fn skip_bad_images(
    dataset: &mut Dataset,
    options: &DecodeOptions,
    threads: usize,
    on_image: impl Fn() + Sync,
) -> Result<Vec<BadImage>> {
    let mut skipped = Vec::new();
    for samples in [&mut dataset.train, &mut dataset.validation] {
        let bad = find_bad_images(samples, options, threads, &on_image);
        *samples = samples.without(&bad);
        skipped.extend(bad);
    }
    dataset.check_classes()?;
    Ok(skipped)
}
