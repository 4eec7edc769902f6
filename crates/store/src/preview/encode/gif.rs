//! GIF: one palette for all pictures, so that what stays the same does not flicker, and one colour for no data.

use std::collections::{BTreeSet, HashMap};

use color_quant::NeuQuant;
use gif::{DisposalMethod, Encoder, Frame, Repeat};

use super::unwritten;
use crate::preview::paint::Picture;

/// Colours of a palette, beside the one that stands for no data.
const COLOURS: usize = 255;

/// The place of that one in the palette.
const TRANSPARENT: u8 = 255;

/// Pixels that the palette is made of, at most: of more, every so many are taken.
const SAMPLE: usize = 1 << 20;

/// One of so many pixels is learned from: 1 is best, 30 is fastest.
const FACTOR: i32 = 10;

type Colour = [u8; 3];

/// The colours of pictures.
enum Palette {
    /// All of them, in their order.
    Exact(Vec<Colour>),
    /// The best that there are.
    Nearest(NeuQuant),
}

impl Palette {
    fn of(pictures: &[Picture]) -> Self {
        let mut exact = BTreeSet::new();
        for colour in pictures.iter().flat_map(opaque) {
            exact.insert(colour);
            if exact.len() > COLOURS {
                return Self::Nearest(nearest(pictures));
            }
        }
        Self::Exact(exact.into_iter().collect())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = match self {
            Self::Exact(colours) => colours.concat(),
            Self::Nearest(colours) => colours.color_map_rgb(),
        };
        bytes.resize((COLOURS + 1) * 3, 0);
        bytes
    }

    fn index(&self, colour: Colour) -> u8 {
        let index = match self {
            Self::Exact(colours) => colours.binary_search(&colour).unwrap_or_default(),
            Self::Nearest(colours) => colours.index_of(&[colour[0], colour[1], colour[2], 255]),
        };
        u8::try_from(index).unwrap_or_default()
    }
}

fn nearest(pictures: &[Picture]) -> NeuQuant {
    let all = pictures.iter().map(|picture| picture.pixels.len() / 4).sum::<usize>();
    let some = pictures.iter().flat_map(opaque).step_by(all.div_ceil(SAMPLE).max(1));
    let pixels: Vec<u8> = some.flat_map(|[red, green, blue]| [red, green, blue, 255]).collect();
    NeuQuant::new(FACTOR, COLOURS, &pixels)
}

fn opaque(picture: &Picture) -> impl Iterator<Item = Colour> + '_ {
    picture.pixels.chunks_exact(4).filter(|pixel| pixel[3] != 0).map(|pixel| [pixel[0], pixel[1], pixel[2]])
}

pub(super) fn encoded(pictures: &[Picture], shown_ms: u16) -> Result<Vec<u8>, String> {
    let Some(first) = pictures.first() else { return Err("there is no picture".to_owned()) };
    let side = |side: u32| u16::try_from(side).map_err(|_| format!("a side of {side} pixels is too long for GIF"));
    let (width, height) = (side(first.width)?, side(first.height)?);
    let palette = Palette::of(pictures);
    let mut known: HashMap<Colour, u8> = HashMap::new();
    let mut out = Vec::new();
    let failed = |error: gif::EncodingError| unwritten(&error);
    let mut encoder = Encoder::new(&mut out, width, height, &palette.bytes()).map_err(failed)?;
    if pictures.len() > 1 {
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    }
    for picture in pictures {
        let mut index = |pixel: &[u8]| match *pixel {
            [red, green, blue, 255] => {
                let colour = [red, green, blue];
                *known.entry(colour).or_insert_with(|| palette.index(colour))
            }
            _ => TRANSPARENT,
        };
        let frame = Frame {
            width,
            height,
            delay: shown_ms / 10,
            // Where a picture has no data, the one before does not shine through.
            dispose: DisposalMethod::Background,
            transparent: Some(TRANSPARENT),
            buffer: picture.pixels.chunks_exact(4).map(&mut index).collect(),
            ..Frame::default()
        };
        encoder.write_frame(&frame).map_err(failed)?;
    }
    drop(encoder);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn picture(pixels: &[[u8; 4]]) -> Picture {
        Picture { height: 1, width: u32::try_from(pixels.len()).unwrap(), pixels: pixels.concat() }
    }

    #[test]
    fn few_colours_are_kept() {
        let pictures = [picture(&[[9, 9, 9, 255], [0; 4]]), picture(&[[1, 2, 3, 255], [9, 9, 9, 255]])];
        let palette = Palette::of(&pictures);
        assert_eq!((palette.index([1, 2, 3]), palette.index([9, 9, 9])), (0, 1));
        assert_eq!(palette.bytes()[..6], [1, 2, 3, 9, 9, 9]);
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let file = encoded(&pictures, 600).unwrap();
        let mut decoder = options.read_info(file.as_slice()).unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            frames.push((frame.buffer.to_vec(), frame.delay, frame.dispose));
        }
        assert_eq!(frames[0], (vec![9, 9, 9, 255, 0, 0, 0, 0], 60, DisposalMethod::Background));
        assert_eq!(frames[1].0, [1, 2, 3, 255, 9, 9, 9, 255]);
    }

    #[test]
    fn of_many_colours_the_nearest_are_taken() {
        let ramp = (0..=255u8).flat_map(|n| [[n, n / 2, 255 - n, 255], [n / 2, n, n, 255]]);
        // As often as in a picture: the palette is learned.
        let pixels: Vec<[u8; 4]> = ramp.collect::<Vec<_>>().repeat(20);
        let pictures = [picture(&pixels)];
        let palette = Palette::of(&pictures);
        let bytes = palette.bytes();
        for [red, green, blue, _] in pixels {
            let at = usize::from(palette.index([red, green, blue])) * 3;
            assert!(at < COLOURS * 3, "the last one is for no data");
            let away = [red, green, blue].iter().zip(&bytes[at..]).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(away < 48, "{red} {green} {blue}: {away}");
        }
    }

    #[test]
    fn a_side_that_is_too_long_is_told() {
        let long = Picture { height: 1, width: 70_000, pixels: vec![0; 280_000] };
        assert!(encoded(&[long], 600).unwrap_err().contains("too long for GIF"));
    }
}
