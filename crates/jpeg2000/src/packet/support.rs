//! The support of a window under the 5-3 transform (ISO/IEC 15444-1, annex F).

use crate::grid::{Rect, Window, reduced_size};
use std::ops::Range;

/// Rows and columns of a resolution, or of its subbands.
pub(super) type Support = [Range<u64>; 2];

/// What `window` needs of each resolution of a component, lowest first: of its subbands, in their coordinates.
///
/// Sample 2n of a resolution comes of sample n below it and details n - 1 and n, sample 2n + 1 of samples n and n + 1 and
/// details n - 1 to n + 1 (equations F-5 and F-6). At the edges the transform mirrors, which stays within that.
pub(super) fn supports(levels: u8, reduce: u8, tile: Rect, window: &Window) -> Vec<Support> {
    let edges = [(tile.y0, tile.y1, &window.y), (tile.x0, tile.x1, &window.x)];
    // In samples of the highest resolution that is left.
    let mut here = edges.map(|(low, high, range)| {
        let low = u64::from(reduced_size(low, reduce));
        let high = u64::from(reduced_size(high, reduce));
        (low + u64::from(range.start)).min(high)..(low + u64::from(range.end)).min(high)
    });
    let mut out = Vec::new();
    for _ in reduce..levels {
        out.push(here.clone().map(|r| (r.start / 2).saturating_sub(1)..r.end / 2 + 1));
        here = here.map(|r| r.start / 2..r.end / 2 + 1);
    }
    out.push(here);
    out.reverse();
    out
}
