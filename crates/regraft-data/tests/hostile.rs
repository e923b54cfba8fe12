//! Damaged and malicious image files: an error or an image, never a panic, never unbounded memory.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use regraft_data::{DecodeOptions, Preprocessing, SampleRng, Transform, Transformer, decode};

static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
});

/// Decodes what may be anything; whatever decodes must be consistent and must transform.
fn survive(bytes: &[u8]) {
    let options = DecodeOptions {
        max_pixels: 1 << 20,
        ..DecodeOptions::default()
    };
    let Ok(image) = decode(bytes, &options) else {
        return;
    };
    assert_eq!(image.data().len(), image.width() * image.height() * 3);
    assert!(image.width() * image.height() <= 1 << 20);
    let preprocessing = Preprocessing::default().with_input_size([16, 16]);
    let transform = Transform::training(&preprocessing);
    let mut out = vec![0.0; transform.output_len()];
    let mut transformer = Transformer::new(transform).unwrap();
    transformer
        .apply(&image, &mut SampleRng::new(0, 0, 0), &mut out)
        .unwrap();
    assert!(out.iter().all(|value| value.is_finite()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn files_with_changed_bytes_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = which.get(IMAGES.as_slice()).clone();
        for (position, value) in changes {
            // Headers are where the interesting damage is.
            let len = bytes.len();
            let reach = if value & 1 == 0 { len } else { len.min(200) };
            bytes[position.index(reach)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        survive(&bytes);
    }

    #[test]
    fn noise_behind_any_signature_never_panics(
        which in any::<prop::sample::Index>(),
        keep in 2usize..40,
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = which.get(IMAGES.as_slice());
        let mut hostile = bytes[..keep.min(bytes.len())].to_vec();
        hostile.extend(noise);
        survive(&hostile);
    }
}

#[test]
fn a_small_file_that_claims_to_be_huge_is_refused() {
    // A PNG header of 100000 x 100000 pixels, then nothing.
    let mut png =
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x01\x86\xa0\0\x01\x86\xa0\x08\x02\0\0\0".to_vec();
    png.extend([0x7d, 0x6d, 0x0c, 0x9b]);
    let bmp = {
        let mut bytes = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        bytes.extend(100_000i32.to_le_bytes());
        bytes.extend(100_000i32.to_le_bytes());
        bytes.extend([1, 0, 24, 0]);
        bytes.extend([0; 24]);
        bytes
    };
    let ppm = b"P6\n100000 100000\n255\n".to_vec();
    for bytes in [png, bmp, ppm] {
        assert!(decode(&bytes, &DecodeOptions::default()).is_err());
    }
}

#[test]
fn a_progressive_jpeg_of_countless_scans_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let image = fs::read(folder.join("jpeg_progressive.jpg")).unwrap();
    let start = image
        .windows(2)
        .position(|pair| pair == [0xff, 0xda])
        .unwrap();
    let header_len = usize::from(u16::from_be_bytes([image[start + 2], image[start + 3]]));
    let scan = &image[start..start + 2 + header_len];
    let mut bomb = image[..start].to_vec();
    for _ in 0..100_000 {
        bomb.extend_from_slice(scan);
    }
    bomb.extend([0xff, 0xd9]);
    let started = std::time::Instant::now();
    assert!(decode(&bomb, &DecodeOptions::default()).is_err());
    assert!(started.elapsed().as_secs() < 5);
}
