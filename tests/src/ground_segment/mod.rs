//! Gives OpenJPEG's codestreams the quantisation default (QCD) of the ground segment's encoder.
//!
//! Under the reversible transform a QCD says one thing only: how many bit-planes each subband may have (Mb, equation E-2 of
//! ISO/IEC 15444-1). Packet headers count the missing ones of each code-block from there, in a tag tree whose root alone
//! moves with Mb. So each packet header is copied with other roots, and the code-blocks' bytes stay as they are.

use std::io;

use crate::coding::Coding;
use crate::invalid;
use crate::jp2::layout;
use crate::tile_part;
use bits::{Copier, TagTree};
use precincts::{Blocks, packets};

mod bits;
#[cfg(test)]
mod checks;
mod precincts;

/// Writes a codestream of OpenJPEG's as the ground segment's encoder would have: one tile-part per tile, no TLM.
///
/// # Errors
/// `InvalidInput` when it is no such codestream, or needs more bit-planes than the ground segment's QCD allows.
pub fn rewrite(codestream: &[u8], coding: &Coding) -> io::Result<Vec<u8>> {
    let places = layout(codestream, 0)?;
    let place = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
    let mut out = codestream[..place(places.first_sot)?].to_vec();
    let qcd = quantisation(coding);
    let old = out
        .windows(4)
        .position(|w| w == &qcd[..4])
        .and_then(|at| out.get_mut(at..at + qcd.len()))
        .ok_or_else(|| invalid("a main header without the QCD that its levels need".into()))?;
    let planes: Vec<[u32; 2]> = bit_planes(old).zip(bit_planes(&qcd)).map(Into::into).collect();
    old.copy_from_slice(&qcd);
    for part in &places.tile_parts {
        let at = place(part.offset)?;
        let bytes = &codestream[at..at + place(part.length.into())?];
        let [x, y, w, h] = coding.tile_rect(part.tile.into());
        let blocks = packets(coding, [x, y, x + w, y + h]);
        let recoded = tile(bytes, part.tile, &blocks, &planes);
        out.extend(recoded.map_err(|e| invalid(format!("tile {}: {e}", part.tile)))?);
    }
    out.extend([0xff, 0xd9]);
    Ok(out)
}

/// The QCD marker segment: no quantisation, one guard bit, an exponent per subband (table A.28): LL, then HL, LH and HH
/// from the lowest resolution up.
fn quantisation(coding: &Coding) -> Vec<u8> {
    // One bit more than the samples have, and one for the colour transform; the growth in a subband is one bit in HL and LH
    // and two in HH, but less at the two finest resolutions.
    let base = coding.bits + 1 + u32::from(coding.colour_transform());
    let growth = (0..coding.levels).rev().flat_map(|finer| match finer {
        0 => [0, 0, 1],
        1 => [1, 1, 1],
        _ => [1, 1, 2],
    });
    let exponents = std::iter::once(0).chain(growth).map(|bits| (base + bits).to_le_bytes()[0] << 3);
    let body: Vec<u8> = std::iter::once(1 << 5).chain(exponents).collect();
    let [.., length] = (body.len() + 2).to_be_bytes();
    [&[0xff, 0x5c, 0, length][..], &body].concat()
}

/// Mb of each subband by a QCD marker segment without quantisation.
fn bit_planes(qcd: &[u8]) -> impl Iterator<Item = u32> {
    qcd[5..].iter().map(|byte| (u32::from(byte >> 3) + u32::from(qcd[4] >> 5)).saturating_sub(1))
}

/// A tile-part with the old and the new Mb of each subband.
fn tile(part: &[u8], number: u16, blocks: &[Vec<Blocks>], planes: &[[u32; 2]]) -> io::Result<Vec<u8>> {
    let (lengths, mut rest) = tile_part::read(part, number)?;
    if lengths.len() != blocks.len() {
        return Err(invalid(format!("{} packets, not {}", lengths.len(), blocks.len())));
    }
    let (mut new, mut body) = (Vec::with_capacity(lengths.len()), Vec::with_capacity(part.len()));
    for (length, blocks) in lengths.into_iter().zip(blocks) {
        let (old, behind) = rest.split_at(length);
        let before = body.len();
        packet(old, blocks, planes, &mut body)?;
        new.push(body.len() - before);
        rest = behind;
    }
    tile_part::write(number, [0, 1], &new, &body)
}

/// Copies a packet (B.10), the header with other counts of missing bit-planes.
fn packet(old: &[u8], blocks: &[Blocks], planes: &[[u32; 2]], out: &mut Vec<u8>) -> io::Result<()> {
    let mut bits = Copier::new(old);
    let mut length = 0;
    if bits.bit()? {
        for &Blocks { band, width, height } in blocks {
            let (mut inclusion, mut missing) = (TagTree::new(width, height), TagTree::new(width, height));
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                if inclusion.below(x, y, 1, &mut bits)?.is_some() {
                    missing.root(planes[band], &mut bits)?;
                    let gone = missing.below(x, y, u32::MAX, &mut bits)?.unwrap_or(u32::MAX);
                    length += segment(&mut bits, planes[band][0].saturating_sub(gone))?;
                }
            }
        }
    }
    let (end, header) = bits.finish()?;
    if end + length != old.len() {
        return Err(invalid(format!("a packet of {} bytes whose header tells of {}", old.len(), end + length)));
    }
    out.extend(header);
    out.extend(&old[end..]);
    Ok(())
}

/// Copies the number of coding passes (table B.4) of a code-block of so many bit-planes, and the length of its bytes
/// (B.10.7.1).
fn segment(bits: &mut Copier<'_>, planes: u32) -> io::Result<usize> {
    let mut passes = 1;
    for width in [1, 1, 2, 5, 7] {
        let next = bits.number(width)?;
        passes += next;
        if next < (1 << width) - 1 {
            break;
        }
    }
    if passes > (3 * planes).saturating_sub(2) {
        return Err(invalid(format!("{passes} coding passes of {planes} bit-planes")));
    }
    let mut length_bits = 3;
    while bits.bit()? {
        length_bits += 1;
    }
    Ok(bits.number(length_bits + passes.ilog2())? as usize)
}
