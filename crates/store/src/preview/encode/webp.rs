//! WebP without loss. A series is the pictures in a container of their own (RFC 9649, 2.7): the encoder makes single ones.

use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::unwritten;
use crate::preview::paint::Picture;

/// Bits of the extended header: there is alpha, and a series.
const ALPHA_AND_SERIES: u8 = 0b0001_0010;

/// Bits of a frame: it takes the place of the one before, of which nothing shines through.
const OVERWRITES: u8 = 0b0000_0010;

/// Bytes before the first chunk: `RIFF`, a length, `WEBP`.
const RIFF: usize = 12;

pub(super) fn still(picture: &Picture) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let Picture { height, width, pixels } = picture;
    let written = WebPEncoder::new_lossless(&mut out).write_image(pixels, *width, *height, ExtendedColorType::Rgba8);
    written.map_err(|error| unwritten(&error)).map(|()| out)
}

pub(super) fn series(pictures: &[Picture], shown_ms: u16) -> Result<Vec<u8>, String> {
    let Some(Picture { height, width, .. }) = pictures.first() else { return Err("there is no picture".to_owned()) };
    // Sides count from 0.
    let size = [less_one(*width)?, less_one(*height)?].concat();
    let mut body = b"WEBP".to_vec();
    chunk(&mut body, b"VP8X", &[&[ALPHA_AND_SERIES, 0, 0, 0], size.as_slice()].concat())?;
    // No background, shown for ever.
    chunk(&mut body, b"ANIM", &[0; 6])?;
    for picture in pictures {
        let file = still(picture)?;
        let bitstream = file.get(RIFF..).filter(|rest| rest.starts_with(b"VP8L"));
        let bitstream = bitstream.ok_or("the encoder of WebP makes another format than VP8L")?;
        let [low, high] = shown_ms.to_le_bytes();
        let head = [&[0; 6], size.as_slice(), &[low, high, 0, OVERWRITES]].concat();
        chunk(&mut body, b"ANMF", &[head.as_slice(), bitstream].concat())?;
    }
    let mut out = Vec::with_capacity(body.len() + 8);
    chunk(&mut out, b"RIFF", &body)?;
    Ok(out)
}

fn chunk(out: &mut Vec<u8>, name: &[u8; 4], body: &[u8]) -> Result<(), String> {
    let length = u32::try_from(body.len()).map_err(|_| "the series takes more than the 4 GB of a WebP".to_owned())?;
    out.extend(name);
    out.extend(length.to_le_bytes());
    out.extend(body);
    // Chunks begin at even places.
    if !body.len().is_multiple_of(2) {
        out.push(0);
    }
    Ok(())
}

/// A side less one, in three bytes.
fn less_one(side: u32) -> Result<[u8; 3], String> {
    match side.saturating_sub(1).to_le_bytes() {
        [a, b, c, 0] => Ok([a, b, c]),
        _ => Err(format!("a side of {side} pixels is too long for WebP")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_series_is_chunks_of_pictures() {
        let picture = |shade| Picture { height: 2, width: 300, pixels: [shade, 1, 2, 255].repeat(600) };
        let file = series(&[picture(1), picture(9)], 600).unwrap();
        assert_eq!((&file[..4], &file[8..16]), (&b"RIFF"[..], &b"WEBPVP8X"[..]));
        let length = u32::from_le_bytes(file[4..8].try_into().unwrap());
        assert_eq!(length as usize + 8, file.len());
        assert_eq!(file[20..30], [0x12, 0, 0, 0, 43, 1, 0, 1, 0, 0]);
        assert_eq!(file.windows(4).filter(|four| four == b"ANMF").count(), 2);
        assert!(less_one(1 << 25).is_err());
    }
}
