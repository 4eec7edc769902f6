//! The main header as a value (ISO/IEC 15444-1, clause A.3).

use crate::error::{Error, Result, Scan};
use crate::grid::{Geometry, TileGrid};
use crate::marker::Marker;
use crate::segment::cod::{Coc, Cod, Coding, Transform};
use crate::segment::qcd::{Qcc, Qcd, Rgn};
use crate::segment::siz::Siz;
use crate::segment::tlm::{TlmSegment, TlmTable};
use std::ops::Range;

/// SOC to the marker in front of the first SOT.
///
/// What a chunk could not be decoded with is refused by name when parsing: packed packet headers (PPM, the chunk would
/// lack its packet headers), CAP and CPF (HTJ2K), PRF, Part 2 capabilities and unknown markers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainHeader {
    siz: Siz,
    cod: Cod,
    qcd: Qcd,
    coc: Vec<Coc>,
    qcc: Vec<Qcc>,
    rgn: Vec<Rgn>,
    poc: Option<Vec<u8>>,
    tlm: Option<TlmTable>,
    /// Marker segments that decoding needs, markers included, in file order.
    segments: Vec<(Marker, Vec<u8>)>,
}

/// One marker segment of a main header; ranges are positions in the slice.
pub(crate) struct RawSegment {
    pub(crate) marker: Marker,
    /// Marker to the end of the segment.
    pub(crate) whole: Range<usize>,
    /// Contents behind the length.
    pub(crate) body: Range<usize>,
}

/// Reads the marker segment at `pos`; `Done(None)` at SOT. `base` is the offset of `bytes[0]`.
pub(crate) fn next_segment(bytes: &[u8], pos: usize, base: u64) -> Result<Scan<Option<RawSegment>>> {
    let offset = base.saturating_add(pos as u64);
    let Some(&[a, b]) = bytes.get(pos..pos.saturating_add(2)) else {
        return Ok(Scan::NeedMore { up_to: offset.saturating_add(2) });
    };
    let marker = Marker(u16::from_be_bytes([a, b]));
    match marker {
        Marker::SOT => return Ok(Scan::Done(None)),
        Marker::SIZ | Marker::COD | Marker::COC | Marker::QCD | Marker::QCC | Marker::RGN | Marker::POC => {}
        Marker::TLM | Marker::PLM | Marker::CRG | Marker::COM => {}
        Marker::PPM => {
            let reason = "packed packet headers: a tile's bytes would lack its packet headers";
            return Err(Error::unsupported(marker, offset, reason));
        }
        Marker::CAP | Marker::CPF => return Err(Error::unsupported(marker, offset, "capabilities of Part 15 (HTJ2K)")),
        Marker::PRF => return Err(Error::unsupported(marker, offset, "profiles signalled by PRF")),
        _ => return Err(Error::UnexpectedMarker { part: marker.into(), offset }),
    }
    let Some(&[a, b]) = bytes.get(pos + 2..pos + 4) else {
        return Ok(Scan::NeedMore { up_to: offset.saturating_add(4) });
    };
    let length = usize::from(u16::from_be_bytes([a, b]));
    if length < 2 {
        return Err(Error::invalid(marker, offset, format!("segment length {length}")));
    }
    let end = pos + 2 + length;
    if bytes.len() < end {
        return Ok(Scan::NeedMore { up_to: base.saturating_add(end as u64) });
    }
    Ok(Scan::Done(Some(RawSegment { marker, whole: pos..end, body: pos + 4..end })))
}

/// Position of the first SOT.
#[cfg(feature = "decode")]
pub(crate) fn first_tile_part(codestream: &[u8]) -> Result<usize> {
    let mut pos = 2;
    loop {
        match next_segment(codestream, pos, 0)? {
            Scan::Done(Some(segment)) => pos = segment.whole.end,
            Scan::Done(None) => return Ok(pos),
            Scan::NeedMore { up_to } => {
                let available = codestream.len().saturating_sub(pos) as u64;
                return Err(Error::Truncated {
                    part: Marker::SOT.into(),
                    offset: pos as u64,
                    needed: up_to,
                    available,
                });
            }
        }
    }
}

impl MainHeader {
    /// Parses from SOC to the first SOT or the end of the slice, whichever comes first.
    ///
    /// # Errors
    /// Everything that is cut off, forbidden, contradictory or refused (see the type), with its offset.
    pub fn parse(bytes: &[u8]) -> Result<MainHeader> {
        Self::parse_at(bytes, 0)
    }

    /// As [`MainHeader::parse`], with errors counted from `base`.
    ///
    /// # Errors
    /// See [`MainHeader::parse`].
    pub(crate) fn parse_at(bytes: &[u8], base: u64) -> Result<MainHeader> {
        match bytes.get(..2) {
            Some(soc) if soc == Marker::SOC.bytes() => {}
            _ => return Err(Error::Missing { part: Marker::SOC.into(), offset: base }),
        }
        let mut parts = Parts::default();
        let mut pos = 2;
        while pos < bytes.len() {
            match next_segment(bytes, pos, base)? {
                Scan::Done(None) => break,
                Scan::Done(Some(segment)) => {
                    parts.take(&segment, bytes, base)?;
                    pos = segment.whole.end;
                }
                Scan::NeedMore { up_to } => {
                    let offset = base.saturating_add(pos as u64);
                    let name =
                        bytes.get(pos..pos + 2).map_or(Marker::SOT, |b| Marker(u16::from_be_bytes([b[0], b[1]])));
                    let (needed, available) = (up_to.saturating_sub(offset), (bytes.len() - pos) as u64);
                    return Err(Error::Truncated { part: name.into(), offset, needed, available });
                }
            }
        }
        parts.finish(base.saturating_add(pos as u64))
    }

    /// Image and tile size.
    #[must_use]
    pub fn siz(&self) -> &Siz {
        &self.siz
    }

    /// Coding style default.
    #[must_use]
    pub fn cod(&self) -> &Cod {
        &self.cod
    }

    /// Quantization default.
    #[must_use]
    pub fn qcd(&self) -> &Qcd {
        &self.qcd
    }

    /// Coding styles of single components.
    #[must_use]
    pub fn coc(&self) -> &[Coc] {
        &self.coc
    }

    /// Quantization of single components.
    #[must_use]
    pub fn qcc(&self) -> &[Qcc] {
        &self.qcc
    }

    /// Regions of interest.
    #[must_use]
    pub fn rgn(&self) -> &[Rgn] {
        &self.rgn
    }

    /// Contents of the progression order change, if there is one.
    #[must_use]
    pub fn poc(&self) -> Option<&[u8]> {
        self.poc.as_deref()
    }

    /// All TLM segments as one table, if there are any.
    #[must_use]
    pub fn tlm(&self) -> Option<&TlmTable> {
        self.tlm.as_ref()
    }

    /// Quantization in force for a component: its QCC, else QCD.
    pub(crate) fn quantization(&self, component: u16) -> &Qcd {
        self.qcc.iter().find(|q| q.component == component).map_or(&self.qcd, |q| &q.qcd)
    }

    /// Coding parameters in force for a component: its COC, else COD.
    #[must_use]
    pub fn coding(&self, component: u16) -> &Coding {
        self.coc.iter().find(|c| c.component == component).map_or(&self.cod.coding, |c| &c.coding)
    }

    /// Whether all components are of the 5-3 transform, which loses nothing.
    #[must_use]
    pub fn reversible(&self) -> bool {
        (0..self.siz.component_count()).all(|c| self.coding(c).transform == Transform::Reversible53)
    }

    /// Fewest decomposition levels of any component: the most resolutions that can be left out.
    #[must_use]
    pub fn min_levels(&self) -> u8 {
        // COD counts even where every component has a COC; that can only lower the answer.
        self.coc.iter().map(|c| c.coding.levels).fold(self.cod.coding.levels, u8::min)
    }

    /// The tiles of the image.
    ///
    /// # Errors
    /// See [`TileGrid::new`].
    pub fn grid(&self) -> Result<TileGrid> {
        TileGrid::new(&self.siz)
    }

    /// The shape of the image as regular Zarr chunks.
    ///
    /// # Errors
    /// See [`TileGrid::zarr_geometry`].
    pub fn geometry(&self) -> Result<Geometry> {
        self.grid()?.zarr_geometry()
    }

    /// SOC and the SIZ, COD, COC, QCD, QCC, RGN and POC segments byte for byte, in file order: all that decoding a tile
    /// needs. About 82 bytes in a Sentinel-2 file.
    #[must_use]
    pub fn codec_header(&self) -> Vec<u8> {
        let mut out = Marker::SOC.bytes().to_vec();
        for (_, bytes) in &self.segments {
            out.extend_from_slice(bytes);
        }
        out
    }

    /// The segments of [`MainHeader::codec_header`] without SOC, each with its marker.
    pub(crate) fn segments(&self) -> &[(Marker, Vec<u8>)] {
        &self.segments
    }
}

/// Segments seen so far.
#[derive(Default)]
struct Parts<'a> {
    siz: Option<Siz>,
    cod: Option<Cod>,
    qcd: Option<Qcd>,
    coc: Vec<Coc>,
    qcc: Vec<Qcc>,
    rgn: Vec<Rgn>,
    poc: Option<Vec<u8>>,
    tlm: Vec<TlmSegment<'a>>,
    segments: Vec<(Marker, Vec<u8>)>,
}

/// Stores a segment that may occur once.
fn once<T>(slot: &mut Option<T>, value: T, marker: Marker, offset: u64) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::invalid(marker, offset, "a second one"));
    }
    Ok(())
}

/// Stores a segment that may occur once per component.
fn once_each<T>(list: &mut Vec<T>, value: T, id: fn(&T) -> u16, marker: Marker, offset: u64) -> Result<()> {
    let component = id(&value);
    // A list is as long as the segments seen, so a long header costs a scan of a few thousand entries at worst.
    if list.iter().any(|other| id(other) == component) {
        return Err(Error::invalid(marker, offset, format!("a second one for component {component}")));
    }
    list.push(value);
    Ok(())
}

impl<'a> Parts<'a> {
    fn take(&mut self, segment: &RawSegment, bytes: &'a [u8], base: u64) -> Result<()> {
        let marker = segment.marker;
        let body = &bytes[segment.body.clone()];
        let at = base.saturating_add(segment.whole.start as u64);
        let offset = base.saturating_add(segment.body.start as u64);
        if (marker == Marker::SIZ) != self.siz.is_none() {
            let reason = if marker == Marker::SIZ { "a second one" } else { "in front of SIZ" };
            return Err(Error::invalid(marker, at, reason));
        }
        let components = self.siz.as_ref().map_or(0, Siz::component_count);
        match marker {
            Marker::SIZ => self.siz = Some(Siz::parse(body, offset)?),
            Marker::COD => once(&mut self.cod, Cod::parse(body, offset)?, marker, at)?,
            Marker::QCD => once(&mut self.qcd, Qcd::parse(body, offset)?, marker, at)?,
            Marker::COC => {
                once_each(&mut self.coc, Coc::parse(body, offset, components)?, |c| c.component, marker, at)?
            }
            Marker::QCC => {
                once_each(&mut self.qcc, Qcc::parse(body, offset, components)?, |c| c.component, marker, at)?
            }
            Marker::RGN => {
                once_each(&mut self.rgn, Rgn::parse(body, offset, components)?, |c| c.component, marker, at)?
            }
            Marker::POC => once(&mut self.poc, body.to_vec(), marker, at)?,
            Marker::TLM => self.tlm.push(TlmSegment { body, offset }),
            _ => {}
        }
        if matches!(
            marker,
            Marker::SIZ | Marker::COD | Marker::COC | Marker::QCD | Marker::QCC | Marker::RGN | Marker::POC
        ) {
            self.segments.push((marker, bytes[segment.whole.clone()].to_vec()));
        }
        Ok(())
    }

    fn finish(self, end: u64) -> Result<MainHeader> {
        let missing = |marker: Marker| Error::Missing { part: marker.into(), offset: end };
        let siz = self.siz.ok_or_else(|| missing(Marker::SIZ))?;
        let cod = self.cod.ok_or_else(|| missing(Marker::COD))?;
        let qcd = self.qcd.ok_or_else(|| missing(Marker::QCD))?;
        if cod.mct && siz.components.len() < 3 {
            return Err(Error::invalid(Marker::COD, end, "a component transform with fewer than three components"));
        }
        let tlm = if self.tlm.is_empty() { None } else { Some(TlmTable::assemble(self.tlm)?) };
        let header = MainHeader {
            siz,
            cod,
            qcd,
            coc: self.coc,
            qcc: self.qcc,
            rgn: self.rgn,
            poc: self.poc,
            tlm,
            segments: self.segments,
        };
        header.check_steps(end)?;
        Ok(header)
    }
}

impl MainHeader {
    /// Every component needs a step size for each of its subbands.
    fn check_steps(&self, end: u64) -> Result<()> {
        let components = self.siz.component_count();
        for component in 0..components {
            let own = self.qcc.iter().find(|q| q.component == component);
            let (steps, marker) = own.map_or((&self.qcd, Marker::QCD), |q| (&q.qcd, Marker::QCC));
            let levels = self.coding(component).levels;
            if !steps.quantization.covers(levels) {
                let reason = format!("too few step sizes for {levels} decomposition levels of component {component}");
                return Err(Error::invalid(marker, end, reason));
            }
            if self.coc.is_empty() && self.qcc.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::samples;

    #[test]
    fn offsets_near_the_largest_do_not_overflow() {
        let mut siz = samples::siz();
        let good = samples::header_bytes(&siz, &[&samples::COD, &samples::QCD]);
        for base in [u64::MAX, u64::MAX - 1, u64::MAX - 3, u64::MAX - 50] {
            MainHeader::parse_at(&good, base).unwrap();
            for cut in 0..good.len() {
                assert!(MainHeader::parse_at(&good[..cut], base).unwrap_err().offset() >= base);
            }
        }
        // As many components as a value made by hand can have; the length of SIZ has 16 bits.
        siz.components = vec![siz.components[0]; 70_000];
        let written = MainHeader::parse(&samples::header_bytes(&siz, &[&samples::COD, &samples::QCD])).unwrap();
        assert_eq!(written.siz().component_count(), 16384);
    }
}
