//! PLT: packet lengths in a tile-part header (ISO/IEC 15444-1, clause A.7.3).

use crate::error::Result;
use crate::marker::Marker;
use crate::read::Reader;

/// Packet lengths of one PLT segment. A length may not run over from one segment to the next (clause A.7.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plt {
    /// Zplt: place among the tile-part's PLT segments.
    pub index: u8,
    /// Iplt: bytes of each packet, in the order of the packets.
    pub lengths: Vec<u32>,
}

impl Plt {
    /// Parses the segment's contents (behind Lplt); `offset` is where they stand.
    pub(crate) fn parse(body: &[u8], offset: u64) -> Result<Plt> {
        let mut r = Reader::new(body, offset, Marker::PLT);
        let index = r.u8()?;
        let mut lengths = Vec::new();
        while !r.is_empty() {
            let mut length: u32 = 0;
            loop {
                let byte = r.u8()?;
                if length >> 25 != 0 {
                    return Err(r.invalid("a packet length does not fit in 32 bits"));
                }
                length = length << 7 | u32::from(byte & 0x7F);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            lengths.push(length);
        }
        Ok(Plt { index, lengths })
    }
}
