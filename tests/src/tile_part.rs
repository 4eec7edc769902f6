//! Tile-parts of one PLT marker segment: SOT, PLT, SOD and the packets.

use std::io;

use crate::invalid;

/// The lengths of a tile-part's packets as its PLT says, and the packets.
///
/// # Errors
/// `InvalidInput` when there is no PLT, something else, or lengths that are not those of the packets.
pub(crate) fn read(part: &[u8], tile: u16) -> io::Result<(Vec<usize>, &[u8])> {
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
    if packets.iter().sum::<usize>() != body.len() {
        return Err(broken());
    }
    Ok((packets, body))
}

/// Tile-part `number` of the `count` that tile `tile` has.
///
/// # Errors
/// More packets or bytes than the marker segments can say.
pub(crate) fn write(tile: u16, [number, count]: [u8; 2], packets: &[usize], body: &[u8]) -> io::Result<Vec<u8>> {
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
        &[number, count, 0xff, 0x58],
        &plt_length.to_be_bytes(),
        &plt,
        &[0xff, 0x93],
        body,
    ]
    .concat())
}
