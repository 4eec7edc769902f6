//! Samples of a raster, as many as a picture shows.

use s2ice_jpeg2000::{SampleType, TileCodec, Window};

use super::area::Area;
use super::fetch::Read;

/// The sample that stands for no data, in every raster of Sentinel-2 that is shown.
const NODATA: u16 = 0;

/// Samples of the part of a raster that a picture shows; 0 where there are none.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(super) height: u32,
    pub(super) width: u32,
    /// One for each component, row by row.
    pub(super) planes: Vec<Vec<u16>>,
}

/// Where the samples of a tile go.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// What is decoded of the tile.
    pub(super) window: Window,
    /// Samples from one that is taken to the next.
    stride: u32,
    /// Row and column of the layer at which the first one that is taken goes.
    corner: (u32, u32),
    /// Rows and columns of the window before the first that is taken.
    skip: (u32, u32),
}

impl Place {
    /// The part of the tile at this row and column of the tile grid that lies in an area; `None` where none does.
    ///
    /// `chunk` is the height and width of a tile as it is decoded; the area counts pixels of which `stride` samples make one.
    pub(super) fn of(tile: (u32, u32), chunk: (u32, u32), area: &Area, stride: u32) -> Option<Self> {
        let along = |tile: u32, chunk: u32, area: &std::ops::Range<u32>| {
            let begin = tile.checked_mul(chunk)?;
            let end = begin.checked_add(chunk)?;
            // The first pixel in the tile, and the first behind it.
            let first = begin.div_ceil(stride).max(area.start);
            let last = end.div_ceil(stride).min(area.end);
            if first >= last {
                return None;
            }
            let (from, to) = (first * stride - begin, (last - 1) * stride - begin + 1);
            Some((from..to, first - area.start))
        };
        let (y, top) = along(tile.0, chunk.0, &area.y)?;
        let (x, left) = along(tile.1, chunk.1, &area.x)?;
        // What is picked of is small, and decoded whole tiles need no plan.
        if stride > 1 {
            let skip = (y.start, x.start);
            return Some(Self { window: Window { y: 0..chunk.0, x: 0..chunk.1 }, stride, corner: (top, left), skip });
        }
        Some(Self { window: Window { y, x }, stride, corner: (top, left), skip: (0, 0) })
    }
}

impl Layer {
    pub(super) fn new(area: &Area, components: u32) -> Self {
        let (height, width) = (area.height(), area.width());
        let plane = vec![NODATA; height as usize * width as usize];
        Self { height, width, planes: vec![plane; components as usize] }
    }

    /// Puts the samples of a tile where they belong.
    pub(super) fn put(&mut self, place: &Place, samples: &[Vec<u16>]) {
        let columns = place.window.x.len();
        let step = place.stride.max(1) as usize;
        for (plane, samples) in self.planes.iter_mut().zip(samples) {
            let rows = samples.chunks(columns.max(1)).skip(place.skip.0 as usize).step_by(step);
            for (y, row) in (place.corner.0..self.height).zip(rows) {
                let start = y as usize * self.width as usize + place.corner.1 as usize;
                let end = (y as usize + 1) * self.width as usize;
                let Some(out) = plane.get_mut(start..end) else { continue };
                out.iter_mut().zip(row.iter().skip(place.skip.1 as usize).step_by(step)).for_each(|(o, s)| *o = *s);
            }
        }
    }
}

/// The samples of a window of a tile, component by component.
///
/// # Errors
/// In words: the tile is damaged.
pub(super) fn decoded(codec: &TileCodec, read: &Read, window: &Window) -> Result<Vec<Vec<u16>>, String> {
    let text = |error: s2ice_jpeg2000::Error| error.to_string();
    let mut bytes = vec![0; codec.output_bytes(Some(window)).map_err(text)?];
    let fill = i64::from(NODATA);
    match read {
        Read::Whole(tile) => codec.decode(tile, fill, Some(window), &mut bytes).map_err(text)?,
        Read::Parts(parts) => {
            let parts: Vec<(u64, &[u8])> = parts.iter().map(|(start, bytes)| (*start, bytes.as_ref())).collect();
            codec.decode_parts(&parts, fill, Some(window), &mut bytes).map_err(text)?;
        }
    }
    let samples: Vec<u16> = match codec.dtype() {
        SampleType { bytes: 1, .. } => bytes.into_iter().map(u16::from).collect(),
        _ => bytes.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect(),
    };
    let plane = window.y.len() * window.x.len();
    Ok(samples.chunks(plane.max(1)).map(<[u16]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn area(y: std::ops::Range<u32>, x: std::ops::Range<u32>) -> Area {
        Area { y, x }
    }

    #[test]
    fn tiles_meet_in_a_layer() {
        let area = area(1..4, 1..5);
        let mut layer = Layer::new(&area, 1);
        for (row, column) in [(0, 0), (0, 1), (1, 0)] {
            let place = Place::of((row, column), (3, 3), &area, 1).unwrap();
            let (y, x) = (place.window.y.clone(), place.window.x.clone());
            let number = |y: u32, x: u32| u16::try_from((row * 3 + y) * 10 + column * 3 + x).unwrap();
            let samples = y.flat_map(|y| x.clone().map(move |x| number(y, x))).collect();
            layer.put(&place, &[samples]);
        }
        // The tile that is missing has no data.
        assert_eq!(layer.planes[0], [11, 12, 13, 14, 21, 22, 23, 24, 31, 32, 0, 0]);
        assert!(Place::of((2, 0), (3, 3), &area, 1).is_none());
    }

    #[test]
    fn every_other_class_is_taken() {
        // Tiles of 3 x 3, of which pixels 0, 2, 4 are taken: the second tile begins with one that is not.
        let area = area(0..3, 1..3);
        let mut layer = Layer::new(&area, 1);
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let place = Place::of((row, column), (3, 3), &area, 2).unwrap();
            let number = |n: u32| u16::try_from((row * 3 + n / 3) * 10 + column * 3 + n % 3).unwrap();
            layer.put(&place, &[(0..9).map(number).collect()]);
        }
        assert_eq!(layer.planes[0], [2, 4, 22, 24, 42, 44]);
    }
}
