//! Pictures as files.

mod gif;
mod webp;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::paint::Picture;

/// Time for which each picture of a series is shown, milliseconds.
const SHOWN_MS: u16 = 600;

/// Quality of a JPEG, of 100.
const QUALITY: u8 = 85;

/// Forms of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One picture.
    Png,
    /// One, or a series of them, in 255 colours.
    Gif,
    /// One, or a series of them.
    WebP,
}

impl Format {
    /// The form that the end of a name asks for.
    #[must_use]
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "gif" => Some(Self::Gif),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }

    /// True where it can hold a series.
    #[must_use]
    pub fn moves(self) -> bool {
        self != Self::Png
    }
}

/// The file of pictures of one size, shown one after the other, again and again.
///
/// # Errors
/// In words: it has no such picture, or of such a size.
pub(super) fn encoded(format: Format, pictures: &[Picture]) -> Result<Vec<u8>, String> {
    match (format, pictures) {
        (_, []) => Err("there is no picture".to_owned()),
        (Format::Gif, several) => gif::encoded(several, SHOWN_MS),
        (Format::WebP, [only]) => webp::still(only),
        (Format::WebP, several) => webp::series(several, SHOWN_MS),
        (Format::Png, [only]) => png(only),
        (Format::Png, _) => Err("PNG holds one picture: name a file .gif or .webp".to_owned()),
    }
}

fn png(picture: &Picture) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let Picture { height, width, pixels } = picture;
    let written = PngEncoder::new(&mut out).write_image(pixels, *width, *height, ExtendedColorType::Rgba8);
    written.map_err(|error| unwritten(&error)).map(|()| out)
}

/// A JPEG, with this grey where there is no data; the same bytes for the same picture.
///
/// # Errors
/// In words: it cannot be encoded.
pub(crate) fn jpeg(picture: &Picture, nodata: u8) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut out, QUALITY);
    let written = encoder.encode(&picture.over(nodata), picture.width, picture.height, ExtendedColorType::Rgb8);
    written.map_err(|error| unwritten(&error)).map(|()| out)
}

fn unwritten(error: &dyn std::fmt::Display) -> String {
    format!("the picture cannot be encoded: {error}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn picture(shade: u8) -> Picture {
        Picture { height: 1, width: 2, pixels: vec![shade, 0, 0, 255, 0, 0, 0, 0] }
    }

    #[test]
    fn names_tell_the_form() {
        assert_eq!(
            ["PNG", "gif", "webp", "jpg"].map(Format::of_extension),
            [Some(Format::Png), Some(Format::Gif), Some(Format::WebP), None]
        );
    }

    #[test]
    fn a_png_holds_one_picture() {
        let pictures = [picture(1), picture(2)];
        assert!(encoded(Format::Png, &pictures[..1]).unwrap().starts_with(b"\x89PNG"));
        assert!(encoded(Format::Png, &pictures).unwrap_err().contains("holds one picture"));
        assert!(encoded(Format::Gif, &[]).is_err());
        assert!(jpeg(&pictures[0], 128).unwrap().starts_with(&[0xff, 0xd8]));
    }
}
