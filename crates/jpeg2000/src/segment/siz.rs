//! SIZ: image and tile size (ISO/IEC 15444-1, clause A.5.1).

use crate::error::Result;
use crate::marker::Marker;
use crate::read::Reader;

/// Most components an image can have (Csiz).
const MAX_COMPONENTS: u16 = 16384;

/// One component's row of SIZ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Component {
    /// Bits per sample, 1 to 38.
    pub bit_depth: u8,
    /// Whether samples are signed.
    pub signed: bool,
    /// XRsiz: horizontal separation of samples on the reference grid.
    pub dx: u8,
    /// YRsiz: vertical separation.
    pub dy: u8,
}

/// SIZ as a value; sizes and offsets are on the reference grid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Siz {
    /// Rsiz: capabilities.
    pub capabilities: u16,
    /// Xsiz: exclusive right edge of the image area.
    pub x1: u32,
    /// Ysiz: exclusive lower edge.
    pub y1: u32,
    /// XOsiz: left edge of the image area.
    pub x0: u32,
    /// YOsiz: upper edge.
    pub y0: u32,
    /// XTsiz: tile width.
    pub tile_width: u32,
    /// YTsiz: tile height.
    pub tile_height: u32,
    /// XTOsiz: left edge of the first tile.
    pub tile_x0: u32,
    /// YTOsiz: upper edge of the first tile.
    pub tile_y0: u32,
    /// The components, 1 to 16384.
    pub components: Vec<Component>,
}

impl Siz {
    /// Parses the segment's contents (behind Lsiz); `offset` is where they stand.
    ///
    /// # Errors
    /// Truncated or over-long segments, values the standard forbids, and capabilities of other parts (Rsiz bits
    /// 14 and 15: HTJ2K and Part 2).
    pub(crate) fn parse(body: &[u8], offset: u64) -> Result<Siz> {
        let mut r = Reader::new(body, offset, Marker::SIZ);
        let capabilities = r.u16()?;
        if capabilities & 0x8000 != 0 {
            return Err(r.unsupported("Rsiz asks for extensions of Part 2"));
        }
        if capabilities & 0x4000 != 0 {
            return Err(r.unsupported("Rsiz asks for capabilities of Part 15 (HTJ2K)"));
        }
        let (x1, y1, x0, y0) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        let (tile_width, tile_height, tile_x0, tile_y0) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        let count = r.u16()?;
        for (axis, start, end, tile_start, tile) in
            [("X", x0, x1, tile_x0, tile_width), ("Y", y0, y1, tile_y0, tile_height)]
        {
            if end <= start {
                return Err(r.invalid(format!("{axis}siz {end} is not beyond {axis}Osiz {start}")));
            }
            if tile == 0 {
                return Err(r.invalid(format!("{axis}Tsiz is 0")));
            }
            if tile_start > start || u64::from(tile_start) + u64::from(tile) <= u64::from(start) {
                return Err(r.invalid(format!("the first tile does not hold the image's first sample ({axis}TOsiz)")));
            }
        }
        if count == 0 || count > MAX_COMPONENTS {
            return Err(r.invalid(format!("Csiz {count} is not between 1 and {MAX_COMPONENTS}")));
        }
        let mut components = Vec::with_capacity(usize::from(count).min(r.remaining() / 3));
        for _ in 0..count {
            let ssiz = r.u8()?;
            let (dx, dy) = (r.u8()?, r.u8()?);
            let bit_depth = (ssiz & 0x7F) + 1;
            if bit_depth > 38 {
                return Err(r.invalid(format!("bit depth {bit_depth} is above 38")));
            }
            if dx == 0 || dy == 0 {
                return Err(r.invalid("XRsiz or YRsiz is 0"));
            }
            components.push(Component { bit_depth, signed: ssiz & 0x80 != 0, dx, dy });
        }
        r.finish()?;
        Ok(Siz { capabilities, x1, y1, x0, y0, tile_width, tile_height, tile_x0, tile_y0, components })
    }

    /// Number of components (Csiz).
    #[must_use]
    pub fn component_count(&self) -> u16 {
        // The parser holds 1..=16384; a value built by hand is capped.
        u16::try_from(self.components.len()).unwrap_or(MAX_COMPONENTS).min(MAX_COMPONENTS)
    }

    /// The whole marker segment, marker included; of the first 16384 components where there are more.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let count = self.component_count();
        let mut out = Marker::SIZ.bytes().to_vec();
        out.extend((38 + 3 * count).to_be_bytes());
        out.extend(self.capabilities.to_be_bytes());
        for n in [self.x1, self.y1, self.x0, self.y0, self.tile_width, self.tile_height, self.tile_x0, self.tile_y0] {
            out.extend(n.to_be_bytes());
        }
        out.extend(count.to_be_bytes());
        for c in self.components.iter().take(usize::from(count)) {
            out.extend([c.bit_depth.wrapping_sub(1) & 0x7F | u8::from(c.signed) << 7, c.dx, c.dy]);
        }
        out
    }
}
