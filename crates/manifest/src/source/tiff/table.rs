//! From the tags of a directory to what a store has to know of the file: encoding, place on the ground, tiles.

use std::collections::BTreeMap;

use async_tiff::TagValue;
use async_tiff::metadata::ImageFileDirectoryReader;
use async_tiff::reader::Endianness;
use futures::FutureExt as _;
use s2ice_jpeg2000::TileSpan;

use super::directory::{Directory, tag};
use super::pieces::Pieces;
use crate::encoding::{Endian, TiffCompression, TiffEncoding, TiffPredictor};
use crate::grid::TileGeocoding;
use crate::ids::Resolution;

/// Uncompressed bytes of a tile: what a reader holds in memory for one chunk.
const MAX_TILE_BYTES: u64 = 64 * 1024 * 1024;

/// Edge of an image or tile in pixels.
const MAX_EDGE: u64 = 1 << 16;

/// What the tags of a file say.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// How tiles are written.
    pub encoding: TiffEncoding,
    /// Components of a pixel.
    pub components: u32,
    /// Image height and width, pixels.
    pub image: (u32, u32),
    /// Tile height and width, pixels.
    pub tile: (u32, u32),
    /// Bits of a sample, 8 or 16.
    pub bit_depth: u8,
    /// Place on the ground.
    pub place: TileGeocoding,
    /// Pixel size.
    pub resolution: Resolution,
    /// Tiles in raster order; without length where the file has none (sparse).
    pub tiles: Vec<TileSpan>,
}

/// Reads the tags of a checked directory, whose bytes are all in `pieces`, and what they mean for a file of `size` bytes.
///
/// # Errors
/// What keeps the file from being referenced, in words.
pub fn table(pieces: &Pieces, directory: &Directory, size: u64) -> Result<Table, String> {
    let tags = Tags(tags(pieces, directory).map_err(|error| format!("its tags cannot be read: {error}"))?);
    tags.table(directory.big_endian, size)
}

fn tags(pieces: &Pieces, directory: &Directory) -> async_tiff::error::AsyncTiffResult<BTreeMap<u16, TagValue>> {
    let order = if directory.big_endian { Endianness::BigEndian } else { Endianness::LittleEndian };
    let reading = async {
        let reader = ImageFileDirectoryReader::open(pieces, directory.offset, directory.big, order).await?;
        let mut tags = BTreeMap::new();
        for entry in &directory.entries {
            let (tag, value) = reader.read_tag(pieces, *entry).await?;
            tags.insert(tag.to_u16(), value);
        }
        Ok(tags)
    };
    // The bytes are there: nothing has to be waited for.
    reading.now_or_never().unwrap_or_else(|| {
        Err(async_tiff::error::AsyncTiffError::General("bytes are missing that were looked at before".to_owned()))
    })
}

struct Tags(BTreeMap<u16, TagValue>);

impl Tags {
    fn numbers(&self, code: u16) -> Result<Option<Vec<u64>>, String> {
        let Some(value) = self.0.get(&code) else { return Ok(None) };
        let values = match value {
            TagValue::List(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        let number = |value: &TagValue| match value {
            TagValue::Short(number) => Some(u64::from(*number)),
            TagValue::Unsigned(number) => Some(u64::from(*number)),
            TagValue::UnsignedBig(number) => Some(*number),
            _ => None,
        };
        let numbers: Option<Vec<u64>> = values.iter().map(number).collect();
        numbers.map(Some).ok_or_else(|| format!("tag {code} holds other things than whole numbers"))
    }

    fn one(&self, code: u16) -> Result<Option<u64>, String> {
        match self.numbers(code)?.as_deref() {
            None => Ok(None),
            Some([number]) => Ok(Some(*number)),
            Some(numbers) => Err(format!("tag {code} has {} values, not one", numbers.len())),
        }
    }

    /// The value that all components share.
    fn shared(&self, code: u16, default: u64, what: &str) -> Result<u64, String> {
        let Some(numbers) = self.numbers(code)? else { return Ok(default) };
        match numbers.split_first() {
            Some((first, rest)) if rest.iter().all(|number| number == first) => Ok(*first),
            _ => Err(format!("its components differ in their {what}")),
        }
    }

    fn doubles(&self, code: u16) -> Option<Vec<f64>> {
        let values = match self.0.get(&code)? {
            TagValue::List(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        let number = |value: &TagValue| if let TagValue::Double(number) = value { Some(*number) } else { None };
        values.iter().map(number).collect()
    }

    fn edge(&self, code: u16, what: &str) -> Result<u32, String> {
        let number = self.one(code)?.ok_or_else(|| format!("it does not state its {what}"))?;
        let known = (1..=MAX_EDGE).contains(&number).then(|| u32::try_from(number).ok()).flatten();
        known.ok_or_else(|| format!("its {what} is {number}"))
    }

    fn table(&self, big_endian: bool, size: u64) -> Result<Table, String> {
        if self.one(tag::NEW_SUBFILE_TYPE)?.unwrap_or(0) != 0 {
            return Err("its first image is an overview or a mask, not the image itself".to_owned());
        }
        let image = (self.edge(tag::IMAGE_LENGTH, "height")?, self.edge(tag::IMAGE_WIDTH, "width")?);
        if self.0.contains_key(&tag::STRIP_OFFSETS) || !self.0.contains_key(&tag::TILE_OFFSETS) {
            return Err("it is in strips: only tiled files can be referenced (gdal_translate -of COG)".to_owned());
        }
        let tile = (self.edge(tag::TILE_LENGTH, "tile height")?, self.edge(tag::TILE_WIDTH, "tile width")?);
        let components = match self.one(tag::SAMPLES_PER_PIXEL)?.unwrap_or(1) {
            1 => 1,
            3 => 3,
            other => return Err(format!("it has {other} components; one or three can be referenced")),
        };
        let bit_depth = match self.shared(tag::BITS_PER_SAMPLE, 1, "bits per sample")? {
            8 => 8,
            16 => 16,
            other => return Err(format!("it has samples of {other} bits; 8 or 16 can be referenced")),
        };
        let encoding = self.encoding(components, bit_depth, big_endian)?;
        let tile_bytes = u64::from(tile.0) * u64::from(tile.1) * u64::from(components) * u64::from(bit_depth / 8);
        if tile_bytes > MAX_TILE_BYTES {
            return Err(format!("its tiles have {tile_bytes} bytes each, at most {MAX_TILE_BYTES} can be decoded"));
        }
        if let Some(TagValue::Ascii(text)) = self.0.get(&tag::GDAL_NODATA)
            && text.trim().parse::<f64>() != Ok(0.0)
        {
            let shown: String = text.chars().take(40).collect();
            return Err(format!("its nodata value is {shown:?}, not 0"));
        }
        let (place, resolution) = self.place()?;
        let tiles = self.tiles(image, tile, size)?;
        if encoding.compression == TiffCompression::None
            && let Some(number) = tiles.iter().position(|span| span.length != 0 && span.length != tile_bytes)
        {
            let found = tiles[number].length;
            return Err(format!("tile {number} has {found} bytes, uncompressed tiles have {tile_bytes}"));
        }
        Ok(Table { encoding, components, image, tile, bit_depth, place, resolution, tiles })
    }

    fn encoding(&self, components: u32, bit_depth: u8, big_endian: bool) -> Result<TiffEncoding, String> {
        let compression = match self.one(tag::COMPRESSION)?.unwrap_or(1) {
            1 => TiffCompression::None,
            8 | 32_946 => TiffCompression::Deflate,
            other => {
                let name = match other {
                    5 => " (LZW)",
                    6 | 7 => " (JPEG)",
                    34_712 => " (JPEG 2000)",
                    34_887 => " (LERC)",
                    34_925 => " (LZMA)",
                    50_000 => " (Zstandard)",
                    50_001 => " (WebP)",
                    _ => "",
                };
                return Err(format!("its compression is {other}{name}; none or deflate can be referenced"));
            }
        };
        // Without compression libtiff does not look at the predictor.
        let predictor = match self.one(tag::PREDICTOR)?.unwrap_or(1) {
            1 => TiffPredictor::None,
            2 if compression == TiffCompression::None => {
                return Err("it states predictor 2 without a compression, which readers take in two ways".to_owned());
            }
            2 => TiffPredictor::Horizontal,
            other => return Err(format!("its predictor is {other}; 1 or 2 can be referenced")),
        };
        match self.shared(tag::SAMPLE_FORMAT, 1, "sample format")? {
            1 => {}
            2 => return Err("its samples are signed".to_owned()),
            3 => return Err("its samples are floating-point numbers".to_owned()),
            other => return Err(format!("its sample format is {other}, not unsigned integers")),
        }
        match (self.one(tag::PHOTOMETRIC)?, components) {
            (None | Some(1), _) | (Some(3), 1) | (Some(2), 3) => {}
            (Some(other), _) => {
                return Err(format!("its photometric interpretation is {other} at {components} components"));
            }
        }
        if components > 1 && self.one(tag::PLANAR_CONFIGURATION)?.unwrap_or(1) != 1 {
            return Err(
                "its components lie in planes of their own; only pixel interleaving can be referenced".to_owned()
            );
        }
        for (code, what) in [(tag::FILL_ORDER, "fill order"), (tag::ORIENTATION, "orientation")] {
            match self.one(code)?.unwrap_or(1) {
                1 => {}
                other => return Err(format!("its {what} is {other}, not the usual one")),
            }
        }
        let endian = if big_endian && bit_depth > 8 { Endian::Big } else { Endian::Little };
        Ok(TiffEncoding { compression, predictor, endian })
    }

    /// Upper-left corner, zone and pixel size, all of which must be whole (GeoTIFF 1.1, annex B.6).
    fn place(&self) -> Result<(TileGeocoding, Resolution), String> {
        let unplaced = || "it does not state its place (GeoTIFF pixel scale and tie point)".to_owned();
        if self.0.contains_key(&tag::MODEL_TRANSFORMATION) {
            return Err("its place is given by a transformation matrix, not by pixel scale and tie point".to_owned());
        }
        let scale = self.doubles(tag::MODEL_PIXEL_SCALE).ok_or_else(unplaced)?;
        let tie = self.doubles(tag::MODEL_TIEPOINT).ok_or_else(unplaced)?;
        let ([width, height, _], [column, row, _, x, y, _]) = (&scale[..], &tie[..]) else { return Err(unplaced()) };
        let metres = |r: &Resolution| f64::from(r.metres());
        let resolution = Resolution::ALL.into_iter().find(|r| metres(r) == *width && metres(r) == *height);
        let resolution = resolution.ok_or_else(|| format!("its pixels have {width:?} by {height:?} m"))?;
        let (Some(ulx), Some(uly)) = (whole(*x), whole(*y)) else {
            return Err(format!("its corner lies at ({x:?}, {y:?})"));
        };
        if (*column, *row) != (0.0, 0.0) {
            return Err(format!("its tie point is pixel ({column:?}, {row:?}), not the corner"));
        }
        Ok((TileGeocoding { epsg: self.epsg()?, ulx, uly }, resolution))
    }

    /// The projected coordinate system, from the GeoKeys that stand in the directory itself.
    fn epsg(&self) -> Result<u32, String> {
        let keys = self.numbers(tag::GEO_KEY_DIRECTORY)?.unwrap_or_default();
        let key = |wanted: u64| {
            let entries = keys.chunks_exact(4).skip(1);
            entries.filter(|entry| entry[0] == wanted && entry[1] == 0 && entry[2] == 1).map(|entry| entry[3]).next()
        };
        // GTModelType 1 is projected, GTRasterType 1 has the tie point at the corner of the pixel.
        if key(1024) != Some(1) {
            return Err("it is not in a projected coordinate system".to_owned());
        }
        if key(1025) != Some(1) {
            return Err("its tie point is the middle of a pixel, not the corner".to_owned());
        }
        key(3072).and_then(|epsg| u32::try_from(epsg).ok()).ok_or_else(|| "it states no EPSG code".to_owned())
    }

    fn tiles(&self, image: (u32, u32), tile: (u32, u32), size: u64) -> Result<Vec<TileSpan>, String> {
        let offsets = self.numbers(tag::TILE_OFFSETS)?.unwrap_or_default();
        let counts = self.numbers(tag::TILE_BYTE_COUNTS)?.ok_or("it does not state the lengths of its tiles")?;
        let expected = u64::from(image.0.div_ceil(tile.0)) * u64::from(image.1.div_ceil(tile.1));
        if offsets.len() as u64 != expected || counts.len() != offsets.len() {
            return Err(format!(
                "it lists {} offsets and {} lengths of tiles, its grid has {expected}",
                offsets.len(),
                counts.len()
            ));
        }
        let mut end = 0;
        offsets
            .into_iter()
            .zip(counts)
            .enumerate()
            .map(|(number, (offset, length))| match (offset, length) {
                // Behind the one before, so that tables of such tiles stay short.
                (0, 0) => Ok(TileSpan { offset: end, length: 0 }),
                (0, _) | (_, 0) => Err(format!("tile {number} lies at byte {offset}, {length} bytes long")),
                _ => {
                    end = offset.checked_add(length).filter(|end| *end <= size).ok_or_else(|| {
                        format!("tile {number} lies at byte {offset}, {length} bytes long; the file has {size}")
                    })?;
                    Ok(TileSpan { offset, length })
                }
            })
            .collect()
    }
}

/// A coordinate in whole metres.
#[allow(clippy::cast_possible_truncation)]
fn whole(metres: f64) -> Option<i64> {
    (metres.is_finite() && metres.fract() == 0.0 && metres.abs() < 1e9).then_some(metres as i64)
}
