//! Divides each tile of a codestream into two tile-parts at a packet boundary, as ISO/IEC 15444-1 (A.4.2) allows and no
//! Sentinel-2 file does. OpenJPEG's own division fails where a resolution has several precincts.

use std::io;

use crate::invalid;
use crate::jp2::layout;

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

/// Divides the tiles of a codestream that has one tile-part per tile, PLT and no TLM, `Interleaved` or else adjacent;
/// with `tlm`, writes one.
///
/// # Errors
/// `InvalidData` when the codestream is not such a one.
pub fn split(codestream: &[u8], parts: TileParts, tlm: bool) -> io::Result<Vec<u8>> {
    let whole = layout(codestream, 0)?;
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
    let main_header = &codestream[..place(whole.first_sot)?];
    let end = [0xff, 0xd9];
    let out = [main_header, &order, &end].concat();
    if !tlm {
        return Ok(out);
    }
    let marker = layout(&out, 0)?.tlm();
    Ok([main_header, &marker, &order, &end].concat())
}

/// The two tile-parts of a tile.
fn halves(part: &[u8], tile: u16) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let broken = || invalid(format!("tile {tile} has no usable PLT"));
    let (mut packets, mut value, mut p) = (Vec::new(), 0usize, 12);
    while part.get(p..p + 2).ok_or_else(broken)? != [0xff, 0x93] {
        let segment = part.get(p..p + 4).ok_or_else(broken)?;
        let length = usize::from(u16::from_be_bytes([segment[2], segment[3]]));
        if segment[..2] != [0xff, 0x58] {
            return Err(broken());
        }
        for byte in part.get(p + 5..p + 2 + length).ok_or_else(broken)? {
            value = value << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                packets.push(std::mem::take(&mut value));
            }
        }
        p += 2 + length;
    }
    let body = &part[p + 2..];
    let middle = packets.len() / 2;
    let cut: usize = packets[..middle].iter().sum();
    if cut > body.len() || packets.iter().sum::<usize>() != body.len() {
        return Err(broken());
    }
    let (low, high) = (&packets[..middle], &packets[middle..]);
    Ok((tile_part(tile, 0, low, &body[..cut])?, tile_part(tile, 1, high, &body[cut..])?))
}

/// A tile-part: SOT, PLT, SOD and the packets.
fn tile_part(tile: u16, number: u8, packets: &[usize], body: &[u8]) -> io::Result<Vec<u8>> {
    let mut plt = vec![0];
    for packet in packets {
        let groups = (1..10).find(|n| packet >> (7 * n) == 0).unwrap_or(10);
        for group in (0..groups).rev() {
            let [low, ..] = (packet >> (7 * group)).to_le_bytes();
            plt.push(low & 0x7f | if group > 0 { 0x80 } else { 0 });
        }
    }
    let plt_length = u16::try_from(plt.len() + 2).map_err(io::Error::other)?;
    let length = u32::try_from(12 + 4 + plt.len() + 2 + body.len()).map_err(io::Error::other)?;
    Ok([
        &[0xff, 0x90, 0, 10][..],
        &tile.to_be_bytes(),
        &length.to_be_bytes(),
        &[number, 2, 0xff, 0x58],
        &plt_length.to_be_bytes(),
        &plt,
        &[0xff, 0x93],
        body,
    ]
    .concat())
}
