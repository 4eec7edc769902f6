//! Sun and viewing angles of a product on the 5 km grid of its `MTD_TL.xml`, as values and as chunks of a store.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::era::Era;
use crate::grid::TileGeocoding;
use crate::ids::Band;

/// Nodes along each side of the grid: 23 nodes 5 km apart span 110 km, a tile 109.8 km.
pub const NODES: usize = 23;

/// Distance of two nodes, metres.
pub const SPACING_M: u32 = 5000;

/// Detectors of the instrument, numbered from 1.
pub const DETECTORS: usize = 12;

/// Zenith and azimuth, in this order.
pub const ANGLES: usize = 2;

/// Values of a grid: angle, y, x.
pub const GRID_VALUES: usize = ANGLES * NODES * NODES;

/// Zenith and azimuth at every node (angle, y, x), degrees; NaN where there is none.
pub type AngleGrid = Box<[f32]>;

/// The angles of a product, degrees.
#[derive(Debug, Clone, PartialEq)]
pub struct Angles {
    /// Of the sun.
    pub sun: AngleGrid,
    /// Of the sun, mean over the tile: zenith, azimuth.
    pub mean_sun: [f32; ANGLES],
    /// Of the line of sight, by band and detector (from 1); a detector that does not see the tile has none.
    pub viewing: BTreeMap<(Band, u8), AngleGrid>,
    /// Of the line of sight, mean over the tile, in the order of [`Band::ALL`].
    pub mean_viewing: [[f32; ANGLES]; Band::ALL.len()],
}

/// An array of angles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AngleArray {
    /// Mean angles of the sun: time, angle.
    #[serde(rename = "mean_sun_angles")]
    MeanSun,
    /// Mean viewing angles: time, band, angle.
    #[serde(rename = "mean_viewing_incidence_angles")]
    MeanViewing,
    /// Angles of the sun: time, angle, y, x.
    #[serde(rename = "sun_angles")]
    Sun,
    /// Viewing angles: time, band, detector, angle, y, x.
    #[serde(rename = "viewing_incidence_angles")]
    Viewing,
}

impl AngleArray {
    /// All arrays, by name.
    pub const ALL: [Self; 4] = [Self::MeanSun, Self::MeanViewing, Self::Sun, Self::Viewing];

    /// EOPF's name of the array.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanSun => "mean_sun_angles",
            Self::MeanViewing => "mean_viewing_incidence_angles",
            Self::Sun => "sun_angles",
            Self::Viewing => "viewing_incidence_angles",
        }
    }

    /// Dimensions after `time`, and their lengths.
    pub fn dimensions(self) -> &'static [(&'static str, usize)] {
        const BAND: (&str, usize) = ("band", Band::ALL.len());
        const ANGLE: (&str, usize) = ("angle", ANGLES);
        const Y: (&str, usize) = ("y", NODES);
        const X: (&str, usize) = ("x", NODES);
        match self {
            Self::MeanSun => &[ANGLE],
            Self::MeanViewing => &[BAND, ANGLE],
            Self::Sun => &[ANGLE, Y, X],
            Self::Viewing => &[BAND, ("detector", DETECTORS), ANGLE, Y, X],
        }
    }

    /// Values at one time.
    pub fn values(self) -> usize {
        self.dimensions().iter().map(|(_, length)| length).product()
    }
}

impl Angles {
    /// The values of an array at this product's time, in C order.
    pub fn values(&self, array: AngleArray) -> Vec<f32> {
        match array {
            AngleArray::MeanSun => self.mean_sun.to_vec(),
            AngleArray::MeanViewing => self.mean_viewing.concat(),
            AngleArray::Sun => self.sun.to_vec(),
            AngleArray::Viewing => {
                let mut values = Vec::with_capacity(array.values());
                for band in Band::ALL {
                    for detector in (1..=DETECTORS).filter_map(|number| u8::try_from(number).ok()) {
                        match self.viewing.get(&(band, detector)) {
                            Some(grid) => values.extend_from_slice(grid),
                            None => values.resize(values.len() + GRID_VALUES, f32::NAN),
                        }
                    }
                }
                values
            }
        }
    }
}

/// The angles of a product as the chunks that a store has of them: little-endian float32, zstd.
pub type AngleChunks = BTreeMap<AngleArray, Arc<[u8]>>;

/// Where the angles of a product in one array come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnglePlacement {
    /// From the product's metadata: the chunk to write.
    New(Arc<[u8]>),
    /// From the store itself, any of its trees.
    Held {
        /// In which tree; `None` for the main one.
        era: Option<Era>,
        /// The time step at which it holds them.
        step: u32,
    },
}

/// Coordinates of the nodes along x, west to east, metres.
pub fn x_nodes(geocoding: TileGeocoding) -> Vec<f64> {
    nodes(geocoding.ulx, i64::from(SPACING_M))
}

/// Coordinates of the nodes along y, north to south, metres.
pub fn y_nodes(geocoding: TileGeocoding) -> Vec<f64> {
    nodes(geocoding.uly, -i64::from(SPACING_M))
}

fn nodes(origin: i64, step: i64) -> Vec<f64> {
    (0..NODES).scan(origin, |at, _| Some(std::mem::replace(at, *at + step) as f64)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nodes_begin_at_the_upper_left_corner() {
        let tile = TileGeocoding::of("33TVN".parse().unwrap());
        assert_eq!((x_nodes(tile)[0], x_nodes(tile)[22]), (399_960.0, 509_960.0));
        assert_eq!((y_nodes(tile)[0], y_nodes(tile)[22]), (5_300_040.0, 5_190_040.0));
    }

    #[test]
    fn values_stand_in_the_order_of_the_dimensions() {
        let grid = |value: f32| vec![value; GRID_VALUES].into_boxed_slice();
        let mut mean_viewing = [[f32::NAN; ANGLES]; 13];
        mean_viewing[8] = [1.0, 2.0];
        let viewing = BTreeMap::from([((Band::B01, 12), grid(5.0)), ((Band::B8A, 2), grid(7.0))]);
        let angles = Angles { sun: grid(3.0), mean_sun: [30.0, 160.0], viewing, mean_viewing };
        for array in AngleArray::ALL {
            assert_eq!(angles.values(array).len(), array.values(), "{}", array.name());
        }
        let viewing = angles.values(AngleArray::Viewing);
        let filled: Vec<usize> = (0..13 * DETECTORS)
            .filter(|slot| viewing[slot * GRID_VALUES..][..GRID_VALUES].iter().all(|v| !v.is_nan()))
            .collect();
        assert_eq!(filled, [11, 8 * 12 + 1]);
        assert_eq!(angles.values(AngleArray::MeanViewing)[16..18], [1.0, 2.0]);
    }
}
