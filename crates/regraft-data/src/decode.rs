//! Image files to upright 8-bit RGB, as Pillow's `Image.open(path).convert("RGB")` has them.
//!
//! The pixels are Pillow's, bit for bit, with two deliberate differences:
//! - the EXIF orientation is applied ([`Exif::Apply`]), which torchvision's loader does not do, so that photos taken
//!   sideways are trained and served upright; [`Exif::Ignore`] reproduces torchvision;
//! - 16-bit grey keeps its high byte, like 16-bit colour; Pillow clips it at 255, which leaves a white image.
//!
//! Like `convert("RGB")`, decoding drops alpha, looks palettes up, spreads grey over the channels, converts CMYK without
//! a colour profile, and reads the first frame of an animation. Colour profiles are not applied.
//!
//! A file that is damaged anywhere is an error: half an image is never returned.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};
use libjpeg_turbo_rs as jpeg;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::format::{Format, describe};

/// Pixels an image may have unless told otherwise: Pillow's limit (`2 * Image.MAX_IMAGE_PIXELS`), 0.5 GB of RGB.
pub const DEFAULT_MAX_PIXELS: u64 = 178_956_970;

/// Bytes an image file may have; a larger one is no photo, and would be read into memory whole.
const MAX_FILE_BYTES: u64 = 1 << 31;

/// Scans a progressive JPEG may have. Real ones have about ten; thousands of empty ones stall a decoder.
const MAX_JPEG_SCANS: usize = 500;

/// What to do with the EXIF orientation of a photo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exif {
    /// Turn the image upright, as every viewer shows it.
    #[default]
    Apply,
    /// Leave the pixels as they are stored, as torchvision's default loader does.
    Ignore,
}

/// How to decode, and when to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// What to do with the EXIF orientation.
    pub exif: Exif,
    /// Images with more pixels are refused before any memory is taken for them.
    pub max_pixels: u64,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            exif: Exif::default(),
            max_pixels: DEFAULT_MAX_PIXELS,
        }
    }
}

/// An 8-bit RGB image: `height` rows of `width` pixels of 3 bytes, no padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RgbImage {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl RgbImage {
    /// An image from its samples, or `None` unless `data` holds exactly `height * width * 3` of them, at least one pixel.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Option<Self> {
        let len = width.checked_mul(height)?.checked_mul(3)?;
        (len > 0 && len == data.len()).then_some(Self {
            width,
            height,
            data,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The samples, `height * width * 3` of them.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

/// What the file said about its image, beside the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// The format of the file, by its content.
    pub format: Format,
    /// The EXIF orientation, 1 (upright) to 8; 1 when the file has none.
    pub orientation: u8,
}

/// Why some bytes are no usable image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// The content is something else, whatever the file is called.
    #[error("not an image that can be read: it looks like {looks_like}")]
    NotAnImage {
        /// What it looks like instead.
        looks_like: &'static str,
    },
    /// The file ends before the image does.
    #[error("truncated {format}: the file ends before the image does")]
    Truncated {
        /// The format the file begins like.
        format: Format,
    },
    /// The file is damaged.
    #[error("damaged {format}: {reason}")]
    Corrupt {
        /// The format the file begins like.
        format: Format,
        /// The decoder's words.
        reason: String,
    },
    /// The file may be fine, but it uses a feature that is not read.
    #[error("unsupported {format}: {feature}")]
    Unsupported {
        /// The format of the file.
        format: Format,
        /// What is not supported.
        feature: String,
    },
    /// More pixels than allowed.
    #[error("{format} of {width}x{height} pixels is larger than the limit of {max_pixels} pixels")]
    TooLarge {
        /// The format of the file.
        format: Format,
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// The limit.
        max_pixels: u64,
    },
}

/// Decodes the bytes of an image file.
///
/// # Errors
/// When the bytes are no image, damaged in any way, or larger than the limit.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, DecodeError> {
    let mut image = RgbImage::default();
    decode_into(bytes, options, &mut image)?;
    Ok(image)
}

/// Decodes an image file.
///
/// # Errors
/// [`DataError::Io`] when it cannot be read, [`DataError::Decode`] when it is no usable image.
pub fn decode_file(path: &Path, options: &DecodeOptions) -> Result<RgbImage> {
    let mut bytes = Vec::new();
    read_file(path, &mut bytes)?;
    decode(&bytes, options).map_err(|source| DataError::Decode {
        path: path.to_path_buf(),
        source,
    })
}

/// Decodes into `image`, whose memory is used again. On an error the image is empty (0 x 0).
///
/// # Errors
/// As [`decode`].
pub fn decode_into(
    bytes: &[u8],
    options: &DecodeOptions,
    image: &mut RgbImage,
) -> Result<ImageInfo, DecodeError> {
    let result = decode_any(bytes, options, image);
    if result.is_err() {
        image.width = 0;
        image.height = 0;
        image.data.clear();
    }
    result
}

/// Reads a whole file into `bytes`, whose memory is used again.
pub(crate) fn read_file(path: &Path, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.clear();
    let mut read = || {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        if metadata.len() > MAX_FILE_BYTES {
            return Err(io::Error::new(
                ErrorKind::FileTooLarge,
                format!("{} bytes are too many for an image file", metadata.len()),
            ));
        }
        file.read_to_end(bytes)
    };
    read().map_err(|source| DataError::io(path, source))?;
    Ok(())
}

fn decode_any(
    bytes: &[u8],
    options: &DecodeOptions,
    image: &mut RgbImage,
) -> Result<ImageInfo, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    let format = Format::sniff(bytes).ok_or_else(|| DecodeError::NotAnImage {
        looks_like: describe(bytes),
    })?;
    // The bytes are hostile input to third-party decoders. A bug of theirs must cost one image, not the run.
    let decoded = catch_unwind(AssertUnwindSafe(|| match format {
        Format::Jpeg => decode_jpeg(bytes, options, image),
        _ => decode_other(bytes, format, options, image),
    }));
    let orientation = decoded.unwrap_or_else(|_| {
        Err(DecodeError::Corrupt {
            format,
            reason: "the decoder gave up".to_owned(),
        })
    })?;
    // Pillow turns TIFF upright while loading, so for TIFF this is not torchvision's to ignore.
    if options.exif == Exif::Apply || format == Format::Tiff {
        turn_upright(image, orientation);
    }
    Ok(ImageInfo {
        format,
        orientation: orientation.to_exif(),
    })
}

fn check_size(format: Format, width: u64, height: u64, max_pixels: u64) -> Result<(), DecodeError> {
    if width == 0 || height == 0 {
        return Err(DecodeError::Corrupt {
            format,
            reason: format!("the image is {width}x{height} pixels"),
        });
    }
    if width.saturating_mul(height) > max_pixels {
        return Err(DecodeError::TooLarge {
            format,
            width,
            height,
            max_pixels,
        });
    }
    Ok(())
}

/// JPEG has its own decoder because networks were trained on libjpeg-turbo's pixels: inverse DCT, chroma upsampling and
/// colour conversion are rounded exactly as there. `zune-jpeg`, which `image` uses, is off by more than one level on
/// 12% of the blue samples of a 4:2:0 photo.
fn decode_jpeg(
    bytes: &[u8],
    options: &DecodeOptions,
    image: &mut RgbImage,
) -> Result<Orientation, DecodeError> {
    let limits = jpeg::DecodeLimits {
        max_pixels: options.max_pixels,
        max_scans: MAX_JPEG_SCANS,
        ..jpeg::DecodeLimits::default()
    };
    let mut decoder = jpeg::Decoder::new_with_limits(bytes, limits).map_err(jpeg_error)?;
    let header = decoder.header();
    let (width, height) = (header.width(), usize::from(header.height));
    let (precision, components) = (header.precision, header.components.len());
    check_size(
        Format::Jpeg,
        width as u64,
        height as u64,
        options.max_pixels,
    )?;
    if precision != 8 {
        return Err(DecodeError::Unsupported {
            format: Format::Jpeg,
            feature: format!("{precision}-bit samples, expected 8-bit"),
        });
    }
    if !has_usual_sampling(&header.components) {
        return Err(DecodeError::Unsupported {
            format: Format::Jpeg,
            feature: "unusual sampling of the colour components".to_owned(),
        });
    }
    let cmyk = components == 4;
    decoder.set_output_format(if cmyk {
        jpeg::PixelFormat::Cmyk
    } else {
        jpeg::PixelFormat::Rgb
    });
    image.width = width;
    image.height = height;
    image.data.resize(width * height * 3, 0);
    let info = if cmyk {
        let mut samples = vec![0; width * height * 4];
        let info = decoder
            .decode_image_into(&mut samples)
            .map_err(jpeg_error)?;
        for (rgb, cmyk) in image.data.chunks_exact_mut(3).zip(samples.chunks_exact(4)) {
            if let (rgb, &[c, m, y, k]) = (rgb, cmyk) {
                // Adobe stores the inverse, and every CMYK JPEG is taken to be Adobe's.
                rgb.copy_from_slice(&rgb_of_cmyk([255 - c, 255 - m, 255 - y, 255 - k]));
            }
        }
        info
    } else {
        decoder
            .decode_image_into(&mut image.data)
            .map_err(jpeg_error)?
    };
    if (info.width, info.height) != (width, height) {
        return Err(DecodeError::Corrupt {
            format: Format::Jpeg,
            reason: format!("{}x{} pixels of {width}x{height}", info.width, info.height),
        });
    }
    let orientation = decoder.exif_orientation().and_then(Orientation::from_exif);
    Ok(orientation.unwrap_or(Orientation::NoTransforms))
}

/// Whether the first component has full resolution, the black of CMYK too, and the others an integral part of it. The
/// decoder loses its way in other files, which are legal but hardly exist.
fn has_usual_sampling(components: &[jpeg::ComponentInfo]) -> bool {
    let Some(first) = components.first() else {
        return false;
    };
    let full = (first.horizontal_sampling, first.vertical_sampling);
    let divides = |component: &jpeg::ComponentInfo| {
        let (h, v) = (component.horizontal_sampling, component.vertical_sampling);
        h > 0 && v > 0 && full.0 % h == 0 && full.1 % v == 0
    };
    let is_full = |component: &jpeg::ComponentInfo| {
        (component.horizontal_sampling, component.vertical_sampling) == full
    };
    components.iter().all(divides) && components.get(3).is_none_or(is_full)
}

fn jpeg_error(error: jpeg::JpegError) -> DecodeError {
    let format = Format::Jpeg;
    match error {
        jpeg::JpegError::UnexpectedEof => DecodeError::Truncated { format },
        jpeg::JpegError::Unsupported(feature) => DecodeError::Unsupported { format, feature },
        other => DecodeError::Corrupt {
            format,
            reason: other.to_string(),
        },
    }
}

/// Pillow's `cmyk2rgb`: black scales what the inks leave.
fn rgb_of_cmyk([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let white = i32::from(255 - k);
    [c, m, y].map(|ink| {
        let product = i32::from(ink) * white + 128;
        (white - (((product >> 8) + product) >> 8)).clamp(0, 255) as u8
    })
}

fn decode_other(
    bytes: &[u8],
    format: Format,
    options: &DecodeOptions,
    image: &mut RgbImage,
) -> Result<Orientation, DecodeError> {
    let fail = |error: ImageError| match error {
        ImageError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format }
        }
        ImageError::Unsupported(error) => DecodeError::Unsupported {
            format,
            feature: error.to_string(),
        },
        other => DecodeError::Corrupt {
            format,
            reason: other.to_string(),
        },
    };
    let kind = match format {
        Format::Png => image::ImageFormat::Png,
        Format::WebP => image::ImageFormat::WebP,
        Format::Bmp => image::ImageFormat::Bmp,
        Format::Tiff => image::ImageFormat::Tiff,
        Format::Gif => image::ImageFormat::Gif,
        Format::Pnm | Format::Jpeg => image::ImageFormat::Pnm,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), kind);
    // The size is checked below, before anything is decoded; this bounds what a decoder may need beside the pixels.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(options.max_pixels.saturating_mul(8).max(1 << 26));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (width, height) = decoder.dimensions();
    check_size(format, width.into(), height.into(), options.max_pixels)?;
    // A broken EXIF block is no reason to lose the image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(fail)?;
    image.width = width as usize;
    image.height = height as usize;
    store_rgb(decoded, format, image)?;
    Ok(orientation)
}

fn store_rgb(
    decoded: DynamicImage,
    format: Format,
    image: &mut RgbImage,
) -> Result<(), DecodeError> {
    let high = |sample: u16| (sample >> 8) as u8;
    let out = &mut image.data;
    match decoded {
        DynamicImage::ImageRgb8(source) => *out = source.into_raw(),
        DynamicImage::ImageLuma8(source) => collect(out, source.as_raw(), |&[l]: &[u8; 1]| [l; 3]),
        DynamicImage::ImageLumaA8(source) => collect(out, source.as_raw(), |&[l, _]| [l; 3]),
        DynamicImage::ImageRgba8(source) => {
            collect(out, source.as_raw(), |&[r, g, b, _]| [r, g, b]);
        }
        DynamicImage::ImageLuma16(source) => {
            collect(out, source.as_raw(), |&[l]: &[u16; 1]| [high(l); 3]);
        }
        DynamicImage::ImageLumaA16(source) => {
            collect(out, source.as_raw(), |&[l, _]| [high(l); 3]);
        }
        DynamicImage::ImageRgb16(source) => {
            collect(out, source.as_raw(), |pixel: &[u16; 3]| pixel.map(high));
        }
        DynamicImage::ImageRgba16(source) => {
            collect(out, source.as_raw(), |&[r, g, b, _]| [r, g, b].map(high));
        }
        other => {
            return Err(DecodeError::Unsupported {
                format,
                feature: format!("{:?} samples, expected 8 or 16 bits", other.color()),
            });
        }
    }
    Ok(())
}

fn collect<T, const N: usize>(out: &mut Vec<u8>, samples: &[T], rgb: impl Fn(&[T; N]) -> [u8; 3]) {
    out.clear();
    out.extend(samples.as_chunks::<N>().0.iter().flat_map(rgb));
}

/// Applies an EXIF orientation as Pillow's `ImageOps.exif_transpose`.
fn turn_upright(image: &mut RgbImage, orientation: Orientation) {
    use Orientation as O;
    if orientation == O::NoTransforms {
        return;
    }
    let (width, height) = (image.width, image.height);
    let transposed = matches!(
        orientation,
        O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH
    );
    let (new_width, new_height) = if transposed {
        (height, width)
    } else {
        (width, height)
    };
    let (pixels, _) = image.data.as_chunks::<3>();
    let mut turned = Vec::with_capacity(image.data.len());
    for y in 0..new_height {
        for x in 0..new_width {
            let (from_x, from_y) = match orientation {
                O::NoTransforms => (x, y),
                O::FlipHorizontal => (width - 1 - x, y),
                O::Rotate180 => (width - 1 - x, height - 1 - y),
                O::FlipVertical => (x, height - 1 - y),
                O::Rotate90FlipH => (y, x),
                O::Rotate90 => (y, height - 1 - x),
                O::Rotate270FlipH => (width - 1 - y, height - 1 - x),
                O::Rotate270 => (width - 1 - y, x),
            };
            turned.extend(pixels.get(from_y * width + from_x).unwrap_or(&[0; 3]));
        }
    }
    *image = RgbImage {
        width: new_width,
        height: new_height,
        data: turned,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_needs_all_its_samples() {
        assert!(RgbImage::new(2, 2, vec![0; 12]).is_some());
        assert!(RgbImage::new(2, 2, vec![0; 11]).is_none());
        assert!(RgbImage::new(0, 2, vec![]).is_none());
        assert!(RgbImage::new(usize::MAX, usize::MAX, vec![]).is_none());
    }

    #[test]
    fn a_failed_decode_leaves_no_old_pixels() {
        let mut image = RgbImage::new(1, 1, vec![1, 2, 3]).unwrap();
        assert_eq!(
            decode_into(b"", &DecodeOptions::default(), &mut image),
            Err(DecodeError::Empty)
        );
        assert_eq!(image, RgbImage::default());
    }
}
