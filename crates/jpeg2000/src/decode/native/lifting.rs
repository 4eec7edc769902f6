//! The steps of the inverse 5-3 transform (ISO/IEC 15444-1, clause F.3.8.2.1), on whole rows.
//!
//! Damaged code-blocks may give any number: sums wrap.

/// One row of a resolution from its low and high-pass samples: X(2n) and X(2n + 1) of equations F-5 and F-6.
///
/// `even` has room for X(2n) of every n there, `out` for these and X(2n + 1) between them. `low` begins `skipped` places
/// (0 or 1) into `even`; where it does not reach an end, X(2n) there mirrors its neighbour. `high` begins one place before
/// `even`, and ends with it.
#[inline(always)]
pub(super) fn horizontal(low: &[i32], skipped: usize, high: &[i32], even: &mut [i32], out: &mut [i32]) {
    let count = even.len();
    let there = low.len().min(count - skipped);
    let (before, after) = (&high[skipped..][..there], &high[skipped + 1..][..there]);
    for (((x, low), before), after) in even[skipped..].iter_mut().zip(low).zip(before).zip(after) {
        *x = low.wrapping_sub(before.wrapping_add(*after).wrapping_add(2) >> 2);
    }
    if skipped == 1 {
        even[0] = even.get(1).copied().unwrap_or(0);
    }
    if skipped + there < count {
        even[count - 1] = even[count.saturating_sub(2)];
    }
    let (last, pairs) = (even[count - 1], count - 1);
    let out = &mut out[..2 * pairs + 1];
    out[2 * pairs] = last;
    let (even, next, high) = (&even[..pairs], &even[1..][..pairs], &high[1..][..pairs]);
    for (((out, x), next), high) in out.chunks_exact_mut(2).zip(even).zip(next).zip(high) {
        out[0] = *x;
        out[1] = high.wrapping_add(x.wrapping_add(*next) >> 1);
    }
}

/// X(2n) of every column, from the low-pass row that becomes it and the high-pass rows above and below (equation F-5).
#[inline(always)]
pub(super) fn even(row: &mut [i32], above: &[i32], below: &[i32]) {
    for ((x, above), below) in row.iter_mut().zip(above).zip(below) {
        *x = x.wrapping_sub(above.wrapping_add(*below).wrapping_add(2) >> 2);
    }
}

/// X(2n + 1) of every column, from the high-pass row (`None` for zeros) and the even rows above and below (equation F-6).
#[inline(always)]
pub(super) fn odd(out: &mut [i32], high: Option<&[i32]>, above: &[i32], below: &[i32]) {
    let sums = out.iter_mut().zip(above.iter().zip(below));
    if let Some(high) = high {
        for ((x, (above, below)), high) in sums.zip(high) {
            *x = high.wrapping_add(above.wrapping_add(*below) >> 1);
        }
    } else {
        for (x, (above, below)) in sums {
            *x = above.wrapping_add(*below) >> 1;
        }
    }
}

/// Shifts back to the range of the samples and cuts off what is beyond it (clause G.1.2).
#[inline(always)]
pub(super) fn level_shift(row: &mut [i32], shift: i32, low: i32, high: i32) {
    for x in row {
        *x = x.wrapping_add(shift).clamp(low, high);
    }
}
