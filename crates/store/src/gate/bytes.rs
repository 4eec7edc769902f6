//! Whether the bytes that references stand for are what the index says: samples of them, a dozen bytes each of JPEG 2000
//! tiles, GeoTIFF tiles whole.

use std::ops::Range;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use s2ice_jpeg2000::Sot;
use s2ice_jpeg2000::segment::sot::SOT_BYTES;
use s2ice_manifest::encoding::Encoding;
use s2ice_manifest::source::facts::Version;
use s2ice_manifest::source::location::{Fetched, Source, SourceError, SourceUrl};

use super::random::Random;
use super::sample::{Sample, choose};
use super::tiff_tile;
use crate::error::{Error, Result};
use crate::window::Windows;

/// Samples on their way; the source bounds its own connections.
const CONCURRENT: usize = 16;

/// Tile-parts of a sample that are looked at, one request each: a second one tells that the tiles between are right.
const TILE_PARTS: u8 = 2;

/// Bytes of the EOC marker.
const EOC_BYTES: u64 = 2;

/// What became of the samples.
pub(super) enum Outcome {
    /// How many were looked at.
    Looked(usize),
    /// Why none was.
    Skipped(&'static str),
}

/// Looks at samples of the references that a run wrote from files.
///
/// # Errors
/// [`Error::Gate`] where the bytes are not those of the tile, [`Error::Location`] where the source cannot be read.
pub(super) async fn check(windows: &Windows) -> Result<Outcome> {
    let gate = &windows.options.gate;
    let Some(source) = &gate.source else { return Ok(Outcome::Skipped("the source is not to be asked")) };
    if gate.sample == 0 {
        return Ok(Outcome::Skipped("no samples were asked for"));
    }
    let samples = choose(&windows.plan.arrays, gate.sample, &mut Random::new(&windows.options.run));
    let count = samples.len();
    if count == 0 {
        return Ok(Outcome::Skipped("no reference was written from a file"));
    }
    let looks: Vec<_> = samples.into_iter().map(|sample| look(windows, source, sample).boxed()).collect();
    let () = stream::iter(looks).buffer_unordered(CONCURRENT).try_collect().await?;
    Ok(Outcome::Looked(count))
}

async fn look(windows: &Windows, source: &Source, sample: Sample<'_>) -> Result<()> {
    let Sample { raster, range, tile, .. } = sample;
    let refused = |why: String| refused(windows, &sample, &why);
    let wrong = |at: u64, what: String| wrong(windows, &sample, at, &what);
    let path =
        SourceUrl::decoded_path(&raster.path).ok_or_else(|| refused("its file has no usable name".to_owned()))?;
    if let Encoding::Tiff(encoding) = &raster.header.encoding {
        let fetched = fetch(windows, source, &sample, &path, range.offset()..range.end()).await?;
        let samples = u64::from(raster.header.tile.0) * u64::from(raster.header.tile.1);
        let bytes = samples * u64::from(raster.header.components) * u64::from(raster.header.bit_depth.div_ceil(8));
        return tiff_tile::check(*encoding, &fetched.bytes, bytes).map_err(|what| wrong(range.offset(), what));
    }
    let last = raster.tiles.iter().all(|other| other.offset <= range.offset());
    let expected = Expected { tile, length: range.length(), last };
    let mut from = 0;
    for part in 0..TILE_PARTS {
        let at = range.offset().saturating_add(from);
        let end = at.saturating_add(SOT_BYTES as u64);
        let fetched = fetch(windows, source, &sample, &path, at..end).await?;
        match expected.part(part, from, &fetched.bytes).map_err(|what| wrong(at, what))? {
            Some(next) => from = next,
            None => break,
        }
    }
    Ok(())
}

/// Reads a part of the file of a sample, which must still be the one that was referenced.
async fn fetch(
    windows: &Windows,
    source: &Source,
    sample: &Sample<'_>,
    path: &str,
    bytes: Range<u64>,
) -> Result<Fetched> {
    let Sample { raster, range, .. } = sample;
    let at = bytes.start;
    let refused = |why: String| refused(windows, sample, &why);
    let wrong = |at: u64, what: String| wrong(windows, sample, at, &what);
    let fetched = match source.get_range(path, bytes).await {
        Ok(fetched) => fetched,
        Err(SourceError::PastEnd { .. }) => return Err(wrong(at, "there is nothing, it is shorter".to_owned())),
        Err(SourceError::Missing { url }) => return Err(refused(format!("{url} does not exist any more"))),
        Err(error) => return Err(error.into()),
    };
    if let Some(what) = changed(raster.etag.as_deref(), raster.last_modified, &fetched) {
        let what = format!("the {what} of its file is another than that of its {}", raster.header.encoding.holder());
        return Err(refused(format!("{what}: it was replaced; run again, or index the product again")));
    }
    if range.end() > fetched.size {
        return Err(wrong(fetched.size, format!("it ends, the index has the tile up to byte {}", range.end())));
    }
    Ok(fetched)
}

fn refused(windows: &Windows, sample: &Sample<'_>, why: &str) -> Error {
    let product = windows.plan.steps.get(sample.step).map(|step| step.id.to_string()).unwrap_or_default();
    let asset = sample.array.manifest.asset;
    let detail = format!("tile {} of {asset} of {product} is not as referenced: {why}", sample.tile);
    Error::Gate { url: windows.url.to_string(), detail }
}

fn wrong(windows: &Windows, sample: &Sample<'_>, at: u64, what: &str) -> Error {
    let remedy = match sample.raster.header.encoding {
        Encoding::Jpeg2000 { .. } => "index the product again",
        Encoding::Tiff(_) => "the file is damaged: leave it out (--arrays, --datetime) until it is repaired",
    };
    refused(windows, sample, &format!("at byte {at} of its file {what}; {remedy}"))
}

/// By what an answer shows that it is not of the file that was referenced.
fn changed(
    etag: Option<&str>,
    last_modified: Option<chrono::DateTime<chrono::Utc>>,
    answer: &Fetched,
) -> Option<&'static str> {
    let now = Version { etag: answer.etag.as_deref(), last_modified: answer.last_modified };
    Version { etag, last_modified }.differs(now)
}

/// What the index says of a tile.
struct Expected {
    /// Number in raster order.
    tile: u32,
    /// Bytes of all its tile-parts.
    length: u64,
    /// True where no other tile begins behind it.
    last: bool,
}

impl Expected {
    /// Checks the SOT of tile-part number `part` of the tile, `from` bytes from the tile's first. Where the next one begins,
    /// if there is one; what is wrong.
    fn part(&self, part: u8, from: u64, bytes: &[u8]) -> std::result::Result<Option<u64>, String> {
        let left = self.length.saturating_sub(from);
        let sot = Sot::parse(bytes).map_err(|_| "no tile-part begins".to_owned())?;
        if u32::from(sot.tile) != self.tile {
            return Err(format!("tile {} begins, the index says {}", sot.tile, self.tile));
        }
        if sot.tpsot != part {
            return Err(format!("tile-part {} of the tile begins, not tile-part {part}", sot.tpsot));
        }
        let length = match u64::from(sot.psot) {
            // To the end of the codestream: the last tile-part only (ISO/IEC 15444-1, A.4.2).
            0 if self.last => left,
            0 => return Err("a tile-part of unknown length begins, the index has more tiles behind it".to_owned()),
            length => length,
        };
        let rest = left
            .checked_sub(length)
            .ok_or_else(|| format!("a tile-part of {length} bytes begins, the index says {left}"))?;
        // A last tile-part whose length the index leaves open reaches to the end of the file.
        let ends = rest == 0 || (self.last && rest == EOC_BYTES);
        let told = (sot.tnsot != 0).then(|| sot.tpsot + 1 == sot.tnsot);
        match (ends, told) {
            (true, Some(false)) => Err(format!("one of {} tile-parts begins, the index has fewer", sot.tnsot)),
            (false, Some(true)) => Err(format!("a last tile-part of {length} bytes begins, the index says {left}")),
            (true, _) => Ok(None),
            (false, _) => Ok(Some(from + length)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sot(tile: u16, psot: u32, tpsot: u8, tnsot: u8) -> [u8; SOT_BYTES] {
        Sot { tile, psot, tpsot, tnsot }.write()
    }

    const SIX: Expected = Expected { tile: 6, length: 500, last: false };

    #[test]
    fn a_tile_is_one_or_more_tile_parts() {
        assert_eq!(SIX.part(0, 0, &sot(6, 500, 0, 1)).unwrap(), None);
        assert_eq!(SIX.part(0, 0, &sot(6, 500, 0, 0)).unwrap(), None);
        assert_eq!(SIX.part(0, 0, &sot(6, 200, 0, 2)).unwrap(), Some(200));
        assert_eq!(SIX.part(1, 200, &sot(6, 300, 1, 2)).unwrap(), None);
        assert_eq!(SIX.part(1, 200, &sot(6, 100, 1, 0)).unwrap(), Some(300));
    }

    #[test]
    fn only_the_last_tile_may_leave_its_length_open() {
        let last = Expected { last: true, ..SIX };
        assert_eq!(last.part(0, 0, &sot(6, 0, 0, 1)).unwrap(), None);
        assert_eq!(last.part(0, 0, &sot(6, 498, 0, 1)).unwrap(), None);
        assert!(SIX.part(0, 0, &sot(6, 0, 0, 1)).unwrap_err().contains("unknown length"));
        assert!(SIX.part(0, 0, &sot(6, 498, 0, 1)).unwrap_err().contains("498 bytes begins, the index says 500"));
    }

    #[test]
    fn what_is_not_the_tile_is_told() {
        for (bytes, words) in [
            (sot(7, 500, 0, 1), "tile 7 begins, the index says 6"),
            (sot(6, 501, 0, 1), "501 bytes begins, the index says 500"),
            (sot(6, 499, 0, 1), "a last tile-part of 499 bytes"),
            (sot(6, 500, 0, 2), "one of 2 tile-parts begins"),
            (sot(6, 500, 1, 2), "tile-part 1 of the tile"),
            ([0xFF; SOT_BYTES], "no tile-part begins"),
        ] {
            let error = SIX.part(0, 0, &bytes).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(SIX.part(0, 0, &sot(6, 500, 0, 1)[..11]).is_err());
    }
}
