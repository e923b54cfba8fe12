//! The demo's data set: product photos of Fashion-MNIST, as an image folder.
//!
//! Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
//! Learning Algorithms" (2017): photos of an online shop, 28 x 28 grey pixels, 10 classes, MIT
//! licence, packaged by Debian. The demo takes the first few of each class.

use std::fs::{self, File};
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

use super::fetch::Artifact;
use crate::process::stdout_of;

/// The package holds 60 000 photos to train with and 10 000 others to test with.
const PACKAGE: Artifact<'static> = Artifact {
    name: "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    addresses: &[
        "https://deb.debian.org/debian/pool/main/d/dataset-fashion-mnist/\
         dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
        // For machines without certificates; the digest is what is trusted.
        "http://deb.debian.org/debian/pool/main/d/dataset-fashion-mnist/\
         dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
        // Debian's archive of packages that the mirrors no longer have.
        "https://snapshot.debian.org/archive/debian/20250520T000000Z/pool/main/d/\
         dataset-fashion-mnist/dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    ],
    size: 30_900_652,
    sha256: "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
};

const UNPACK: &str = include_str!("unpack_deb.py");

/// Names of the labels 0 to 9.
const CLASSES: [&str; 10] = [
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
];

/// Photos of each class to train with and to validate with.
const TRAIN_PER_CLASS: usize = 100;
const VAL_PER_CLASS: usize = 50;

/// The image folder, made in `cache` unless it is there: `{train,val}/<class>/<index>.png`.
pub(crate) fn prepare(cache: &Path) -> Result<PathBuf> {
    let data = cache.join(format!("fashion-mnist-{TRAIN_PER_CLASS}-{VAL_PER_CLASS}"));
    if data.is_dir() {
        return Ok(data);
    }
    let package = PACKAGE.fetch(cache)?;

    // Made under another name, so that a folder with the right name is always whole.
    let partial = cache.join(format!("fashion-mnist.partial-{}", std::process::id()));
    let idx = partial.join("idx");
    fs::create_dir_all(&idx)?;
    let splits = [
        ("train", "train", TRAIN_PER_CLASS),
        ("val", "t10k", VAL_PER_CLASS),
    ];
    let mut unpack = Command::new("python3");
    unpack.args(["-c", UNPACK]).arg(&package).arg(&idx);
    for (_, prefix, _) in splits {
        for file in [images_file(prefix), labels_file(prefix)] {
            unpack.arg(format!("usr/share/datasets/fashion-mnist/{file}"));
        }
    }
    stdout_of(&mut unpack)?;
    for (split, prefix, per_class) in splits {
        let images = Images::parse(&gunzip(&idx.join(images_file(prefix)))?)?;
        let labels = parse_labels(&gunzip(&idx.join(labels_file(prefix)))?)?;
        write_split(&partial.join(split), &images, &labels, per_class)?;
    }
    fs::remove_dir_all(&idx)?;
    match fs::rename(&partial, &data) {
        // Another process was faster.
        Err(_) if data.is_dir() => fs::remove_dir_all(&partial)?,
        renamed => renamed.with_context(|| format!("cannot create `{}`", data.display()))?,
    }
    Ok(data)
}

fn images_file(prefix: &str) -> String {
    format!("{prefix}-images-idx3-ubyte.gz")
}

fn labels_file(prefix: &str) -> String {
    format!("{prefix}-labels-idx1-ubyte.gz")
}

fn gunzip(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(file)?)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot unpack `{}`", file.display()))?;
    Ok(bytes)
}

/// Grey images of one size, from an IDX file (`magic, count, height, width, pixels`).
struct Images {
    height: u32,
    width: u32,
    /// Row-major, one image after the other.
    pixels: Vec<u8>,
}

impl Images {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let (sizes, pixels) = idx::<3>(bytes)?;
        let [_, height, width] = sizes;
        Ok(Self {
            height,
            width,
            pixels: pixels.to_vec(),
        })
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let size = (self.height * self.width).max(1) as usize;
        self.pixels.chunks_exact(size)
    }
}

fn parse_labels(bytes: &[u8]) -> Result<Vec<u8>> {
    let (_, labels) = idx::<1>(bytes)?;
    Ok(labels.to_vec())
}

/// Sizes and content of an IDX file of bytes with `N` dimensions.
fn idx<const N: usize>(bytes: &[u8]) -> Result<([u32; N], &[u8])> {
    let word = |index: usize| {
        let bytes = bytes.get(4 * index..4 * index + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let magic = word(0).context("an IDX file is empty")?;
    let expected = 0x0800 + N as u32;
    ensure!(
        magic == expected,
        "an IDX file starts with {magic:#06x}, expected {expected:#06x}"
    );
    let mut sizes = [0; N];
    for (index, size) in sizes.iter_mut().enumerate() {
        *size = word(index + 1).context("an IDX file ends in its header")?;
    }
    let content = &bytes[4 * (N + 1)..];
    let length: u128 = sizes.iter().map(|&size| u128::from(size)).product();
    ensure!(
        content.len() as u128 == length,
        "an IDX file holds {} bytes, expected {length}",
        content.len()
    );
    Ok((sizes, content))
}

/// Writes the first `per_class` images of each class.
fn write_split(folder: &Path, images: &Images, labels: &[u8], per_class: usize) -> Result<()> {
    for class in CLASSES {
        fs::create_dir_all(folder.join(class))?;
    }
    let mut written = [0; CLASSES.len()];
    for (index, (pixels, &label)) in images.iter().zip(labels).enumerate() {
        let label = usize::from(label);
        let class = CLASSES
            .get(label)
            .with_context(|| format!("image {index} has the label {label}, expected 0 to 9"))?;
        if written[label] == per_class {
            continue;
        }
        written[label] += 1;
        write_png(
            &folder.join(class).join(format!("{index:05}.png")),
            images,
            pixels,
        )?;
    }
    ensure!(
        written.iter().all(|&count| count == per_class),
        "the data set has too few images: {written:?} of {per_class} in each class"
    );
    Ok(())
}

fn write_png(file: &Path, images: &Images, pixels: &[u8]) -> Result<()> {
    let writer = BufWriter::new(File::create(file)?);
    let mut encoder = png::Encoder::new(writer, images.width, images.height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty images of 2 x 3 pixels, two of each class; each pixel has its image's number.
    fn images_and_labels() -> (Vec<u8>, Vec<u8>) {
        let mut images = vec![0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 3];
        let mut labels = vec![0, 0, 8, 1, 0, 0, 0, 20];
        for image in 0..20 {
            images.extend([image; 6]);
            labels.push(image % 10);
        }
        (images, labels)
    }

    #[test]
    fn the_first_images_of_each_class_become_an_image_folder() {
        let (images, labels) = images_and_labels();
        let images = Images::parse(&images).unwrap();
        let labels = parse_labels(&labels).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_split(folder.path(), &images, &labels, 1).unwrap();
        for (index, class) in CLASSES.iter().enumerate() {
            let files: Vec<_> = fs::read_dir(folder.path().join(class)).unwrap().collect();
            assert_eq!(files.len(), 1);
            let file = folder.path().join(class).join(format!("{index:05}.png"));
            let decoder = png::Decoder::new(std::io::BufReader::new(File::open(file).unwrap()));
            let mut reader = decoder.read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            assert_eq!((info.width, info.height), (3, 2));
            assert_eq!(pixels, [index as u8; 6]);
        }
    }

    #[test]
    fn too_few_images_are_an_error() {
        let (images, labels) = images_and_labels();
        let images = Images::parse(&images).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let error = write_split(folder.path(), &images, &labels[8..], 3).unwrap_err();
        assert!(error.to_string().contains("too few images"), "{error}");
    }

    #[test]
    fn damaged_idx_files_are_errors() {
        let (images, labels) = images_and_labels();
        for length in [0, 3, 10, images.len() - 1] {
            assert!(Images::parse(&images[..length]).is_err(), "{length} bytes");
        }
        assert!(Images::parse(&labels).is_err());
        let huge = [&[0, 0, 8, 3][..], &[255; 12]].concat();
        assert!(Images::parse(&huge).is_err());
    }
}
