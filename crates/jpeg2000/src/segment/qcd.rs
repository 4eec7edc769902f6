//! QCD, QCC and RGN: quantization and region of interest (ISO/IEC 15444-1, clauses A.6.3 to A.6.5).

use std::fmt;

use crate::error::Result;
use crate::marker::Marker;
use crate::read::Reader;

/// How step sizes are given (table A.28).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// No quantization: one exponent per subband.
    None(Vec<u8>),
    /// One step for the LL band; the others derive from it.
    Derived(u16),
    /// One step per subband (5 bits exponent, 11 bits mantissa).
    Expounded(Vec<u16>),
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: Vec<String>| numbers.join(" ");
        match self {
            Quantization::None(exponents) => {
                write!(f, "reversible, exponents {}", list(exponents.iter().map(ToString::to_string).collect()))
            }
            Quantization::Derived(step) => write!(f, "derived from step {step:#06x}"),
            Quantization::Expounded(steps) => {
                write!(f, "steps {}", list(steps.iter().map(|step| format!("{step:#06x}")).collect()))
            }
        }
    }
}

impl Quantization {
    /// Whether there is a step for every subband of `levels` decompositions.
    #[must_use]
    pub fn covers(&self, levels: u8) -> bool {
        let bands = 3 * usize::from(levels) + 1;
        match self {
            Quantization::None(steps) => steps.len() >= bands,
            Quantization::Derived(_) => true,
            Quantization::Expounded(steps) => steps.len() >= bands,
        }
    }
}

/// QCD as a value; QCC holds the same for one component.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Qcd {
    /// Guard bits, 0 to 7.
    pub guard_bits: u8,
    /// The steps.
    pub quantization: Quantization,
}

impl Qcd {
    pub(crate) fn parse(body: &[u8], offset: u64) -> Result<Qcd> {
        let mut r = Reader::new(body, offset, Marker::QCD);
        Self::read(&mut r)
    }

    fn read(r: &mut Reader<'_>) -> Result<Qcd> {
        let style = r.u8()?;
        let quantization = match style & 31 {
            0 => {
                let steps: Vec<u8> = r.take(r.remaining())?.iter().map(|b| b >> 3).collect();
                Quantization::None(steps)
            }
            1 => Quantization::Derived(r.u16()?),
            2 => {
                let mut steps = Vec::with_capacity(r.remaining() / 2);
                while !r.is_empty() {
                    steps.push(r.u16()?);
                }
                Quantization::Expounded(steps)
            }
            n => return Err(r.invalid(format!("quantization style {n}"))),
        };
        r.finish()?;
        if !quantization.covers(0) {
            return Err(r.invalid("no step sizes"));
        }
        Ok(Qcd { guard_bits: style >> 5, quantization })
    }
}

/// QCC as a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Qcc {
    /// Index of the component.
    pub component: u16,
    /// Its steps.
    pub qcd: Qcd,
}

impl Qcc {
    pub(crate) fn parse(body: &[u8], offset: u64, components: u16) -> Result<Qcc> {
        let mut r = Reader::new(body, offset, Marker::QCC);
        let component = r.component(components)?;
        if component >= components {
            return Err(r.invalid(format!("component {component} of {components}")));
        }
        Ok(Qcc { component, qcd: Qcd::read(&mut r)? })
    }
}

/// RGN as a value: an implicit region of interest (maximum shift).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rgn {
    /// Index of the component.
    pub component: u16,
    /// Shift in bits.
    pub shift: u8,
}

impl Rgn {
    pub(crate) fn parse(body: &[u8], offset: u64, components: u16) -> Result<Rgn> {
        let mut r = Reader::new(body, offset, Marker::RGN);
        let component = r.component(components)?;
        if component >= components {
            return Err(r.invalid(format!("component {component} of {components}")));
        }
        let style = r.u8()?;
        if style != 0 {
            return Err(r.unsupported(format!("region of interest style {style}")));
        }
        let shift = r.u8()?;
        r.finish()?;
        Ok(Rgn { component, shift })
    }
}
