//! What an image must look like for a model: data, executed elsewhere.

use serde::{Deserialize, Serialize};

/// How pixels between pixels are computed when an image is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Interpolation {
    /// Linear along both axes, antialiased when shrinking, as Pillow's `BILINEAR`.
    Bilinear,
    /// Cubic along both axes (`a = -0.5`), antialiased when shrinking, as Pillow's `BICUBIC`.
    Bicubic,
}

/// Evaluation preprocessing in the vocabulary of timm's `pretrained_cfg`: resize the shorter side to
/// [`resize_size`](Self::resize_size), cut [`input_size`](Self::input_size) out of the centre, scale to `[0, 1]`,
/// subtract `mean`, divide by `std`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Height and width of the network's input, in pixels.
    pub input_size: [usize; 2],
    /// How the image is resized.
    pub interpolation: Interpolation,
    /// Share of the resized shorter side that the crop keeps.
    pub crop_pct: f32,
    /// Mean of red, green and blue, of values in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue.
    pub std: [f32; 3],
}

impl Preprocessing {
    /// torchvision's classic: shorter side to 256, 224 from the centre, ImageNet statistics.
    pub const IMAGENET: Self = Self {
        input_size: [224, 224],
        interpolation: Interpolation::Bilinear,
        crop_pct: 0.875,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };

    /// torchvision's second recipe (`IMAGENET1K_V2`): shorter side to 232.
    pub const TORCHVISION_V2: Self = Self::IMAGENET.crop_pct(0.965);

    /// The shorter side of the resized image in pixels: `floor(input_size / crop_pct)`, as timm. For an input that is no
    /// square its longer side counts, so that the crop always fits.
    pub fn resize_size(&self) -> usize {
        let side = self.input_size[0].max(self.input_size[1]);
        // The slack keeps 224 / 0.875 from becoming 255 by the rounding of the quotient.
        ((side as f64 / f64::from(self.crop_pct)) + 1e-4).floor() as usize
    }

    /// The same for another input size; the crop keeps its share.
    pub const fn with_input_size(self, input_size: [usize; 2]) -> Self {
        Self { input_size, ..self }
    }

    /// The same with another share kept by the crop.
    pub(crate) const fn crop_pct(self, crop_pct: f32) -> Self {
        Self { crop_pct, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resizing_leaves_the_margin_of_the_published_recipes() {
        assert_eq!(Preprocessing::IMAGENET.resize_size(), 256);
        assert_eq!(Preprocessing::IMAGENET.crop_pct(0.965).resize_size(), 232);
        let small = Preprocessing::IMAGENET.with_input_size([128, 96]);
        assert_eq!(small.resize_size(), 146);
        let whole = Preprocessing::IMAGENET.crop_pct(1.0);
        assert_eq!(whole.resize_size(), 224);
    }
}
