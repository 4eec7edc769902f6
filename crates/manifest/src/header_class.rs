//! The main headers that Sentinel-2 files are known to have, for work without access to the files.
//!
//! Every class was read off real files and is the same for baselines 02.x to 05.11; but a header from another file decodes
//! without an error and gives other numbers, so what is built on these is stamped assumed, and what they are compared with is read in the end. Nothing else may use them.

use s2ice_jpeg2000::{Component, Marker, Siz};

use crate::encoding::Encoding;
use crate::grid::TileGeocoding;
use crate::ids::{Level, Resolution};
use crate::profile::HeaderProfile;
use crate::raster::{Asset, Quantity};

/// What tells one class from another; all are LRCP, one layer, reversible 5/3, user precincts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeaderClass {
    /// Image width and height, pixels.
    size: u32,
    /// Tile width and height, pixels.
    tile: u32,
    /// Decomposition levels.
    levels: u8,
    /// log2 of the code-block width and height.
    block_exp: u8,
    /// log2 of the precinct width and height.
    precinct_exp: u8,
    /// Bits per sample.
    bits: u8,
    /// Components of a pixel.
    components: u8,
    /// Whether the first three components went through the multiple component transform.
    mct: bool,
}

/// Main header (SOC, SIZ, COD, QCD) that files of a raster are known to have; `None` where no file was seen.
#[must_use]
pub fn assumed_header(asset: Asset, level: Level) -> Option<Vec<u8>> {
    if !asset.exists_at(level) {
        return None;
    }
    let image = |bits| image_class(asset.resolution, bits);
    let quality = |components, mct| quality_class(asset.resolution, components, mct);
    let class = match asset.quantity {
        Quantity::Band(_) | Quantity::Aot | Quantity::Wvp => image(15),
        Quantity::Scl | Quantity::Cld | Quantity::Snw => image(8),
        Quantity::Tci if level == Level::L1C => return None,
        Quantity::Tci | Quantity::Classi => quality(3, true),
        Quantity::Detfoo(_) => quality(1, false),
        Quantity::Qualit(_) => quality(8, true),
    };
    Some(class.header())
}

/// Who made a raster, as far as its main header tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderOrigin {
    /// The class that products of the ground segment have had since late 2016.
    Known,
    /// The ground segment of early 2016: 12 bits in tiles of 2048.
    Early,
    /// No class that was seen; with what tells it from the known one.
    Unknown(String),
    /// No class is known for this kind of raster, so nothing can be said.
    Unclassed,
}

/// Where a header comes from. Known classes are compared byte for byte; those of early 2016 by what is documented of them,
/// since no such file was at hand.
#[must_use]
pub fn header_origin(asset: Asset, level: Level, header: &HeaderProfile) -> HeaderOrigin {
    // The tags of a GeoTIFF say all that decoding needs; what they can say is checked.
    let Encoding::Jpeg2000 { codec_header } = &header.encoding else { return HeaderOrigin::Unclassed };
    let Some(known) = assumed_header(asset, level) else { return partly_known(asset, level, header) };
    if known == *codec_header {
        return HeaderOrigin::Known;
    }
    if header.bit_depth == 12 && header.tile == (2048, 2048) {
        return HeaderOrigin::Early;
    }
    let known = HeaderProfile::parse(&known);
    HeaderOrigin::Unknown(known.map_or_else(|error| error.to_string(), |known| header.difference(&known)))
}

/// Level 1C true-colour images have tiles of 256 pixels; the rest of their header was not seen.
fn partly_known(asset: Asset, level: Level, header: &HeaderProfile) -> HeaderOrigin {
    let (height, width) = header.tile;
    if asset.quantity == Quantity::Tci && level == Level::L1C && header.tile != (256, 256) {
        return HeaderOrigin::Unknown(format!("tiles {width} x {height} vs tiles 256 x 256"));
    }
    HeaderOrigin::Unclassed
}

/// Bands and what is derived from them: small tiles, code-blocks and precincts at coarse resolutions.
fn image_class(resolution: Resolution, bits: u8) -> HeaderClass {
    let (tile, block_exp, precinct_exp) = match resolution {
        Resolution::R10 => (1024, 6, 8),
        Resolution::R20 => (640, 3, 7),
        Resolution::R60 => (192, 2, 6),
    };
    let size = TileGeocoding::pixels(resolution);
    HeaderClass { size, tile, levels: 4, block_exp, precinct_exp, bits, components: 1, mct: false }
}

/// True-colour images and masks.
fn quality_class(resolution: Resolution, components: u8, mct: bool) -> HeaderClass {
    let (tile, levels, block_exp, precinct_exp) = match resolution {
        Resolution::R10 => (1024, 4, 6, 8),
        Resolution::R20 => (2048, 5, 6, 8),
        Resolution::R60 => (256, 4, 4, 7),
    };
    let size = TileGeocoding::pixels(resolution);
    HeaderClass { size, tile, levels, block_exp, precinct_exp, bits: 8, components, mct }
}

impl HeaderClass {
    fn header(self) -> Vec<u8> {
        let component = Component { bit_depth: self.bits, signed: false, dx: 1, dy: 1 };
        let siz = Siz {
            capabilities: 0,
            x1: self.size,
            y1: self.size,
            x0: 0,
            y0: 0,
            tile_width: self.tile,
            tile_height: self.tile,
            tile_x0: 0,
            tile_y0: 0,
            components: vec![component; usize::from(self.components)],
        };
        let mut out = Marker::SOC.bytes().to_vec();
        out.extend(siz.write());
        // Scod 1: user precincts; LRCP; one layer; then the transforms (table A.15).
        let mut cod = vec![1, 0, 0, 1, u8::from(self.mct), self.levels];
        cod.extend([self.block_exp - 2, self.block_exp - 2, 0, 1]);
        cod.extend((0..=self.levels).map(|_| self.precinct_exp << 4 | self.precinct_exp));
        segment(&mut out, Marker::COD, &cod);
        // No quantization, one guard bit; an exponent per subband in the upper five bits (table A.28).
        let mut qcd = vec![1 << 5];
        qcd.extend(self.exponents().into_iter().map(|exponent| exponent << 3));
        segment(&mut out, Marker::QCD, &qcd);
        out
    }

    /// Exponents as the encoder of the ground segment writes them: LL, then HL, LH, HH from the lowest resolution up.
    /// One bit more than the samples have, and one for the component transform; the growth in a subband (one bit in HL
    /// and LH, two in HH) is taken back by one at the two finest resolutions, fully at the finest.
    fn exponents(self) -> Vec<u8> {
        let base = self.bits + 1 + u8::from(self.mct);
        let mut out = vec![base];
        for resolution in 1..=self.levels {
            let growth = match self.levels - resolution {
                0 => [0, 0, 1],
                1 => [1, 1, 1],
                _ => [1, 1, 2],
            };
            out.extend(growth.map(|bits| base + bits));
        }
        out
    }
}

fn segment(out: &mut Vec<u8>, marker: Marker, body: &[u8]) {
    out.extend(marker.bytes());
    out.extend(u16::try_from(body.len() + 2).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(body);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::Band;

    fn assets() -> Vec<Asset> {
        let mut out = Vec::new();
        for resolution in Resolution::ALL {
            let image = [Quantity::Aot, Quantity::Wvp, Quantity::Scl, Quantity::Tci, Quantity::Cld, Quantity::Snw];
            let bands = Band::ALL.into_iter().map(Quantity::Band);
            out.extend(image.into_iter().chain(bands).map(|quantity| Asset { quantity, resolution }));
        }
        for band in Band::ALL {
            out.extend(
                [Quantity::Detfoo(band), Quantity::Qualit(band)]
                    .map(|q| Asset { quantity: q, resolution: band.native() }),
            );
        }
        out.push(Asset { quantity: Quantity::Classi, resolution: Resolution::R60 });
        out
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn every_class_fits_its_array() {
        for asset in assets() {
            for level in [Level::L1C, Level::L2A] {
                let Some(header) = assumed_header(asset, level) else {
                    assert!(level == Level::L1C || asset.quantity == Quantity::Band(Band::B10), "{asset}");
                    continue;
                };
                let profile = HeaderProfile::parse(&header).unwrap();
                assert_eq!(profile.misfit(asset), None, "{asset} {level}");
                assert_eq!(profile.encoding, Encoding::Jpeg2000 { codec_header: header });
            }
        }
        assert_eq!(assumed_header("TCI_10m".parse().unwrap(), Level::L1C), None);
        assert_eq!(assumed_header("SCL_20m".parse().unwrap(), Level::L1C), None);
    }

    #[test]
    fn a_kind_without_a_class_is_told_from_an_unknown_encoder() {
        let profile =
            |asset: &str| HeaderProfile::parse(&assumed_header(asset.parse().unwrap(), Level::L2A).unwrap()).unwrap();
        let origin = |asset: &str, level, header: &HeaderProfile| header_origin(asset.parse().unwrap(), level, header);
        let (b01, tci) = (profile("B01_60m"), profile("TCI_10m"));
        assert_eq!(origin("B01_60m", Level::L2A, &b01), HeaderOrigin::Known);
        assert!(
            matches!(origin("TCI_10m", Level::L1C, &tci), HeaderOrigin::Unknown(what) if what.contains("1024 x 1024"))
        );
        let small = HeaderProfile { tile: (256, 256), ..tci };
        assert_eq!(origin("TCI_10m", Level::L1C, &small), HeaderOrigin::Unclassed);
        let HeaderOrigin::Unknown(what) = origin("B01_60m", Level::L2A, &profile("SCL_60m")) else { panic!() };
        assert!(what.contains("8 bit vs 15 bit"), "{what}");
        let mut early = profile("SCL_60m");
        (early.bit_depth, early.tile) = (12, (2048, 2048));
        assert_eq!(origin("B01_60m", Level::L2A, &early), HeaderOrigin::Early);
    }

    /// One class byte for byte, so that the test runs without the real data too.
    #[test]
    fn the_ten_metre_bands_have_this_header() {
        let header = assumed_header("B02_10m".parse().unwrap(), Level::L2A).unwrap();
        assert_eq!(
            hex(&header),
            "ff4fff510029000000002ae400002ae400000000000000000000040000000400000000000000000000010e0101\
             ff520011010000010004040400018888888888ff5c00102080888890888890888888808088"
        );
    }

    #[test]
    fn classes_are_those_of_real_files() {
        let Some(path) = crate::real_data::real_data("golden/header_classes.json") else { return };
        let text = std::fs::read_to_string(path).unwrap();
        let mine: Vec<String> = assets()
            .into_iter()
            .flat_map(|asset| [assumed_header(asset, Level::L2A), assumed_header(asset, Level::L1C)])
            .flatten()
            .map(|header| hex(&header[2..]))
            .collect();
        let seen: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        // Not made by the ground segment, or not a raster of the layout.
        let other = ["prelaunch", "user", "preview", "PVI"];
        let mut checked = 0;
        for class in &seen {
            if other.iter().any(|word| class["files"][0].as_str().unwrap().contains(word)) {
                continue;
            }
            assert!(mine.contains(&class["key"].as_str().unwrap().to_owned()), "{class}");
            checked += 1;
        }
        assert_eq!(checked, 12, "classes of real products");
    }
}
