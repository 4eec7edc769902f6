//! Packet lengths and resolution prefixes.
//!
//! With one layer in LRCP or RLCP order the packets of a tile are sorted by resolution, so that a prefix of the tile-part
//! holds the lower resolutions.

mod bits;
#[cfg(feature = "decode")]
pub(crate) mod blocks;
mod layout;
#[cfg(feature = "decode")]
mod support;
mod walk;
#[cfg(feature = "decode")]
pub(crate) mod window;

use crate::error::{Error, Result, Scan};
use crate::grid::Rect;
use crate::header::MainHeader;
use crate::marker::Marker;
use crate::segment::cod::Progression;
use crate::tile_part::{TilePartHeader, tile_rect};
use layout::{Layout, Packet};
use walk::Walker;

/// What walking a tile's packets found; lengths count from the start of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Bytes of all packets up to where the walk ended.
    pub(crate) length: usize,
    /// Packets that the tile has beyond that.
    pub(crate) missing: u64,
    /// Whether any code-block of a resolution above the lowest has data.
    pub(crate) detail: bool,
}

/// Walks the packets of a tile.
///
/// `body` is everything behind SOD, tile-parts joined. Ends behind the last packet of `last_resolution` if `body` ends just
/// there (a prefix), else behind the last packet.
///
/// # Errors
/// Packets that are cut off, or headers that contradict the main header.
pub(crate) fn walk(
    header: &MainHeader,
    tile: Rect,
    body: &[u8],
    base: u64,
    last_resolution: Option<u8>,
) -> Result<Walked> {
    let layout = Layout::new(header, tile)?;
    walk_with(
        &mut Walker::new(&layout, header, body, base),
        &layout,
        header,
        body.len(),
        last_resolution,
        |_, _| Ok(()),
    )
}

/// As [`walk`]: the `length` bytes of `walker`'s body, handing each packet over.
fn walk_with<'a>(
    walker: &mut Walker<'a>,
    layout: &Layout,
    header: &MainHeader,
    length: usize,
    last_resolution: Option<u8>,
    mut each: impl FnMut(Packet, &Walker<'a>) -> Result<()>,
) -> Result<Walked> {
    let total = layout.packet_count();
    let prefix = match last_resolution {
        Some(last) if sorted_by_resolution(header).is_ok() => layout.packets_up_to(last),
        _ => total,
    };
    // Every packet takes a byte at least, so there is no need to list them where they cannot be.
    if prefix > length as u64 {
        let (needed, available) = (prefix, length as u64);
        return Err(Error::Truncated { part: Marker::SOD.into(), offset: walker.base(), needed, available });
    }
    let (mut at, mut seen, mut detail) = (0, 0, false);
    for packet in layout.packets() {
        if seen == prefix && at == length {
            break;
        }
        let found = walker.packet(packet, at)?;
        each(packet, walker)?;
        at = found.end;
        detail |= found.any_block && layout.resolutions[packet.slot].resolution > 0;
        seen += 1;
    }
    Ok(Walked { length: at, missing: total - seen, detail })
}

/// Refuses headers whose packets are not sorted by resolution.
pub(crate) fn sorted_by_resolution(header: &MainHeader) -> Result<()> {
    let refuse = |marker: Marker, reason: String| Err(Error::NotPrefixable { part: marker.into(), offset: 0, reason });
    let cod = header.cod();
    if header.poc().is_some() {
        return refuse(Marker::POC, "the progression order changes".into());
    }
    if !matches!(cod.progression, Progression::Lrcp | Progression::Rlcp) {
        return refuse(Marker::COD, format!("the progression order is {}", cod.progression));
    }
    if cod.progression == Progression::Lrcp && cod.layers != 1 {
        return refuse(Marker::COD, format!("LRCP with {} layers", cod.layers));
    }
    if cod.layers != 1 {
        return refuse(Marker::COD, format!("{} with {} layers", cod.progression, cod.layers));
    }
    if header.coc().iter().any(|c| c.coding.levels != cod.coding.levels) {
        return refuse(Marker::COC, "components differ in decomposition levels".into());
    }
    Ok(())
}

/// Bytes from SOT up to and including resolution 0, 1, ... levels - 1, one number per decomposition level.
///
/// To leave out `r` resolutions, `r` from 1 to `levels`, take number `levels - r`. `tile_part` is one whole tile-part that
/// holds all packets of its tile. Lengths come from PLT, or from the packet headers where there is none.
///
/// # Errors
/// [`Error::NotPrefixable`] names the progression order, layers or tile-parts that stand against it; otherwise damage.
pub fn prefix_lengths(header: &MainHeader, tile_part: &[u8]) -> Result<Vec<u32>> {
    sorted_by_resolution(header)?;
    let part = TilePartHeader::parse(tile_part, 0)?;
    only_tile_part(&part)?;
    if part.sot.psot != 0 && u64::from(part.sot.psot) != tile_part.len() as u64 {
        let reason = format!("Psot is {} but {} bytes are there", part.sot.psot, tile_part.len());
        return Err(Error::tile(Marker::SOT, 0, u32::from(part.sot.tile), reason));
    }
    if part.plt.is_some() {
        return lengths_from_plt(header, &part);
    }
    prefix_lengths_by_walking(header, tile_part)
}

/// As [`prefix_lengths`], but always from the packet headers, even where PLT tells.
///
/// # Errors
/// See [`prefix_lengths`].
pub fn prefix_lengths_by_walking(header: &MainHeader, tile_part: &[u8]) -> Result<Vec<u32>> {
    sorted_by_resolution(header)?;
    let part = TilePartHeader::parse(tile_part, 0)?;
    only_tile_part(&part)?;
    let tile = tile_rect(header, part.sot.tile, 0)?;
    let layout = Layout::new(header, tile)?;
    let body = &tile_part[part.length..];
    let mut walker = Walker::new(&layout, header, body, part.length as u64);
    if layout.packet_count() > body.len() as u64 {
        let (needed, available) = (layout.packet_count(), body.len() as u64);
        return Err(Error::Truncated { part: Marker::SOD.into(), offset: part.length as u64, needed, available });
    }
    let lengths = layout.packets().into_iter().scan(0, |at, packet| {
        let step = walker.packet(packet, *at).map(|seen| seen.end - *at);
        *at += step.as_ref().copied().unwrap_or(0);
        Some(step)
    });
    sum_by_resolution(header, &layout, &part, lengths.map(|l| l.map(|n| n as u64)))
}

/// As [`prefix_lengths`], from the first bytes of a tile-part (256 mostly do) and its PLT alone.
///
/// `Done(None)` means that there is no PLT: the whole tile-part is needed then.
///
/// # Errors
/// See [`prefix_lengths`].
pub fn prefix_lengths_from_head(header: &MainHeader, head: &[u8]) -> Result<Scan<Option<Vec<u32>>>> {
    sorted_by_resolution(header)?;
    match TilePartHeader::scan(head, 0)? {
        Scan::NeedMore { up_to } => Ok(Scan::NeedMore { up_to }),
        Scan::Done(part) if part.plt.is_none() => Ok(Scan::Done(None)),
        Scan::Done(part) => Ok(Scan::Done(Some(lengths_from_plt(header, &part)?))),
    }
}

fn only_tile_part(part: &TilePartHeader) -> Result<()> {
    if part.sot.tpsot == 0 && part.sot.tnsot <= 1 {
        return Ok(());
    }
    let reason = format!("tile {} has several tile-parts", part.sot.tile);
    Err(Error::NotPrefixable { part: Marker::SOT.into(), offset: part.offset, reason })
}

fn lengths_from_plt(header: &MainHeader, part: &TilePartHeader) -> Result<Vec<u32>> {
    only_tile_part(part)?;
    let layout = Layout::new(header, tile_rect(header, part.sot.tile, part.offset)?)?;
    let lengths = part.plt.as_deref().unwrap_or_default();
    if lengths.len() as u64 != layout.packet_count() {
        let reason = format!("{} packet lengths for {} packets", lengths.len(), layout.packet_count());
        return Err(Error::invalid(Marker::PLT, part.offset, reason));
    }
    sum_by_resolution(header, &layout, part, lengths.iter().map(|n| Ok(u64::from(*n))))
}

/// Adds packet lengths up to the end of each resolution but the last, and checks the sum against Psot.
fn sum_by_resolution(
    header: &MainHeader,
    layout: &Layout,
    part: &TilePartHeader,
    lengths: impl Iterator<Item = Result<u64>>,
) -> Result<Vec<u32>> {
    let levels = header.cod().coding.levels;
    let mut out = Vec::with_capacity(usize::from(levels));
    let mut total = part.length as u64;
    let mut ends = (0..levels).map(|r| layout.packets_up_to(r)).peekable();
    let fit = |total: u64| {
        u32::try_from(total).map_err(|_| Error::invalid(Marker::PLT, part.offset, format!("a prefix of {total} bytes")))
    };
    for (seen, length) in (0..).zip(lengths) {
        // A resolution without packets, as tiny tiles have them, ends where the one below ended.
        while ends.next_if(|end| *end <= seen).is_some() {
            out.push(fit(total)?);
        }
        total = total.saturating_add(length?);
    }
    for _ in ends {
        out.push(fit(total)?);
    }
    if part.sot.psot != 0 && total != u64::from(part.sot.psot) {
        let reason = format!("header and packets add up to {total} bytes, Psot is {}", part.sot.psot);
        return Err(Error::tile(Marker::SOT, part.offset, u32::from(part.sot.tile), reason));
    }
    Ok(out)
}
