//! Whether the numbers of a reflectance band contradict the offset that its item states.
//!
//! Where an offset of -1000 is still to be added, 1000 stands for no reflectance at all, and nothing but noise lies below.
//! Numbers from which it was taken already have water, shadow and forest there. Bright scenes look alike in both states,
//! so silence is an answer too.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use serde::{Deserialize, Serialize};

use super::TiffRecord;
use crate::encoding::{Endian, TiffCompression, TiffPredictor};
use crate::source::jp2_header::FileError;
use crate::source::location::Source;
use crate::source::version::Version;

/// Read of a tile: its first rows, some ten thousand pixels.
const READ: u64 = 64 * 1024;

/// Most bytes that are made of them.
const MOST_DECODED: u64 = 4 * 1024 * 1024;

/// Tiles that are read of a file, the longest first, while too few pixels tell anything.
const TILES: usize = 2;

/// Pixels that must be able to contradict before their agreement counts.
const ENOUGH: u64 = 1000;

/// Share of the valid pixels that noise and corrections put below no reflectance at most.
const NOISE: f64 = 0.1;

/// What the pixels of a band say of an offset, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetTally {
    /// The offset that was asked about.
    pub add_offset: i32,
    /// Pixels that are not 0.
    pub valid: u64,
    /// Those that would be far below no reflectance: lower than three quarters of the offset's size.
    pub below: u64,
    /// Those dark enough to be below, had the offset been taken out already: lower than twice its size.
    pub telling: u64,
}

impl OffsetTally {
    fn new(add_offset: i32) -> Self {
        Self { add_offset, valid: 0, below: 0, telling: 0 }
    }

    fn add(&mut self, numbers: impl Iterator<Item = u16>) {
        let offset = self.add_offset.unsigned_abs();
        for number in numbers.map(u32::from).filter(|number| *number != 0) {
            self.valid += 1;
            self.below += u64::from(number < offset / 4 * 3);
            self.telling += u64::from(number < offset.saturating_mul(2));
        }
    }

    fn is_enough(self) -> bool {
        self.telling >= ENOUGH
    }

    /// Whether the offset may be believed; `known` says that nothing else than the pixels could speak against it.
    ///
    /// # Errors
    /// Why not, in words.
    #[allow(clippy::cast_precision_loss)]
    pub fn check(self, known: bool) -> Result<(), String> {
        let Self { add_offset, valid, below, telling } = self;
        let share = below as f64 / valid.max(1) as f64;
        if share > NOISE {
            return Err(format!(
                "its item states the radiometric offset {add_offset}, but {:.0} % of {valid} pixels that were looked at are \
                 below {}: it is in the numbers already",
                share * 100.0,
                add_offset.unsigned_abs() / 4 * 3
            ));
        }
        if known || self.is_enough() {
            return Ok(());
        }
        Err(format!(
            "its item states the radiometric offset {add_offset}, and {telling} of {valid} pixels that were looked at are dark \
             enough to tell whether it is in the numbers already: too few to believe a collection other than {}",
            crate::stac::UNSHIFTED
        ))
    }
}

/// Looks at some pixels of a band. One request, or two where the first finds too little.
///
/// # Errors
/// [`FileError`]: the source's, another file by now, or a tile that cannot be decoded.
pub(in crate::source) async fn ask_offset(
    source: &Source,
    path: &str,
    record: &TiffRecord,
    add_offset: i32,
) -> Result<OffsetTally, FileError> {
    let mut tiles = record.spans();
    // Tiles of nodata are short, and at equal length the first comes first.
    tiles.sort_by_key(|span| std::cmp::Reverse(span.length));
    let mut tally = OffsetTally::new(add_offset);
    for span in tiles.into_iter().take(TILES).filter(|span| span.length > 0) {
        let end = span.offset.saturating_add(span.length.min(READ));
        let fetched = source.get_range(path, span.offset..end).await?;
        let now = Version { etag: fetched.etag.as_deref(), last_modified: fetched.last_modified };
        if fetched.size != record.size || record.version().differs(now).is_some() {
            return Err(FileError::Changed { path: path.to_owned() });
        }
        let numbers =
            numbers(&fetched.bytes, record).map_err(|reason| FileError::Refused { path: path.to_owned(), reason })?;
        tally.add(numbers.into_iter());
        if tally.is_enough() {
            break;
        }
    }
    Ok(tally)
}

/// The numbers in the first bytes of a tile, as far as they go.
fn numbers(bytes: &[u8], record: &TiffRecord) -> Result<Vec<u16>, String> {
    if record.bit_depth != 16 || record.components != 1 {
        return Err(format!("a band has one component of 16 bits, not {} of {}", record.components, record.bit_depth));
    }
    let plain = match record.encoding.compression {
        TiffCompression::None => bytes.to_vec(),
        TiffCompression::Deflate => {
            let mut plain = Vec::new();
            // The bytes end within the stream, which is an error once everything is out of them.
            let ended = ZlibDecoder::new(bytes).take(MOST_DECODED).read_to_end(&mut plain);
            if let Err(error) = ended
                && (plain.is_empty() || error.kind() != std::io::ErrorKind::UnexpectedEof)
            {
                return Err(format!("its tiles cannot be decoded: {error}"));
            }
            plain
        }
    };
    let number = |pair: &[u8]| match record.encoding.endian {
        Endian::Little => u16::from_le_bytes([pair[0], pair[1]]),
        Endian::Big => u16::from_be_bytes([pair[0], pair[1]]),
    };
    let mut numbers: Vec<u16> = plain.chunks_exact(2).map(number).collect();
    if record.encoding.predictor == TiffPredictor::Horizontal {
        let width = usize::try_from(record.tile.1).unwrap_or(usize::MAX).max(1);
        for row in numbers.chunks_mut(width) {
            let mut left = 0_u16;
            for number in row {
                left = left.wrapping_add(*number);
                *number = left;
            }
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;
    use crate::encoding::TiffEncoding;
    use crate::grid::TileGeocoding;
    use crate::source::location::{SourceOptions, SourceUrl};

    const WIDTH: usize = 256;

    fn encoded(numbers: &[u16], encoding: TiffEncoding) -> Vec<u8> {
        let mut stored = numbers.to_vec();
        if encoding.predictor == TiffPredictor::Horizontal {
            for row in stored.chunks_mut(WIDTH) {
                for at in (1..row.len()).rev() {
                    row[at] = row[at].wrapping_sub(row[at - 1]);
                }
            }
        }
        let bytes = |number: u16| match encoding.endian {
            Endian::Little => number.to_le_bytes(),
            Endian::Big => number.to_be_bytes(),
        };
        let plain: Vec<u8> = stored.into_iter().flat_map(bytes).collect();
        match encoding.compression {
            TiffCompression::None => plain,
            TiffCompression::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&plain).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn record(tiles: Vec<(u64, u64)>, size: u64, encoding: TiffEncoding) -> TiffRecord {
        TiffRecord {
            size,
            item: None,
            etag: None,
            last_modified: None,
            encoding,
            components: 1,
            image: (512, 512),
            tile: (WIDTH as u32, WIDTH as u32),
            bit_depth: 16,
            place: TileGeocoding { epsg: 32629, ulx: 0, uly: 0 },
            metres: 60,
            tiles,
            offset: None,
        }
    }

    /// Numbers that do not compress to nothing: `base` and up to `range` more.
    fn scene(base: u16, range: u32) -> Vec<u16> {
        (0..(WIDTH * WIDTH) as u32)
            .map(|i| base + (i.wrapping_mul(2_654_435_761) >> 16) as u16 % range as u16)
            .collect()
    }

    const ENCODINGS: [TiffEncoding; 3] = [
        TiffEncoding {
            compression: TiffCompression::Deflate,
            predictor: TiffPredictor::Horizontal,
            endian: Endian::Little,
        },
        TiffEncoding { compression: TiffCompression::Deflate, predictor: TiffPredictor::None, endian: Endian::Big },
        TiffEncoding { compression: TiffCompression::None, predictor: TiffPredictor::None, endian: Endian::Little },
    ];

    async fn asked(scenes: &[Vec<u16>], encoding: TiffEncoding) -> (OffsetTally, u64) {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, mut tiles) = (vec![0; 100], Vec::new());
        for numbers in scenes {
            let tile = encoded(numbers, encoding);
            tiles.push((file.len() as u64, tile.len() as u64));
            file.extend(tile);
        }
        std::fs::write(folder.path().join("B01.tif"), &file).unwrap();
        let source =
            Source::open(&SourceUrl::parse(folder.path().to_str().unwrap()).unwrap(), &SourceOptions::default());
        let source = source.unwrap();
        let record = record(tiles, file.len() as u64, encoding);
        let tally = ask_offset(&source, "B01.tif", &record, -1000).await.unwrap();
        let other = TiffRecord { size: record.size + 1, ..record };
        let error = ask_offset(&source, "B01.tif", &other, -1000).await.unwrap_err();
        assert!(matches!(error, FileError::Changed { .. }), "{error}");
        (tally, source.stats().requests() - 1)
    }

    #[tokio::test]
    async fn pixels_agree_contradict_or_are_silent() {
        let nodata = vec![0; WIDTH * WIDTH];
        for encoding in ENCODINGS {
            // Water and forest, as they are told; the same with the offset taken out of the numbers.
            let (dark, requests) = asked(&[nodata.clone(), scene(1010, 600)], encoding).await;
            assert_eq!((dark.check(false), dark.below), (Ok(()), 0), "{encoding}");
            assert!(dark.valid > 20_000 && requests <= 2, "{dark:?} {requests}");
            let (shifted, _) = asked(&[nodata.clone(), scene(10, 600)], encoding).await;
            for known in [true, false] {
                let reason = shifted.check(known).unwrap_err();
                assert!(
                    reason.contains("but 100 % of ") && reason.ends_with("it is in the numbers already"),
                    "{reason}"
                );
            }
            // Clouds, and no pixels at all, say nothing: only a collection that is known is believed.
            for silent in [vec![scene(5000, 900)], vec![nodata.clone(), nodata.clone()]] {
                let (tally, requests) = asked(&silent, encoding).await;
                assert_eq!(tally.check(true), Ok(()));
                let reason = tally.check(false).unwrap_err();
                assert!(reason.contains("too few to believe a collection other than sentinel-2-c1-l2a"), "{reason}");
                assert!(requests <= 2);
            }
        }
    }

    #[test]
    fn a_little_noise_is_no_contradiction() {
        let tally = |low: usize, high: usize| {
            let mut tally = OffsetTally::new(-1000);
            tally.add(std::iter::repeat_n(100, low).chain(std::iter::repeat_n(1200, high)));
            tally.check(false).map_err(|reason| reason.ends_with("already"))
        };
        assert_eq!((tally(0, 2000), tally(100, 1900), tally(199, 1801)), (Ok(()), Ok(()), Ok(())));
        assert_eq!((tally(300, 1700), tally(2000, 0), tally(500, 0)), (Err(true), Err(true), Err(true)));
        assert_eq!((tally(0, 999), tally(0, 0)), (Err(false), Err(false)));
    }

    #[test]
    fn damaged_tiles_are_refused() {
        let record = record(vec![], 0, ENCODINGS[0]);
        for bytes in [&b""[..], b"\x78", b"this is no zlib stream", &[0x78, 0x9C, 0xFF, 0xFF, 0xFF]] {
            assert!(numbers(bytes, &record).is_err(), "{bytes:?}");
        }
        let one = TiffRecord { components: 3, ..record };
        assert!(numbers(&[1, 2], &one).is_err());
    }
}
