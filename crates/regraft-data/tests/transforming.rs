//! Transformed images against torchvision's, to the last bit (`fixtures/generate.py`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::float_cmp,
    reason = "the numbers are the reference's to the last bit"
)]

use std::fs;
use std::path::{Path, PathBuf};

use regraft_data::{
    CropBox, DecodeOptions, Exif, Geometry, Interpolation, Preprocessing, Resize, RgbImage,
    SampleRng, Transform, Transformer, decode, decode_file,
};
use safetensors::SafeTensors;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

fn image(name: &str) -> RgbImage {
    let bytes = fs::read(fixtures().join("images").join(name)).unwrap();
    decode(&bytes, &DecodeOptions::default()).unwrap()
}

fn apply(transform: Transform, image: &RgbImage) -> Vec<f32> {
    let mut out = vec![f32::NAN; transform.output_len()];
    Transformer::new(transform)
        .unwrap()
        .apply(image, &mut SampleRng::new(0, 0, 0), &mut out)
        .unwrap();
    out
}

/// The transform that a case of the fixture file is named after.
fn transform_of(case: &str) -> Transform {
    let parts: Vec<&str> = case.split('-').collect();
    let size = |text: &str| -> [usize; 2] {
        match text.split_once('x') {
            Some((height, width)) => [height.parse().unwrap(), width.parse().unwrap()],
            None => [text.parse().unwrap(); 2],
        }
    };
    let [kind, resize, "crop", crop, interpolation] = parts.as_slice() else {
        panic!("{case}");
    };
    Transform {
        geometry: Geometry::CenterCrop {
            resize: match *kind {
                "shorter" => Resize::ShorterSide(resize.parse().unwrap()),
                _ => Resize::Exact(size(resize)),
            },
            crop: size(crop),
        },
        interpolation: serde_json::from_value(serde_json::json!(interpolation)).unwrap(),
        ..Transform::evaluation(&Preprocessing::default())
    }
}

#[test]
fn every_case_has_torchvisions_numbers() {
    let file = fs::read(fixtures().join("transformed.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&file).unwrap();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (name, tensor) in expected.tensors() {
        let Some((source, case)) = name.split_once('|') else {
            continue;
        };
        if case.starts_with("box") {
            continue;
        }
        let transform = transform_of(case);
        let [height, width] = transform.output_size();
        assert_eq!(tensor.shape(), [height, width, 3], "{name}");
        let (got, expected) = (apply(transform, &image(source)), floats(tensor.data()));
        let differing = got.iter().zip(&expected).filter(|(a, b)| a != b).count();
        if differing > 0 {
            wrong.push(format!(
                "{name}: {differing} of {} values differ",
                expected.len()
            ));
        }
        checked += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(checked, 16);
}

#[test]
fn a_box_is_resized_and_mirrored_as_by_torchvision() {
    let file = fs::read(fixtures().join("transformed.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&file).unwrap();
    let transform = Transform {
        geometry: Geometry::RandomResizedCrop {
            size: [16, 18],
            scale: [0.5, 1.0],
            ratio: [1.0, 1.0],
        },
        ..Transform::evaluation(&Preprocessing::default())
    };
    let mut transformer = Transformer::new(transform).unwrap();
    let part = CropBox {
        top: 2,
        left: 3,
        height: 9,
        width: 11,
    };
    for source in ["jpeg_420.jpg", "png_rgb.png"] {
        let mut out = vec![f32::NAN; transform.output_len()];
        transformer
            .apply_box(&image(source), part, true, &mut out)
            .unwrap();
        let expected = expected
            .tensor(&format!("{source}|box-2-3-9-11-16x18-flipped"))
            .unwrap();
        assert!(out == floats(expected.data()), "{source}");
    }
    let outside = CropBox {
        left: usize::MAX,
        ..part
    };
    let mut out = vec![0.0; transform.output_len()];
    assert!(
        transformer
            .apply_box(&image("png_rgb.png"), outside, true, &mut out)
            .is_err()
    );
}

#[test]
fn all_256_levels_are_normalised_alike() {
    let file = fs::read(fixtures().join("transformed.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&file).unwrap();
    let ramp: Vec<u8> = (0..=255u8).flat_map(|level| [level; 3]).collect();
    let ramp = RgbImage::new(256, 1, ramp).unwrap();
    let transform = Transform {
        geometry: Geometry::CenterCrop {
            resize: Resize::Exact([1, 256]),
            crop: [1, 256],
        },
        ..Transform::evaluation(&Preprocessing::default())
    };
    assert_eq!(
        apply(transform, &ramp),
        floats(expected.tensor("levels").unwrap().data())
    );
}

#[test]
fn a_mirrored_image_is_the_image_mirrored() {
    let plain = Transform {
        geometry: Geometry::CenterCrop {
            resize: Resize::ShorterSide(9),
            crop: [12, 15],
        },
        ..Transform::evaluation(&Preprocessing::default())
    };
    let mirrored = Transform {
        horizontal_flip: 1.0,
        ..plain
    };
    let source = image("png_rgb.png");
    let (plain, mirrored) = (apply(plain, &source), apply(mirrored, &source));
    for (row, mirrored) in plain.chunks(15 * 3).zip(mirrored.chunks(15 * 3)) {
        let back: Vec<f32> = mirrored.chunks(3).rev().flatten().copied().collect();
        assert_eq!(row, back);
    }
}

#[test]
fn augmentation_depends_on_the_seed_epoch_and_sample_only() {
    let preprocessing = Preprocessing::default().with_input_size([16, 16]);
    let transform = Transform::training(&preprocessing);
    let source = image("jpeg_420.jpg");
    let draw = |transformer: &mut Transformer, seed, epoch, index| {
        let mut out = vec![0.0; transform.output_len()];
        transformer
            .apply(&source, &mut SampleRng::new(seed, epoch, index), &mut out)
            .unwrap();
        out
    };
    let mut first = Transformer::new(transform).unwrap();
    let mut second = Transformer::new(transform).unwrap();
    let reference = draw(&mut first, 1, 2, 3);
    draw(&mut second, 9, 9, 9);
    assert_eq!(draw(&mut second, 1, 2, 3), reference);
    assert_ne!(draw(&mut second, 2, 2, 3), reference);
    assert_ne!(draw(&mut second, 1, 3, 3), reference);
    assert_ne!(draw(&mut second, 1, 2, 4), reference);
}

#[test]
fn a_buffer_of_the_wrong_size_is_refused() {
    let transform = Transform::evaluation(&Preprocessing::default());
    let error = Transformer::new(transform)
        .unwrap()
        .apply(
            &image("png_rgb.png"),
            &mut SampleRng::new(0, 0, 0),
            &mut [0.0; 5],
        )
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "output buffer has 5 values, expected 150528"
    );
}

#[test]
fn extreme_proportions_cost_no_more_than_the_crop() {
    for (width, height) in [(1, 60_000), (60_000, 1), (1, 1)] {
        let thin = RgbImage::new(width, height, vec![7; width * height * 3]).unwrap();
        for interpolation in [
            Interpolation::Bilinear,
            Interpolation::Lanczos,
            Interpolation::Nearest,
        ] {
            let transform = Transform {
                interpolation,
                mean: [0.0; 3],
                std: [1.0; 3],
                ..Transform::evaluation(&Preprocessing::default())
            };
            assert!(
                apply(transform, &thin)
                    .iter()
                    .all(|value| *value == 7.0 / 255.0)
            );
        }
    }
}

/// Real photos: a sparse grid of each, to the last bit.
#[test]
fn real_photos_have_torchvisions_pixels() {
    let shared = std::env::var_os("REGRAFT_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let root = shared.join("data/hymenoptera");
    if !root.is_dir() {
        eprintln!("skipped: no photos in `{}`", root.display());
        return;
    }
    let file = fs::read(fixtures().join("photos.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&file).unwrap();
    let transform = Transform {
        mean: [0.0; 3],
        std: [1.0; 3],
        ..Transform::evaluation(&Preprocessing::default())
    };
    let options = DecodeOptions {
        exif: Exif::Ignore,
        ..DecodeOptions::default()
    };
    for (name, grid) in expected.tensors() {
        let photo = decode_file(&root.join(&name), &options).unwrap();
        let out = apply(transform, &photo);
        let mut grid = grid.data().chunks(3);
        for y in (3..224).step_by(16) {
            for x in (5..224).step_by(16) {
                let got = &out[(y * 224 + x) * 3..][..3];
                let got: Vec<u8> = got
                    .iter()
                    .map(|value| (value * 255.0).round() as u8)
                    .collect();
                assert_eq!(got, grid.next().unwrap(), "{name} at row {y}, column {x}");
            }
        }
    }
}
