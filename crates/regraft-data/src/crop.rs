//! Which part of an image a crop takes: torchvision's `CenterCrop` and `RandomResizedCrop`.

use crate::random::SampleRng;

/// A box of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    /// Rows above it.
    pub top: usize,
    /// Columns to its left.
    pub left: usize,
    /// Its rows.
    pub height: usize,
    /// Its columns.
    pub width: usize,
}

/// Draws the box of a `RandomResizedCrop` on an image of `height` x `width`, by torchvision's `get_params`: ten tries,
/// then the largest centred box whose ratio is in range.
pub fn random_resized_crop(
    [height, width]: [usize; 2],
    scale: [f64; 2],
    ratio: [f64; 2],
    rng: &mut SampleRng,
) -> CropBox {
    let [least_ratio, greatest_ratio] = ratio;
    let area = (height * width) as f64;
    for _ in 0..10 {
        let target_area = area * rng.uniform(scale[0], scale[1]);
        let aspect_ratio = rng.uniform(least_ratio.ln(), greatest_ratio.ln()).exp();
        let box_width = (target_area * aspect_ratio).sqrt().round_ties_even() as usize;
        let box_height = (target_area / aspect_ratio).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&box_width) && (1..=height).contains(&box_height) {
            return CropBox {
                top: rng.below(height - box_height + 1),
                left: rng.below(width - box_width + 1),
                height: box_height,
                width: box_width,
            };
        }
    }
    let own_ratio = width as f64 / height as f64;
    let (box_width, box_height) = if own_ratio < least_ratio {
        (
            width,
            (width as f64 / least_ratio).round_ties_even() as usize,
        )
    } else if own_ratio > greatest_ratio {
        (
            (height as f64 * greatest_ratio).round_ties_even() as usize,
            height,
        )
    } else {
        (width, height)
    };
    // An extreme ratio may round to nothing, or to one pixel more than there are.
    let (box_width, box_height) = (box_width.clamp(1, width), box_height.clamp(1, height));
    CropBox {
        top: (height - box_height) / 2,
        left: (width - box_width) / 2,
        height: box_height,
        width: box_width,
    }
}

/// Where a centre crop takes its pixels from along one axis, and where it puts them: torchvision's `center_crop`.
pub(crate) struct Placement {
    /// First position in the image.
    pub(crate) source: usize,
    /// First position in the crop.
    pub(crate) target: usize,
    /// How many positions they share.
    pub(crate) len: usize,
}

impl Placement {
    pub(crate) fn new(size: usize, crop: usize) -> Self {
        if crop > size {
            Self {
                source: 0,
                target: (crop - size) / 2,
                len: size,
            }
        } else {
            Self {
                // Python's `round`: halves go to the even neighbour.
                source: ((size - crop) as f64 / 2.0).round_ties_even() as usize,
                target: 0,
                len: crop,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_crop_round_to_even() {
        assert_eq!(Placement::new(341, 224).source, 58);
        assert_eq!(Placement::new(227, 224).source, 2);
        assert_eq!(Placement::new(225, 224).source, 0);
        assert_eq!(Placement::new(9, 12).target, 1);
    }

    #[test]
    fn random_boxes_stay_inside_and_in_range() {
        let (scale, ratio) = ([0.08, 1.0], [0.75, 4.0 / 3.0]);
        for index in 0..2000 {
            let (height, width) = (1 + index as usize % 97, 1 + index as usize % 61);
            let mut rng = SampleRng::new(1, 2, index);
            let part = random_resized_crop([height, width], scale, ratio, &mut rng);
            assert!(part.height >= 1 && part.width >= 1, "{part:?}");
            assert!(
                part.top + part.height <= height && part.left + part.width <= width,
                "{part:?}"
            );
        }
    }

    #[test]
    fn impossible_ratios_fall_back_to_the_centre() {
        let mut rng = SampleRng::new(0, 0, 0);
        let wide = random_resized_crop([10, 1000], [0.9, 1.0], [0.75, 4.0 / 3.0], &mut rng);
        assert_eq!(
            wide,
            CropBox {
                top: 0,
                left: 493,
                height: 10,
                width: 13
            }
        );
        let tall = random_resized_crop([1000, 10], [0.9, 1.0], [0.75, 4.0 / 3.0], &mut rng);
        assert_eq!(
            tall,
            CropBox {
                top: 493,
                left: 0,
                height: 13,
                width: 10
            }
        );
    }
}
