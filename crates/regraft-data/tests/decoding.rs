//! Decoded pixels against Pillow's, for one small file of every kind (`fixtures/generate.py`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use regraft_data::decode::decode_into;
use regraft_data::{DecodeError, DecodeOptions, Exif, Format, RgbImage, decode};
use safetensors::SafeTensors;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn options(exif: Exif) -> DecodeOptions {
    DecodeOptions {
        exif,
        ..DecodeOptions::default()
    }
}

/// What differs between an image and the expected pixels, if anything.
fn difference(image: &RgbImage, expected: &safetensors::tensor::TensorView) -> Option<String> {
    let shape = [image.height(), image.width(), 3];
    if shape != expected.shape() {
        return Some(format!("shape {shape:?}, expected {:?}", expected.shape()));
    }
    let samples = image.data().iter().zip(expected.data());
    let differing: Vec<u8> = samples
        .map(|(a, b)| a.abs_diff(*b))
        .filter(|d| *d > 0)
        .collect();
    let largest = differing.iter().max()?;
    Some(format!(
        "{} of {} samples differ, by {largest} at most",
        differing.len(),
        image.data().len()
    ))
}

#[test]
fn every_format_has_pillows_pixels() {
    let expected = fs::read(fixtures().join("decoded.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (name, pixels) in expected.tensors() {
        let (file, exif) = match name.strip_prefix("upright/") {
            Some(file) => (file, Exif::Apply),
            None => (name.as_str(), Exif::Ignore),
        };
        let bytes = fs::read(fixtures().join("images").join(file)).unwrap();
        let difference = match decode(&bytes, &options(exif)) {
            Ok(image) => difference(&image, &pixels),
            Err(error) => Some(error.to_string()),
        };
        wrong.extend(difference.map(|difference| format!("{name}: {difference}")));
        checked += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let files = fs::read_dir(fixtures().join("images")).unwrap().count();
    assert!(checked > files, "{checked} checks for {files} files");
}

#[test]
fn the_orientation_is_reported_and_applied_unless_ignored() {
    for orientation in 1..=8 {
        let bytes = fs::read(fixtures().join(format!("images/exif_{orientation}.jpg"))).unwrap();
        let mut image = RgbImage::default();
        let info = decode_into(&bytes, &options(Exif::Apply), &mut image).unwrap();
        assert_eq!(info.orientation, orientation);
        assert_eq!(info.format, Format::Jpeg);
        let expected = if orientation >= 5 { (13, 19) } else { (19, 13) };
        assert_eq!((image.width(), image.height()), expected);
        decode_into(&bytes, &options(Exif::Ignore), &mut image).unwrap();
        assert_eq!((image.width(), image.height()), (19, 13));
    }
}

#[test]
fn memory_is_used_again_for_images_of_another_size() {
    let mut image = RgbImage::default();
    let options = DecodeOptions::default();
    let read = |name: &str| fs::read(fixtures().join("images").join(name)).unwrap();
    for name in [
        "jpeg_420.jpg",
        "jpeg_one_pixel.jpg",
        "png_rgb.png",
        "jpeg_444.jpg",
    ] {
        decode_into(&read(name), &options, &mut image).unwrap();
        assert_eq!(image, decode(&read(name), &options).unwrap(), "{name}");
    }
}

#[test]
fn a_file_that_is_cut_off_is_an_error() {
    for entry in fs::read_dir(fixtures().join("images")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        // The first frame of an animation is complete when the second one is cut.
        let parts: &[usize] = if path.to_string_lossy().contains("animated") {
            &[25]
        } else {
            &[50, 90]
        };
        for part in parts {
            let keep = bytes.len() * part / 100;
            let cut = &bytes[..keep];
            let result = decode(cut, &DecodeOptions::default());
            assert!(
                result.is_err(),
                "{} cut to {keep} of {} bytes",
                path.display(),
                bytes.len()
            );
        }
    }
}

#[test]
fn a_jpeg_cut_anywhere_in_its_pixels_is_truncated() {
    for name in ["jpeg_420.jpg", "jpeg_progressive.jpg", "jpeg_restart.jpg"] {
        let bytes = fs::read(fixtures().join("images").join(name)).unwrap();
        // The end marker and the padding of the last byte may be missing; everything before counts.
        for keep in (bytes.len() - 300..bytes.len() - 8).step_by(7) {
            let error = decode(&bytes[..keep], &DecodeOptions::default()).unwrap_err();
            assert!(
                matches!(
                    error,
                    DecodeError::Truncated { .. } | DecodeError::Corrupt { .. }
                ),
                "{name} cut to {keep}: {error}"
            );
        }
    }
}

#[test]
fn content_counts_and_not_the_name() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "the file is empty"),
        (
            b"just some notes",
            "not an image that can be read: it looks like text",
        ),
        (
            b"<!DOCTYPE html>",
            "not an image that can be read: it looks like an HTML page",
        ),
        (
            b"\xff\xd8\xff",
            "truncated JPEG: the file ends before the image does",
        ),
    ];
    for (bytes, message) in cases {
        let error = decode(bytes, &DecodeOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn images_larger_than_the_limit_are_refused_before_decoding() {
    let bytes = fs::read(fixtures().join("images/png_rgb.png")).unwrap();
    let limit = DecodeOptions {
        max_pixels: 19 * 13 - 1,
        ..DecodeOptions::default()
    };
    let error = decode(&bytes, &limit).unwrap_err();
    assert_eq!(
        error.to_string(),
        "PNG of 19x13 pixels is larger than the limit of 246 pixels"
    );
    // A header that claims 65500 x 65500 pixels in front of nothing.
    let mut bomb = fs::read(fixtures().join("images/jpeg_444.jpg")).unwrap();
    let frame = bomb
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    bomb[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    let error = decode(&bomb, &DecodeOptions::default()).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
}

#[test]
fn deep_jpegs_are_refused_by_name() {
    let mut deep = fs::read(fixtures().join("images/jpeg_444.jpg")).unwrap();
    let frame = deep
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    deep[frame + 4] = 12;
    let error = decode(&deep, &DecodeOptions::default()).unwrap_err();
    assert!(matches!(error, DecodeError::Unsupported { .. }), "{error}");
}

#[test]
fn cmyk_with_black_of_lower_resolution_is_refused_by_name() {
    let mut image = fs::read(fixtures().join("images/jpeg_cmyk.jpg")).unwrap();
    let frame = image
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    image[frame + 11] = 0x22;
    let error = decode(&image, &DecodeOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unsupported JPEG: unusual sampling of the colour components"
    );
}
