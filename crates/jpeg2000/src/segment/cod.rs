//! COD and COC: coding style (ISO/IEC 15444-1, clauses A.6.1 and A.6.2).

use crate::error::Result;
use crate::marker::Marker;
use crate::read::Reader;
use std::fmt;

/// Progression order (table A.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progression {
    /// Layer, resolution, component, position.
    Lrcp,
    /// Resolution, layer, component, position.
    Rlcp,
    /// Resolution, position, component, layer.
    Rpcl,
    /// Position, component, resolution, layer.
    Pcrl,
    /// Component, position, resolution, layer.
    Cprl,
}

impl fmt::Display for Progression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Progression::Lrcp => "LRCP",
            Progression::Rlcp => "RLCP",
            Progression::Rpcl => "RPCL",
            Progression::Pcrl => "PCRL",
            Progression::Cprl => "CPRL",
        })
    }
}

/// Wavelet transform (table A.20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transform {
    /// 9-7 irreversible.
    Irreversible97,
    /// 5-3 reversible.
    Reversible53,
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transform::Irreversible97 => "9-7 irreversible",
            Transform::Reversible53 => "5-3 reversible",
        })
    }
}

/// Coding parameters that COD gives for all components and COC for one (table A.15).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Coding {
    /// Decomposition levels, 0 to 32.
    pub levels: u8,
    /// log2 of the code-block width, 2 to 10.
    pub block_width_exp: u8,
    /// log2 of the code-block height, 2 to 10; the two add up to 12 at most.
    pub block_height_exp: u8,
    /// Code-block style bits (table A.19).
    pub block_style: u8,
    /// Wavelet transform.
    pub transform: Transform,
    /// log2 of (width, height) of the precincts per resolution, lowest first; empty means the maximum, (15, 15).
    pub precincts: Vec<(u8, u8)>,
}

impl Coding {
    /// log2 of the precinct's (width, height) at a resolution (0 is the lowest).
    #[must_use]
    pub fn precinct_exp(&self, resolution: u8) -> (u8, u8) {
        self.precincts.get(usize::from(resolution)).copied().unwrap_or((15, 15))
    }

    fn parse(r: &mut Reader<'_>, user_precincts: bool) -> Result<Coding> {
        let levels = r.u8()?;
        if levels > 32 {
            return Err(r.invalid(format!("{levels} decomposition levels are more than 32")));
        }
        let (w, h, block_style, transform) = (r.u8()?, r.u8()?, r.u8()?, r.u8()?);
        if w > 8 || h > 8 || w + h > 8 {
            return Err(r.invalid(format!(
                "code-block exponents {} and {} are out of range",
                u16::from(w) + 2,
                u16::from(h) + 2
            )));
        }
        if block_style & 0xC0 != 0 {
            return Err(r.unsupported("code-block style of Part 15 (HTJ2K)"));
        }
        let transform = match transform {
            0 => Transform::Irreversible97,
            1 => Transform::Reversible53,
            n => return Err(r.unsupported(format!("wavelet transform {n} of Part 2"))),
        };
        let mut precincts = Vec::new();
        if user_precincts {
            for resolution in 0..=levels {
                let byte = r.u8()?;
                let (x, y) = (byte & 15, byte >> 4);
                if resolution > 0 && (x == 0 || y == 0) {
                    return Err(r.invalid(format!("precinct size 1 at resolution {resolution}")));
                }
                precincts.push((x, y));
            }
        }
        Ok(Coding { levels, block_width_exp: w + 2, block_height_exp: h + 2, block_style, transform, precincts })
    }
}

/// COD as a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cod {
    /// Whether packets may begin with SOP.
    pub sop: bool,
    /// Whether packet headers end with EPH.
    pub eph: bool,
    /// Progression order.
    pub progression: Progression,
    /// Quality layers, 1 to 65535.
    pub layers: u16,
    /// Whether the first three components went through the multiple component transform.
    pub mct: bool,
    /// Parameters of every component that has no COC.
    pub coding: Coding,
}

impl Cod {
    /// Parses the segment's contents (behind Lcod); `offset` is where they stand.
    ///
    /// # Errors
    /// Truncated or over-long segments, values the standard forbids, styles of other parts.
    pub(crate) fn parse(body: &[u8], offset: u64) -> Result<Cod> {
        let mut r = Reader::new(body, offset, Marker::COD);
        let style = r.u8()?;
        if style & !7 != 0 {
            return Err(r.unsupported(format!("coding style {style:#04x} has bits that Part 1 does not define")));
        }
        let progression = match r.u8()? {
            0 => Progression::Lrcp,
            1 => Progression::Rlcp,
            2 => Progression::Rpcl,
            3 => Progression::Pcrl,
            4 => Progression::Cprl,
            n => return Err(r.invalid(format!("progression order {n}"))),
        };
        let layers = r.u16()?;
        if layers == 0 {
            return Err(r.invalid("0 layers"));
        }
        let mct = match r.u8()? {
            0 => false,
            1 => true,
            n => return Err(r.unsupported(format!("multiple component transform {n} of Part 2"))),
        };
        let coding = Coding::parse(&mut r, style & 1 != 0)?;
        r.finish()?;
        Ok(Cod { sop: style & 2 != 0, eph: style & 4 != 0, progression, layers, mct, coding })
    }
}

/// COC as a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Coc {
    /// Index of the component.
    pub component: u16,
    /// Its parameters.
    pub coding: Coding,
}

impl Coc {
    /// Parses the segment's contents; `components` is Csiz.
    pub(crate) fn parse(body: &[u8], offset: u64, components: u16) -> Result<Coc> {
        let mut r = Reader::new(body, offset, Marker::COC);
        let component = r.component(components)?;
        if component >= components {
            return Err(r.invalid(format!("component {component} of {components}")));
        }
        let style = r.u8()?;
        if style & !1 != 0 {
            return Err(r.unsupported(format!("coding style {style:#04x} has bits that Part 1 does not define")));
        }
        let coding = Coding::parse(&mut r, style & 1 != 0)?;
        r.finish()?;
        Ok(Coc { component, coding })
    }
}
