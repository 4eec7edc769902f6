//! Divides each tile of a codestream into two tile-parts at a packet boundary, as ISO/IEC 15444-1 (A.4.2) allows and no
//! Sentinel-2 file does. OpenJPEG's own division fails where a resolution has several precincts.

use std::io;

use crate::jp2::layout;
use crate::tile_part;

/// How the tile-parts of a tile lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TileParts {
    /// One tile-part per tile, as in real files.
    One,
    /// Two, one after the other: a tile is still one range of bytes.
    Adjacent,
    /// The first tile-parts of all tiles, then the second ones: a tile is no single range.
    Interleaved,
}

/// Divides the tiles of a codestream that has one tile-part per tile, PLT and no TLM.
///
/// # Errors
/// `InvalidInput` when the codestream is not such a one.
pub fn split(codestream: Vec<u8>, parts: TileParts) -> io::Result<Vec<u8>> {
    if parts == TileParts::One {
        return Ok(codestream);
    }
    let whole = layout(&codestream, 0)?;
    let place = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for part in &whole.tile_parts {
        let at = place(part.offset)?;
        let (a, b) = halves(&codestream[at..at + place(part.length.into())?], part.tile)?;
        first.push(a);
        second.push(b);
    }
    let order: Vec<u8> = match parts {
        TileParts::Interleaved => first.into_iter().chain(second).flatten().collect(),
        _ => first.into_iter().zip(second).flat_map(|(a, b)| [a, b]).flatten().collect(),
    };
    Ok([&codestream[..place(whole.first_sot)?], &order, &[0xff, 0xd9]].concat())
}

/// The two tile-parts of a tile.
fn halves(part: &[u8], tile: u16) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (packets, body) = tile_part::read(part, tile)?;
    let (low, high) = packets.split_at(packets.len() / 2);
    let (first, second) = body.split_at(low.iter().sum());
    Ok((tile_part::write(tile, [0, 2], low, first)?, tile_part::write(tile, [1, 2], high, second)?))
}
