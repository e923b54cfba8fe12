//! Which kind of file some bytes are, told by their content and never by a file name.

use std::fmt;

use serde::Serialize;

/// An image format that [`decode`](crate::decode()) reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// JPEG: baseline, progressive, arithmetic-coded; grey, YCbCr, RGB, CMYK, YCCK.
    Jpeg,
    /// PNG, up to 16 bits a channel.
    Png,
    /// WebP, lossy and lossless; the first frame of an animation.
    WebP,
    /// Windows bitmap.
    Bmp,
    /// TIFF; the first page. Palettes and JPEG-compressed colour are not read.
    Tiff,
    /// GIF; the first frame.
    Gif,
    /// Netpbm: PBM, PGM, PPM, PAM.
    Pnm,
}

impl Format {
    /// The format that `bytes` begin like.
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Png),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(Format::WebP),
            [b'B', b'M', _, _, _, _, _, _, _, _, ..] => Some(Format::Bmp),
            // 43 is BigTIFF.
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Format::Tiff),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
            [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n' | b'#', ..] => Some(Format::Pnm),
            _ => None,
        }
    }

    /// Whether a file of this format may carry `extension` (without the dot, any case).
    pub fn has_extension(self, extension: &str) -> bool {
        let known: &[&str] = match self {
            Format::Jpeg => &["jpg", "jpeg", "jpe", "jfif"],
            Format::Png => &["png", "apng"],
            Format::WebP => &["webp"],
            Format::Bmp => &["bmp", "dib"],
            Format::Tiff => &["tif", "tiff"],
            Format::Gif => &["gif"],
            Format::Pnm => &["ppm", "pgm", "pbm", "pnm", "pam"],
        };
        known
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::WebP => "WebP",
            Format::Bmp => "BMP",
            Format::Tiff => "TIFF",
            Format::Gif => "GIF",
            Format::Pnm => "PNM",
        })
    }
}

/// What a file that is no readable image looks like, in words for an error message.
pub(crate) fn describe(bytes: &[u8]) -> &'static str {
    let head = bytes.get(..bytes.len().min(512)).unwrap_or_default();
    match head {
        [b'%', b'P', b'D', b'F', ..] => return "a PDF document",
        [b'P', b'K', 3 | 5, ..] => return "a ZIP archive",
        [0x1f, 0x8b, ..] => return "a gzip archive",
        [b'8', b'B', b'P', b'S', ..] => return "a Photoshop document, which is not supported",
        [0, 0, 1, 0, ..] => return "an ICO icon, which is not supported",
        [0xff, 0x0a, ..] | [0, 0, 0, 0x0c, b'J', b'X', b'L', b' ', ..] => {
            return "a JPEG XL image, which is not supported";
        }
        [0, 0, 0, 0x0c, b'j', b'P', b' ', b' ', ..] => {
            return "a JPEG 2000 image, which is not supported";
        }
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => {
            return match brand {
                [b'a', b'v', b'i', b'f' | b's', ..] => "an AVIF image, which is not supported",
                [b'h', b'e', ..] | [b'm', b'i' | b's', b'f', b'1', ..] => {
                    "a HEIC image, which is not supported"
                }
                _ => "a video",
            };
        }
        _ => {}
    }
    if head.iter().all(|&byte| byte == 0) {
        return "a file of zero bytes";
    }
    match std::str::from_utf8(head) {
        // A multi-byte character may be cut at the end of the head.
        Err(error) if error.error_len().is_some() => "unknown binary data",
        _ if head.contains(&0) => "unknown binary data",
        _ => describe_text(head),
    }
}

fn describe_text(head: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(head)
        .trim_start()
        .to_ascii_lowercase();
    if text.starts_with("version https://git-lfs") {
        "a Git LFS pointer; run `git lfs pull` to fetch the image"
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
        "an HTML page"
    } else if text.contains("<svg") {
        "an SVG drawing, which is not supported"
    } else {
        "text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_the_format() {
        assert_eq!(Format::sniff(b"\xff\xd8\xff\xe0"), Some(Format::Jpeg));
        assert_eq!(Format::sniff(b"P6\n2 2\n255\n"), Some(Format::Pnm));
        assert_eq!(Format::sniff(b"P6 is a processor"), Some(Format::Pnm));
        assert_eq!(Format::sniff(b"Pa"), None);
        assert_eq!(Format::sniff(b""), None);
    }

    #[test]
    fn impostors_are_named() {
        assert_eq!(describe(b"hello world"), "text");
        assert_eq!(describe(b"  <!DOCTYPE html><body>404"), "an HTML page");
        assert_eq!(describe(b"%PDF-1.7"), "a PDF document");
        assert_eq!(describe(&[0; 64]), "a file of zero bytes");
        assert_eq!(
            describe(b"\0\0\0\x18ftypheic"),
            "a HEIC image, which is not supported"
        );
        assert_eq!(
            describe(b"\0\0\0\x18ftypavif"),
            "an AVIF image, which is not supported"
        );
        assert_eq!(describe(&[0x80, 0x90, 0xa0]), "unknown binary data");
        let mut cut = vec![b'a'; 511];
        cut.extend("é".bytes());
        assert_eq!(describe(&cut), "text");
    }
}
