//! From samples to pixels.

use super::layer::Layer;
use super::shown::Shown;
use super::stretch::{Counts, Stretch, Tone};

/// Colours of the scene classification, from 0, as ESA shows it.
const CLASSES: [[u8; 3]; 12] = [
    [0, 0, 0],
    [255, 0, 0],
    [47, 47, 47],
    [100, 50, 0],
    [0, 160, 0],
    [255, 230, 90],
    [0, 0, 255],
    [128, 128, 128],
    [192, 192, 192],
    [255, 255, 255],
    [100, 200, 255],
    [255, 150, 255],
];

/// What is shown of a product, as its rasters have it.
#[derive(Debug)]
pub(crate) struct Frame {
    /// In the order of what is shown.
    pub(super) layers: Vec<(Layer, Tone)>,
}

/// Pixels of red, green, blue and alpha, row by row. Alpha is 0 where there is no data, else 255.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) height: u32,
    pub(crate) width: u32,
    pub(crate) pixels: Vec<u8>,
}

/// How frames are painted, all in one way.
pub(crate) enum Paint {
    /// Each band by a stretch of its own.
    Stretched(Vec<Stretch>),
    Classes,
    AsItIs,
}

impl Paint {
    /// Looks through all frames.
    pub(crate) fn of(shown: &Shown, frames: &[Frame]) -> Self {
        match shown {
            Shown::Classes => return Self::Classes,
            Shown::TrueColour => return Self::AsItIs,
            Shown::Grey(_) | Shown::Colour(_) => {}
        }
        let mut counts: Vec<Counts> = shown.quantities().iter().map(|_| Counts::new()).collect();
        for frame in frames {
            for (counts, (layer, tone)) in counts.iter_mut().zip(&frame.layers) {
                counts.add(*tone, layer.planes.iter().flatten().copied().filter(|number| *number != 0));
            }
        }
        Self::Stretched(counts.iter().map(Counts::stretch).collect())
    }

    /// Paints a frame.
    ///
    /// # Errors
    /// In words: its rasters have other components or sizes than their picture.
    pub(crate) fn picture(&self, frame: &Frame) -> Result<Picture, String> {
        let planes: Vec<&Vec<u16>> = frame.layers.iter().flat_map(|(layer, _)| &layer.planes).collect();
        let Some((height, width)) = frame.layers.first().map(|(layer, _)| (layer.height, layer.width)) else {
            return Err("nothing is shown".to_owned());
        };
        if frame.layers.iter().any(|(layer, _)| (layer.height, layer.width) != (height, width)) {
            return Err("its rasters have different sizes".to_owned());
        }
        let pixels = match self {
            Self::Stretched(stretches) => {
                let shades = stretches.iter().zip(&frame.layers).map(|(stretch, (_, tone))| stretch.shades(*tone));
                let shades: Vec<Vec<u8>> = shades.collect();
                match (planes.as_slice(), shades.as_slice()) {
                    ([grey], [shades]) => {
                        grey.iter().flat_map(|n| opaque(*n != 0, [shades[usize::from(*n)]; 3])).collect()
                    }
                    ([red, green, blue], [r, g, b]) => colours(red, green, blue)
                        .flat_map(|n| {
                            let shade = [&r[usize::from(n[0])], &g[usize::from(n[1])], &b[usize::from(n[2])]];
                            opaque(n.iter().all(|number| *number != 0), shade.map(|shade| *shade))
                        })
                        .collect(),
                    _ => return Err(components(planes.len())),
                }
            }
            Self::Classes => match planes.as_slice() {
                [classes] => classes
                    .iter()
                    .flat_map(|n| opaque(*n != 0, CLASSES.get(usize::from(*n)).copied().unwrap_or_default()))
                    .collect(),
                _ => return Err(components(planes.len())),
            },
            Self::AsItIs => match planes.as_slice() {
                [red, green, blue] => colours(red, green, blue)
                    .flat_map(|n| opaque(n.iter().any(|number| *number != 0), n.map(|n| n.to_le_bytes()[0])))
                    .collect(),
                _ => return Err(components(planes.len())),
            },
        };
        Ok(Picture { height, width, pixels })
    }
}

fn components(number: usize) -> String {
    format!("its rasters have {number} components, which make no picture")
}

fn colours<'a>(red: &'a [u16], green: &'a [u16], blue: &'a [u16]) -> impl Iterator<Item = [u16; 3]> + 'a {
    red.iter().zip(green).zip(blue).map(|((red, green), blue)| [*red, *green, *blue])
}

fn opaque(there: bool, [red, green, blue]: [u8; 3]) -> [u8; 4] {
    if there { [red, green, blue, 255] } else { [0; 4] }
}

impl Picture {
    /// Red, green and blue over this grey, for formats without alpha.
    pub(crate) fn over(&self, grey: u8) -> Vec<u8> {
        let solid = |pixel: &[u8]| match *pixel {
            [red, green, blue, 255] => [red, green, blue],
            _ => [grey; 3],
        };
        self.pixels.chunks_exact(4).flat_map(solid).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::preview::area::Area;

    fn frame(planes: &[&[u16]]) -> Frame {
        let area = Area { y: 0..1, x: 0..u32::try_from(planes[0].len()).unwrap() };
        let tone = Tone::of(None);
        let layer = |plane: &&[u16]| {
            let mut layer = Layer::new(&area, 1);
            layer.planes[0].copy_from_slice(plane);
            (layer, tone)
        };
        Frame { layers: planes.iter().map(layer).collect() }
    }

    fn painted(shown: &str, frame: &Frame) -> Vec<u8> {
        let paint = Paint::of(&shown.parse().unwrap(), std::slice::from_ref(frame));
        paint.picture(frame).unwrap().pixels
    }

    #[test]
    fn a_pixel_lacks_data_where_any_band_does() {
        let pixels = painted("b04,b03,b02", &frame(&[&[1, 2, 0, 2], &[1, 2, 2, 2], &[1, 2, 2, 0]]));
        let alpha: Vec<u8> = pixels.chunks_exact(4).map(|pixel| pixel[3]).collect();
        assert_eq!(alpha, [255, 255, 0, 0]);
        assert_eq!(pixels[4..8], [255; 4]);
        assert_eq!(pixels[8..], [0; 8]);
        assert_eq!(painted("b08", &frame(&[&[0, 0]])), [0; 8], "nothing is no error");
    }

    #[test]
    fn classes_have_their_colours() {
        assert_eq!(
            painted("scl", &frame(&[&[4, 0, 6, 77]])),
            [0, 160, 0, 255, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 255]
        );
    }

    #[test]
    fn true_colour_stays_as_it_is() {
        let mut tci = frame(&[&[0, 7, 0]]);
        tci.layers[0].0.planes = vec![vec![0, 7, 0], vec![0, 8, 1], vec![0, 9, 0]];
        assert_eq!(painted("tci", &tci), [0, 0, 0, 0, 7, 8, 9, 255, 0, 1, 0, 255], "dark is not nothing");
        let paint = Paint::AsItIs;
        assert!(paint.picture(&frame(&[&[1]])).unwrap_err().contains("1 components"));
    }

    #[test]
    fn formats_without_alpha_have_grey() {
        let picture = Picture { height: 1, width: 2, pixels: vec![1, 2, 3, 255, 0, 0, 0, 0] };
        assert_eq!(picture.over(128), [1, 2, 3, 128, 128, 128]);
    }
}
