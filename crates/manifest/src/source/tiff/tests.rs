#![allow(clippy::unwrap_used)]
use bytes::Bytes;
use proptest::prelude::*;

use super::directory::tag;
use super::table::Table;
use super::*;
use crate::encoding::{Endian, TiffCompression, TiffPredictor};

/// Values of a tag.
#[derive(Debug, Clone)]
enum Values {
    Shorts(Vec<u16>),
    Longs(Vec<u32>),
    Doubles(Vec<f64>),
    Text(&'static str),
}

/// A file of tables alone: its tiles are holes.
#[derive(Debug, Clone)]
struct Sample {
    big: bool,
    big_endian: bool,
    tags: Vec<(u16, Values)>,
    size: u64,
}

impl Default for Sample {
    /// 1830 x 1830 pixels of 60 m in tiles of 1024, the third one sparse.
    fn default() -> Self {
        use Values::{Doubles, Longs, Shorts, Text};
        let tags = vec![
            (tag::IMAGE_WIDTH, Shorts(vec![1830])),
            (tag::IMAGE_LENGTH, Shorts(vec![1830])),
            (tag::BITS_PER_SAMPLE, Shorts(vec![16])),
            (tag::COMPRESSION, Shorts(vec![8])),
            (tag::PHOTOMETRIC, Shorts(vec![1])),
            (tag::SAMPLES_PER_PIXEL, Shorts(vec![1])),
            (tag::PLANAR_CONFIGURATION, Shorts(vec![1])),
            (tag::PREDICTOR, Shorts(vec![2])),
            (tag::TILE_WIDTH, Shorts(vec![1024])),
            (tag::TILE_LENGTH, Shorts(vec![1024])),
            (tag::TILE_OFFSETS, Longs(vec![5000, 6004, 0, 7000])),
            (tag::TILE_BYTE_COUNTS, Longs(vec![1000, 900, 0, 3000])),
            (tag::SAMPLE_FORMAT, Shorts(vec![1])),
            (tag::MODEL_PIXEL_SCALE, Doubles(vec![60.0, 60.0, 0.0])),
            (tag::MODEL_TIEPOINT, Doubles(vec![0.0, 0.0, 0.0, 399_960.0, 5_300_040.0, 0.0])),
            (tag::GEO_KEY_DIRECTORY, Shorts(vec![1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32_633])),
            (tag::GDAL_NODATA, Text("0\0")),
        ];
        Self { big: false, big_endian: false, tags, size: 10_000 }
    }
}

impl Sample {
    fn with(mut self, code: u16, values: Values) -> Self {
        self.tags.retain(|(other, _)| *other != code);
        self.tags.push((code, values));
        self.tags.sort_by_key(|(code, _)| *code);
        self
    }

    fn without(mut self, code: u16) -> Self {
        self.tags.retain(|(other, _)| *other != code);
        self
    }

    fn number(&self, out: &mut Vec<u8>, number: u64, length: usize) {
        let bytes = number.to_be_bytes();
        let bytes = &bytes[8 - length..];
        if self.big_endian { out.extend(bytes) } else { out.extend(bytes.iter().rev()) }
    }

    /// Header, directory, values.
    fn bytes(&self) -> Vec<u8> {
        let word = if self.big { 8 } else { 4 };
        let mut out = if self.big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        if self.big {
            [43, 8, 0].into_iter().for_each(|number| self.number(&mut out, number, 2));
            self.number(&mut out, 16, 8);
        } else {
            self.number(&mut out, 42, 2);
            self.number(&mut out, 8, 4);
        }
        let (counter, entry) = if self.big { (8, 20) } else { (2, 12) };
        let mut behind = out.len() + counter + entry * self.tags.len() + word;
        self.number(&mut out, self.tags.len() as u64, counter);
        let mut values = Vec::new();
        for (code, tag) in &self.tags {
            let mut bytes = Vec::new();
            let (kind, count) = match tag {
                Values::Shorts(list) => {
                    list.iter().for_each(|number| self.number(&mut bytes, u64::from(*number), 2));
                    (3, list.len())
                }
                Values::Longs(list) => {
                    list.iter().for_each(|number| self.number(&mut bytes, u64::from(*number), 4));
                    (4, list.len())
                }
                Values::Doubles(list) => {
                    list.iter().for_each(|number| self.number(&mut bytes, number.to_bits(), 8));
                    (12, list.len())
                }
                Values::Text(text) => {
                    bytes.extend(text.as_bytes());
                    (2, text.len())
                }
            };
            self.number(&mut out, u64::from(*code), 2);
            self.number(&mut out, kind, 2);
            self.number(&mut out, count as u64, word);
            if bytes.len() <= word {
                bytes.resize(word, 0);
                out.extend(bytes);
            } else {
                self.number(&mut out, behind as u64, word);
                behind += bytes.len();
                values.extend(bytes);
            }
        }
        self.number(&mut out, 0, word);
        out.extend(values);
        out
    }

    fn read(&self) -> Result<Table, String> {
        read(&self.bytes(), self.size)
    }
}

/// The tables in the first bytes of a file; what lies behind them is not there.
fn read(bytes: &[u8], size: u64) -> Result<Table, String> {
    let mut pieces = Pieces::default();
    pieces.add(0, Bytes::copy_from_slice(bytes));
    match look(&pieces, size)? {
        Look::Done(directory) => table(&pieces, &directory, size),
        Look::Need(range) => Err(format!("bytes {} to {} are needed", range.start, range.end)),
    }
}

#[test]
fn all_four_kinds_of_files_say_the_same() {
    for (big, big_endian) in [(false, false), (false, true), (true, false), (true, true)] {
        let table = Sample { big, big_endian, ..Sample::default() }.read().unwrap();
        let endian = if big_endian { Endian::Big } else { Endian::Little };
        let encoding =
            TiffEncoding { compression: TiffCompression::Deflate, predictor: TiffPredictor::Horizontal, endian };
        assert_eq!((table.encoding, table.image, table.tile), (encoding, (1830, 1830), (1024, 1024)));
        assert_eq!((table.place, table.resolution), (TileGeocoding::of("33TVN".parse().unwrap()), Resolution::R60));
        let spans: Vec<_> = table.tiles.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!(spans, [(5000, 1000), (6004, 900), (6904, 0), (7000, 3000)]);
    }
    // A sample of one byte has no order.
    let byte = Sample { big_endian: true, ..Sample::default() }.with(tag::BITS_PER_SAMPLE, Values::Shorts(vec![8]));
    assert_eq!(byte.read().unwrap().encoding.endian, Endian::Little);
}

#[test]
fn what_cannot_be_referenced_is_refused_by_name() {
    use Values::{Doubles, Longs, Shorts, Text};
    let geo = |keys: &[u16]| Shorts([&[1, 1, 0, 3], keys].concat());
    for (code, values, words) in [
        (tag::COMPRESSION, Shorts(vec![5]), "its compression is 5 (LZW); none or deflate can be referenced"),
        (tag::COMPRESSION, Shorts(vec![50_000]), "(Zstandard)"),
        (tag::COMPRESSION, Shorts(vec![1]), "predictor 2 without a compression"),
        (tag::PREDICTOR, Shorts(vec![3]), "its predictor is 3"),
        (tag::SAMPLE_FORMAT, Shorts(vec![2]), "its samples are signed"),
        (tag::SAMPLE_FORMAT, Shorts(vec![3]), "floating-point"),
        (tag::BITS_PER_SAMPLE, Shorts(vec![12]), "samples of 12 bits"),
        (tag::BITS_PER_SAMPLE, Shorts(vec![16, 8]), "its components differ in their bits per sample"),
        (tag::SAMPLES_PER_PIXEL, Shorts(vec![4]), "it has 4 components"),
        (tag::PHOTOMETRIC, Shorts(vec![6]), "its photometric interpretation is 6 at 1 components"),
        (tag::PHOTOMETRIC, Shorts(vec![0]), "its photometric interpretation is 0"),
        (tag::FILL_ORDER, Shorts(vec![2]), "its fill order is 2"),
        (tag::ORIENTATION, Shorts(vec![4]), "its orientation is 4"),
        (tag::NEW_SUBFILE_TYPE, Longs(vec![1]), "its first image is an overview"),
        (tag::STRIP_OFFSETS, Longs(vec![8]), "it is in strips"),
        (tag::IMAGE_WIDTH, Longs(vec![0]), "its width is 0"),
        (tag::TILE_WIDTH, Longs(vec![4_000_000_000]), "its tile width is 4000000000"),
        (tag::TILE_WIDTH, Shorts(vec![1024, 1024]), "tag 322 has 2 values, not one"),
        (tag::TILE_WIDTH, Doubles(vec![1024.0]), "tag 322 holds other things than whole numbers"),
        (tag::TILE_WIDTH, Shorts(vec![512]), "it lists 4 offsets and 4 lengths of tiles, its grid has 8"),
        (tag::TILE_OFFSETS, Longs(vec![5000, 6004, 0]), "it lists 3 offsets"),
        (
            tag::TILE_OFFSETS,
            Longs(vec![5000, 9_900, 0, 7000]),
            "tile 1 lies at byte 9900, 900 bytes long; the file has",
        ),
        (tag::TILE_OFFSETS, Longs(vec![0, 6004, 0, 7000]), "tile 0 lies at byte 0, 1000 bytes long"),
        (tag::TILE_BYTE_COUNTS, Longs(vec![1000, 0, 0, 3000]), "tile 1 lies at byte 6004, 0 bytes long"),
        (tag::GDAL_NODATA, Text("255\0"), "its nodata value is \"255\", not 0"),
        (tag::GDAL_NODATA, Text("nan\0"), "its nodata value is"),
        (tag::GDAL_NODATA, Text("0"), "tag 42113 is no text"),
        (tag::GDAL_NODATA, Text("\u{e9}0\0"), "tag 42113 is no text"),
        (tag::GDAL_NODATA, Shorts(vec![0]), "tag 42113 is of type 3"),
        (tag::IMAGE_LENGTH, Text("1830\0"), "tag 257 is of type 2"),
        (tag::MODEL_PIXEL_SCALE, Doubles(vec![30.0, 30.0, 0.0]), "its pixels have 30.0 by 30.0 m"),
        (tag::MODEL_PIXEL_SCALE, Doubles(vec![60.0]), "it does not state its place"),
        (
            tag::MODEL_TIEPOINT,
            Doubles(vec![1.0, 0.0, 0.0, 399_960.0, 5_300_040.0, 0.0]),
            "its tie point is pixel (1.0, 0.0)",
        ),
        (tag::MODEL_TIEPOINT, Doubles(vec![0.0, 0.0, 0.0, 399_960.5, 5_300_040.0, 0.0]), "its corner lies at"),
        (tag::MODEL_TIEPOINT, Doubles(vec![0.0, 0.0, 0.0, f64::NAN, 5_300_040.0, 0.0]), "its corner lies at"),
        (tag::MODEL_TRANSFORMATION, Doubles(vec![0.0; 16]), "a transformation matrix"),
        (tag::GEO_KEY_DIRECTORY, geo(&[1024, 0, 1, 2]), "it is not in a projected"),
        (tag::GEO_KEY_DIRECTORY, geo(&[1024, 0, 1, 1, 1025, 0, 1, 2]), "the middle of a pixel"),
        (tag::GEO_KEY_DIRECTORY, geo(&[1024, 0, 1, 1, 1025, 0, 1, 1, 3072]), "it states no EPSG code"),
        (tag::GEO_KEY_DIRECTORY, Shorts(vec![9]), "it is not in a projected"),
    ] {
        let told = Sample::default().with(code, values.clone()).read().unwrap_err();
        assert!(told.contains(words), "{code} {values:?}: {told}");
    }
    for (code, words) in [
        (tag::TILE_OFFSETS, "it is in strips"),
        (tag::TILE_BYTE_COUNTS, "it does not state the lengths of its tiles"),
        (tag::BITS_PER_SAMPLE, "samples of 1 bits"),
        (tag::IMAGE_WIDTH, "it does not state its width"),
        (tag::MODEL_TIEPOINT, "it does not state its place"),
        (tag::GEO_KEY_DIRECTORY, "it is not in a projected"),
    ] {
        let told = Sample::default().without(code).read().unwrap_err();
        assert!(told.contains(words), "{code}: {told}");
    }
    let planes =
        Sample::default().with(tag::SAMPLES_PER_PIXEL, Shorts(vec![3])).with(tag::PHOTOMETRIC, Shorts(vec![2]));
    assert!(planes.read().is_ok());
    assert!(
        planes.with(tag::PLANAR_CONFIGURATION, Shorts(vec![2])).read().unwrap_err().contains("planes of their own")
    );
    let plain = Sample::default().with(tag::COMPRESSION, Shorts(vec![1])).without(tag::PREDICTOR).read().unwrap_err();
    assert_eq!(plain, "tile 0 has 1000 bytes, uncompressed tiles have 2097152");
    let twice = |mut sample: Sample| {
        sample.tags.push((tag::IMAGE_WIDTH, Shorts(vec![1830])));
        sample
    };
    assert_eq!(twice(Sample::default()).read().unwrap_err(), "tag 256 stands twice in its directory");
}

#[test]
fn impossible_numbers_cost_nothing() {
    for (bytes, words) in [
        (&b"PK\x03\x04rest"[..], "it is no TIFF: it begins with neither II nor MM"),
        (b"II\x2b\x00\x08\x00\x01\x00", "it is no BigTIFF"),
        (b"II\x2c\x00\x08\x00\x00\x00", "its version is 44"),
        (b"II\x2a\x00\xff\xff\xff\xff", "its directory lies at byte 4294967295, 2 bytes long"),
        (b"II\x2b\x00\x08\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff", "lies at byte 18446744073709551615, 8 bytes"),
        (
            b"II\x2b\x00\x08\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
            "has 18446744073709551615 entries",
        ),
        (b"II\x2a\x00\x08\x00\x00\x00\x00\x00", "has 0 entries"),
        (
            b"II\x2a\x00\x08\x00\x00\x00\x01\x00\x44\x01\x04\x00\xff\xff\xff\xff\x08\x00\x00\x00",
            "tag 324 has 4294967295 values",
        ),
        (
            b"II\x2a\x00\x08\x00\x00\x00\x01\x00\x44\x01\x04\x00\xff\xff\x00\x00\xf0\xff\xff\xff",
            "tag 324 lies at byte 4294967280, 262140 bytes long; the file has 10000",
        ),
        (
            b"II\x2a\x00\x08\x00\x00\x00\x01\x00\x44\x01\x63\x00\x01\x00\x00\x00\x08\x00\x00\x00",
            "tag 324 is of type 99",
        ),
    ] {
        let told = read(bytes, 10_000).unwrap_err();
        assert!(told.contains(words), "{told}");
    }
    // Of tags that nobody needs not even the type is looked at.
    let strange = b"II\x2a\x00\x08\x00\x00\x00\x01\x00\x01\x00\x63\x00\xff\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(read(strange, 10_000).unwrap_err(), "it does not state its height");
}

fn kinds() -> impl Strategy<Value = Sample> {
    (any::<bool>(), any::<bool>()).prop_map(|(big, big_endian)| Sample { big, big_endian, ..Sample::default() })
}

proptest! {
    /// Of a file that is cut off, or of which other bytes are known, there is a table or one sentence.
    #[test]
    fn damage_is_told(sample in kinds(), cut in 0..600_usize, changes in prop::collection::vec((0..600_usize, any::<u8>()), 0..6)) {
        let mut bytes = sample.bytes();
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        for size in [sample.size, cut as u64] {
            let known = &bytes[..cut.min(bytes.len())];
            match read(known, size) {
                Ok(table) => {
                    prop_assert!(table.tiles.iter().all(|span| span.length == 0 || span.offset + span.length <= size));
                    prop_assert!(table.tile.0 > 0 && table.tile.1 > 0);
                }
                Err(told) => prop_assert!(!told.is_empty() && !told.contains('\n') && told.len() < 300, "{told}"),
            }
        }
    }

    /// However a file is read in parts, the tables are the same.
    #[test]
    fn parts_make_the_whole(sample in kinds(), first in 0..700_u64) {
        let bytes = sample.bytes();
        let mut pieces = Pieces::default();
        let part = |from: u64, to: u64| {
            let at = |offset: u64| usize::try_from(offset).unwrap().min(bytes.len());
            Bytes::copy_from_slice(&bytes[at(from)..at(to)])
        };
        pieces.add(0, part(0, first));
        let directory = loop {
            match look(&pieces, bytes.len() as u64).unwrap() {
                Look::Done(directory) => break directory,
                Look::Need(range) => pieces.add(range.start, part(range.start, range.end)),
            }
        };
        prop_assert_eq!(table(&pieces, &directory, sample.size), sample.read());
    }
}
