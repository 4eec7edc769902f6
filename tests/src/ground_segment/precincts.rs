//! Which packets a tile has and how many code-blocks each holds (ISO/IEC 15444-1, B.5 to B.7 and B.12.1.1).

use crate::coding::Coding;

/// Code-blocks of one subband in one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    /// Which subband, in the order of the QCD.
    pub(super) band: usize,
    /// Code-blocks side by side.
    pub(super) width: usize,
    /// Code-blocks above each other.
    pub(super) height: usize,
}

/// A resolution of a tile.
struct Resolution {
    number: u32,
    /// Decompositions between the image and its subbands.
    depth: u32,
    /// Left, upper, right and lower edge in the image.
    tile: [u32; 4],
}

/// The packets of the tile with the edges `tile` in the order of the codestream (LRCP, one layer), each with the subbands
/// that are in it.
pub(super) fn packets(coding: &Coding, tile: [u32; 4]) -> Vec<Vec<Blocks>> {
    let mut out = Vec::new();
    for number in 0..=coding.levels {
        let up = coding.levels - number;
        let rect = tile.map(|n| n.div_ceil(1 << up));
        let resolution = Resolution { number, depth: up + u32::from(number > 0), tile };
        let precincts =
            |low: u32, high: u32| if high > low { low / coding.precinct..high.div_ceil(coding.precinct) } else { 0..0 };
        for _ in 0..coding.components {
            for row in precincts(rect[1], rect[3]) {
                out.extend(precincts(rect[0], rect[2]).map(|column| resolution.packet(coding, column, row)));
            }
        }
    }
    out
}

impl Resolution {
    /// The subbands of the precinct in this column and row.
    fn packet(&self, coding: &Coding, column: u32, row: u32) -> Vec<Blocks> {
        // Table B.1; above the lowest resolution a precinct is half as wide in a subband.
        let (kinds, precinct): (&[[u32; 2]], _) = match self.number {
            0 => (&[[0, 0]], coding.precinct),
            _ => (&[[1, 0], [0, 1], [1, 1]], coding.precinct / 2),
        };
        let block = coding.code_block.min(precinct);
        let count = |index: u32, low: u32, high: u32| {
            let (start, end) = ((index * precinct).max(low), ((index + 1) * precinct).min(high));
            if end > start { (end.div_ceil(block) - start / block) as usize } else { 0 }
        };
        let first = (3 * self.number as usize).saturating_sub(2);
        (first..)
            .zip(kinds)
            .map(|(band, &[xo, yo])| {
                // Equation B-15; nothing lies left of or above 0.
                let edge = |n: u32, o: u32| n.saturating_sub((o << self.depth) / 2).div_ceil(1 << self.depth);
                let [x0, y0, x1, y1] = self.tile;
                let width = count(column, edge(x0, xo), edge(x1, xo));
                let height = count(row, edge(y0, yo), edge(y1, yo));
                Blocks { band, width, height }
            })
            .filter(|blocks| blocks.width > 0 && blocks.height > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coding(tile: u32, code_block: u32, precinct: u32, components: u32) -> Coding {
        Coding {
            side: 4096,
            tile,
            components,
            bits: 8,
            levels: 2,
            code_block,
            precinct,
            ground_segment: true,
            tlm: false,
        }
    }

    #[test]
    fn packets_go_by_resolution_component_and_precinct() {
        let blocks = |band, width, height| Blocks { band, width, height };
        // The lowest resolution is 16 x 8, in one precinct; the next 32 x 16, in one; the highest 64 x 32, in two.
        let lowest = vec![blocks(0, 2, 1)];
        let next = vec![blocks(1, 2, 1), blocks(2, 2, 1), blocks(3, 2, 1)];
        let highest = vec![blocks(4, 2, 2), blocks(5, 2, 2), blocks(6, 2, 2)];
        let tile = [64, 0, 128, 32];
        let want = [vec![lowest; 2], vec![next; 2], vec![highest; 4]].concat();
        assert_eq!(packets(&coding(64, 8, 32, 2), tile), want);
    }

    #[test]
    fn what_a_tile_cuts_off_counts_and_what_is_empty_does_not() {
        // 1 x 3 samples: no horizontal detail anywhere, one vertical at each level.
        let bands: Vec<Vec<usize>> =
            packets(&coding(64, 4, 64, 1), [0, 0, 1, 3]).iter().map(|p| p.iter().map(|b| b.band).collect()).collect();
        assert_eq!(bands, [vec![0], vec![2], vec![5]]);
        // Columns 12 to 24 at the lowest resolution: code-blocks and precincts begin before the tile.
        let lowest = packets(&coding(48, 8, 16, 1), [48, 0, 96, 48]);
        let widths: Vec<usize> = lowest[..2].iter().map(|p| p[0].width).collect();
        assert_eq!(widths, [1, 1]);
        assert!(packets(&coding(64, 4, 64, 1), [64, 64, 64, 128]).is_empty());
    }
}
