//! The beginnings of tiles: as many resolutions of them as a picture needs.
//!
//! Packets are sorted by resolution, and PLT in the header of a tile-part says how long each is (ISO/IEC 15444-1, A.7.3, B.12):
//! of a tile at 10 m the first percent is what a picture shows.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use s2ice_jpeg2000::{MainHeader, Scan, prefix_lengths_from_head, reduced_size};

use super::file::{File, Trouble};
use super::limits::Limits;
use crate::held::HeldReference;

/// Longer side of a picture at least, pixels, where its raster has as many.
const SIDE: u32 = 300;

/// Rasters up to this size are decoded as they are, pixels.
const SMALL: u32 = 2048;

/// Bytes asked for at first: PLT and the resolutions of most tiles.
const HEAD: u64 = 6 << 10;

/// Longest beginning of a tile, bytes.
const LONGEST: u64 = 256 << 10;

/// Requests under way.
const AT_ONCE: usize = 16;

/// How many resolutions the picture of a raster of this height and width leaves out.
pub(super) fn reduction(header: &MainHeader, (height, width): (u32, u32)) -> u8 {
    let side = height.max(width);
    if side <= SMALL {
        return 0;
    }
    (1..=header.cod().coding.levels).take_while(|reduce| reduced_size(side, *reduce) >= SIDE).last().unwrap_or(0)
}

/// The beginnings of all tiles, without the last `reduce` resolutions.
pub(super) async fn beginnings(
    file: &File<'_>,
    held: &[HeldReference],
    reduce: u8,
    limits: &Limits,
) -> Result<Vec<Bytes>, Trouble> {
    let tiles = held.iter().map(|one| beginning(file, one, reduce, limits));
    futures::stream::iter(tiles.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await
}

async fn beginning(file: &File<'_>, held: &HeldReference, reduce: u8, limits: &Limits) -> Result<Bytes, Trouble> {
    let length = held.reference.length;
    let mut upto = HEAD.min(length);
    loop {
        if !limits.take(upto) {
            return Err(Trouble::Spent);
        }
        let bytes = file.part(held, upto).await?;
        if upto == length {
            return Ok(bytes);
        }
        let wanted = match wanted(file.header, &bytes, reduce).map_err(|reason| file.trouble(&reason))? {
            Some(wanted) if wanted <= upto => {
                let end = usize::try_from(wanted).unwrap_or(bytes.len());
                return Ok(bytes.slice(..end.min(bytes.len())));
            }
            Some(wanted) => wanted,
            None => length,
        };
        if wanted > LONGEST {
            return Err(file.trouble(&format!("a tile needs {wanted} bytes, more than a picture may take of one")));
        }
        upto = wanted.max(upto + 1).min(length);
    }
}

/// Bytes of a tile that hold its resolutions but the last `reduce`, or that must be looked at to tell; `None` where nothing tells.
fn wanted(header: &MainHeader, head: &[u8], reduce: u8) -> Result<Option<u64>, String> {
    match prefix_lengths_from_head(header, head).map_err(|error| error.to_string())? {
        Scan::NeedMore { up_to } => Ok(Some(up_to)),
        Scan::Done(None) => Ok(None),
        Scan::Done(Some(lengths)) => {
            let number = lengths.len().checked_sub(usize::from(reduce));
            Ok(number.and_then(|number| lengths.get(number)).map(|length| u64::from(*length)))
        }
    }
}
