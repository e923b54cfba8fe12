//! From a decoded image to normalised network input, as data that can be saved, compared and hashed.
//!
//! The numbers are torchvision's (`Resize`, `CenterCrop`, `RandomResizedCrop`, `RandomHorizontalFlip`, `ToTensor`,
//! `Normalize` on Pillow images), bit for bit; only the random draws are our own. The layout is NHWC where torchvision's
//! is NCHW.

use serde::{Deserialize, Serialize};

use crate::decode::Exif;
use crate::error::{DataError, Result};
use crate::resample::Interpolation;

/// Changes whenever the same [`Transform`] would give other numbers, so that cached features are not mixed up.
const NUMBERS_VERSION: u32 = 1;

/// The largest side an image can be resized or cropped to.
const MAX_SIDE: usize = 1 << 14;

/// Mean of ImageNet's RGB channels.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's RGB channels.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// To which size an image is resized before it is cropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shorter side gets this many pixels, the longer one follows, rounded down: torchvision's `Resize(int)`.
    ShorterSide(usize),
    /// Exactly `[height, width]`, whatever the proportions: torchvision's `Resize((height, width))`.
    Exact([usize; 2]),
}

impl Resize {
    /// The size, as (width, height), that an image of `width` x `height` gets.
    pub(crate) fn size(self, width: usize, height: usize) -> (usize, usize) {
        match self {
            Resize::Exact([height, width]) => (width, height),
            Resize::ShorterSide(side) => {
                // Divided as floating point and cut off: torchvision's `int(size * long / short)`.
                let long =
                    |long: usize, short: usize| ((side * long) as f64 / short as f64) as usize;
                if width <= height {
                    (side, long(height, width))
                } else {
                    (long(width, height), side)
                }
            }
        }
    }
}

/// Which part of an image becomes the input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Geometry {
    /// `Resize`, then `CenterCrop`, black where the image is smaller than the crop: evaluation.
    CenterCrop {
        /// The size before the crop.
        resize: Resize,
        /// `[height, width]` of the crop.
        crop: [usize; 2],
    },
    /// `RandomResizedCrop`: a random box of the image, resized: training.
    RandomResizedCrop {
        /// `[height, width]` that the box is resized to.
        size: [usize; 2],
        /// Least and greatest share of the image's area.
        scale: [f64; 2],
        /// Least and greatest ratio of width to height.
        ratio: [f64; 2],
    },
}

/// Everything between an image file and the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// What to do with the EXIF orientation when the file is decoded.
    pub exif: Exif,
    /// Which part of the image, at which size.
    pub geometry: Geometry,
    /// How it is resized.
    pub interpolation: Interpolation,
    /// The probability of mirroring left and right.
    pub horizontal_flip: f64,
    /// Subtracted from each channel, on the scale 0 to 1.
    pub mean: [f32; 3],
    /// Then divided by.
    pub std: [f32; 3],
}

/// How a model wants its images: part of what is saved with the weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// `[height, width]` of the network's input.
    pub input_size: [usize; 2],
    /// The size before the centre crop in evaluation.
    pub resize: Resize,
    /// How images are resized.
    pub interpolation: Interpolation,
    /// Mean of each channel, on the scale 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
    /// What to do with the EXIF orientation.
    #[serde(default)]
    pub exif: Exif,
}

impl Default for Preprocessing {
    /// What torchvision's classic ImageNet weights want: shorter side 256, centre crop 224, bilinear.
    fn default() -> Self {
        Self {
            input_size: [224, 224],
            resize: Resize::ShorterSide(256),
            interpolation: Interpolation::Bilinear,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            exif: Exif::Apply,
        }
    }
}

impl Preprocessing {
    /// The same for another input size: the size before the crop keeps its proportion to it.
    pub fn with_input_size(self, input_size: [usize; 2]) -> Self {
        let [old, new] = [self.input_size, input_size].map(|[height, width]| height.min(width));
        let scaled = |side: usize| (side * new + old / 2).checked_div(old).unwrap_or(side);
        let resize = match self.resize {
            Resize::ShorterSide(side) => Resize::ShorterSide(scaled(side)),
            Resize::Exact(size) => Resize::Exact(size.map(scaled)),
        };
        Self {
            input_size,
            resize,
            ..self
        }
    }

    /// The size before the crop from timm's `crop_pct`: the crop is that share of it.
    pub fn with_crop_pct(self, crop_pct: f64) -> Self {
        let [height, width] = self.input_size;
        let side = (height.min(width) as f64 / crop_pct) as usize;
        Self {
            resize: Resize::ShorterSide(side),
            ..self
        }
    }
}

impl Transform {
    /// Resize, centre crop, normalise: nothing random.
    pub fn evaluation(preprocessing: &Preprocessing) -> Self {
        Self {
            exif: preprocessing.exif,
            geometry: Geometry::CenterCrop {
                resize: preprocessing.resize,
                crop: preprocessing.input_size,
            },
            interpolation: preprocessing.interpolation,
            horizontal_flip: 0.0,
            mean: preprocessing.mean,
            std: preprocessing.std,
        }
    }

    /// Random crop of 8% to 100% of the area at a ratio of 3:4 to 4:3, mirrored half of the time, normalise:
    /// torchvision's defaults.
    pub fn training(preprocessing: &Preprocessing) -> Self {
        Self {
            geometry: Geometry::RandomResizedCrop {
                size: preprocessing.input_size,
                scale: [0.08, 1.0],
                ratio: [3.0 / 4.0, 4.0 / 3.0],
            },
            horizontal_flip: 0.5,
            ..Self::evaluation(preprocessing)
        }
    }

    /// `[height, width]` of the result.
    pub fn output_size(&self) -> [usize; 2] {
        match self.geometry {
            Geometry::CenterCrop { crop, .. } => crop,
            Geometry::RandomResizedCrop { size, .. } => size,
        }
    }

    /// Values of one image in the result: height x width x 3.
    pub fn output_len(&self) -> usize {
        let [height, width] = self.output_size();
        height * width * 3
    }

    /// Whether two uses on the same image may differ.
    pub fn is_random(&self) -> bool {
        matches!(self.geometry, Geometry::RandomResizedCrop { .. })
            || (self.horizontal_flip > 0.0 && self.horizontal_flip < 1.0)
    }

    /// Checks that every value makes sense.
    ///
    /// # Errors
    /// [`DataError::InvalidConfig`] names the first that does not.
    pub fn validate(&self) -> Result<()> {
        let side = |field, [height, width]: [usize; 2]| {
            let range = 1..=MAX_SIDE;
            require(
                range.contains(&height) && range.contains(&width),
                field,
                || format!("{height}x{width}"),
                "1 to 16384 pixels each way",
            )
        };
        match self.geometry {
            Geometry::CenterCrop { resize, crop } => {
                side("input_size", crop)?;
                match resize {
                    Resize::ShorterSide(shorter) => side("resize", [shorter, shorter])?,
                    Resize::Exact(size) => side("resize", size)?,
                }
            }
            Geometry::RandomResizedCrop { size, scale, ratio } => {
                side("input_size", size)?;
                for (field, [low, high]) in [("scale", scale), ("ratio", ratio)] {
                    require(
                        low > 0.0 && low <= high && high.is_finite(),
                        field,
                        || format!("{low} to {high}"),
                        "a range of positive numbers",
                    )?;
                }
            }
        }
        require(
            (0.0..=1.0).contains(&self.horizontal_flip),
            "horizontal_flip",
            || self.horizontal_flip.to_string(),
            "a probability from 0 to 1",
        )?;
        require(
            self.mean.iter().all(|mean| mean.is_finite()),
            "mean",
            || format!("{:?}", self.mean),
            "finite numbers",
        )?;
        require(
            self.std.iter().all(|std| *std > 0.0 && std.is_finite()),
            "std",
            || format!("{:?}", self.std),
            "positive numbers",
        )
    }

    /// A text that is equal for two transforms exactly if they give the same numbers: part of a cache key.
    pub fn fingerprint(&self) -> String {
        let geometry = match self.geometry {
            Geometry::CenterCrop {
                resize,
                crop: [height, width],
            } => {
                let resize = match resize {
                    Resize::ShorterSide(side) => side.to_string(),
                    Resize::Exact([height, width]) => format!("{height}x{width}"),
                };
                format!("resize={resize};crop={height}x{width}")
            }
            Geometry::RandomResizedCrop {
                size: [height, width],
                scale,
                ratio,
            } => {
                // The shortest decimals that read back as the same numbers, so nothing is lost.
                format!("random={height}x{width};scale={scale:?};ratio={ratio:?}")
            }
        };
        let exif = match self.exif {
            Exif::Apply => "apply",
            Exif::Ignore => "ignore",
        };
        format!(
            "image/{NUMBERS_VERSION};exif={exif};{geometry};interpolation={};flip={:?};mean={:?};std={:?}",
            self.interpolation.name(),
            self.horizontal_flip,
            self.mean,
            self.std,
        )
    }
}

pub(crate) fn require(
    holds: bool,
    field: &'static str,
    got: impl FnOnce() -> String,
    expected: &'static str,
) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(DataError::InvalidConfig {
            field,
            got: got(),
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_cut_off_not_rounded() {
        assert_eq!(Resize::ShorterSide(256).size(500, 375), (341, 256));
        assert_eq!(Resize::ShorterSide(256).size(375, 500), (256, 341));
        assert_eq!(Resize::ShorterSide(256).size(300, 300), (256, 256));
        assert_eq!(Resize::Exact([7, 9]).size(300, 200), (9, 7));
    }

    #[test]
    fn fingerprints_tell_transforms_apart() {
        let base = Transform::evaluation(&Preprocessing::default());
        assert_eq!(
            base.fingerprint(),
            "image/1;exif=apply;resize=256;crop=224x224;interpolation=bilinear;flip=0.0;\
             mean=[0.485, 0.456, 0.406];std=[0.229, 0.224, 0.225]"
        );
        let others = [
            Transform {
                exif: Exif::Ignore,
                ..base
            },
            Transform {
                interpolation: Interpolation::Bicubic,
                ..base
            },
            Transform {
                mean: [0.485, 0.456, 0.406_000_1],
                ..base
            },
            Transform {
                horizontal_flip: 0.5,
                ..base
            },
            Transform::training(&Preprocessing::default()),
            Transform::evaluation(&Preprocessing::default().with_input_size([192, 192])),
        ];
        for other in others {
            assert_ne!(other.fingerprint(), base.fingerprint());
        }
    }

    #[test]
    fn another_input_size_keeps_the_proportion_of_the_crop() {
        let small = Preprocessing::default().with_input_size([112, 112]);
        assert_eq!(small.resize, Resize::ShorterSide(128));
        let timm = Preprocessing::default().with_crop_pct(0.95);
        assert_eq!(timm.resize, Resize::ShorterSide(235));
    }

    #[test]
    fn transforms_survive_being_saved() {
        for transform in [
            Transform::evaluation(&Preprocessing::default()),
            Transform::training(&Preprocessing::default()),
        ] {
            let text = serde_json::to_string(&transform).unwrap();
            assert_eq!(serde_json::from_str::<Transform>(&text).unwrap(), transform);
        }
        let text = serde_json::to_string(&Preprocessing::default()).unwrap();
        assert_eq!(
            text,
            r#"{"input_size":[224,224],"resize":{"shorter_side":256},"interpolation":"bilinear","mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225],"exif":"apply"}"#
        );
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let base = Transform::training(&Preprocessing::default());
        let wrong = [
            (
                Transform {
                    std: [0.0, 1.0, 1.0],
                    ..base
                },
                "std",
            ),
            (
                Transform {
                    mean: [f32::NAN; 3],
                    ..base
                },
                "mean",
            ),
            (
                Transform {
                    horizontal_flip: 1.5,
                    ..base
                },
                "horizontal_flip",
            ),
            (
                Transform {
                    geometry: Geometry::CenterCrop {
                        resize: Resize::ShorterSide(0),
                        crop: [8, 8],
                    },
                    ..base
                },
                "resize",
            ),
            (
                Transform {
                    geometry: Geometry::RandomResizedCrop {
                        size: [8, 8],
                        scale: [0.5, 0.1],
                        ratio: [1.0, 1.0],
                    },
                    ..base
                },
                "scale",
            ),
        ];
        for (transform, name) in wrong {
            match transform.validate() {
                Err(DataError::InvalidConfig { field, .. }) => assert_eq!(field, name),
                other => panic!("{other:?}"),
            }
        }
    }
}
