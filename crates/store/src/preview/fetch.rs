//! The bytes of tiles that a picture needs, and no others.
//!
//! Packets are sorted by resolution, and PLT in the header of a tile-part says how long each is (ISO/IEC 15444-1, A.7.3,
//! B.12): of a tile at 10 m the first percent is what a picture shows. How much that is, is guessed at first; where PLT then
//! says that more is needed, the rest is asked for.

use std::ops::Range;

use bytes::Bytes;
use s2ice_jpeg2000::{Plan, Scan, TileCodec, Window};

use super::file::{File, Trouble};
use crate::held::HeldReference;

/// Bytes of a tile that are asked for at least: a request costs more than they do.
const LEAST: u64 = 4 << 10;

/// Bytes between two parts that are read as well, rather than asking twice.
const GAP: u64 = 2 << 10;

/// Longest request for several tiles, bytes.
const REQUEST: u64 = 8 << 20;

/// Longest tile, bytes: many times what one can have.
const LONGEST: u64 = 256 << 20;

/// A tile, and the part of it that is wanted.
pub(super) struct Wanted<'a> {
    pub(super) held: &'a HeldReference,
    /// In samples of the tile at the resolution that is decoded.
    pub(super) window: Window,
    /// Bytes that are asked for at first.
    first: u64,
}

/// What was read of a tile.
pub(super) enum Read {
    /// All of it.
    Whole(Bytes),
    /// Parts, with their places in it.
    Parts(Vec<(u64, Bytes)>),
}

impl<'a> Wanted<'a> {
    /// Guesses how many bytes of a tile are needed: every resolution that is left out has two thirds of what the tile
    /// would have with it (real tiles have 30, 9, 2.5 and 1 % left). A window begins with what all of them need.
    pub(super) fn new(codec: &TileCodec, reduce: u8, held: &'a HeldReference, window: Window) -> Result<Self, String> {
        let length = held.reference.length;
        if length > LONGEST {
            return Err(format!("a tile of {length} bytes"));
        }
        let (height, width) = codec.chunk_shape();
        let is_whole = window == Window { y: 0..height, x: 0..width };
        let third = |times: u8| length / 3u64.pow(u32::from(times.min(20)));
        let head = codec.head_bytes().map_err(|error| error.to_string())?;
        let first = match (is_whole, reduce) {
            (true, 0) => length,
            (true, _) => head + third(reduce),
            (false, _) => head + third(reduce.saturating_add(2)),
        };
        Ok(Self { held, window, first: first.max(LEAST).min(length) })
    }
}

/// Tiles of which one request has the beginnings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    range: Range<u64>,
    /// Their places among what is wanted.
    pub(super) tiles: Vec<usize>,
}

/// What to ask a file for first: neighbours in one request.
///
/// # Errors
/// In words: a tile ends beyond any file.
pub(super) fn runs(wanted: &[Wanted<'_>]) -> Result<Vec<Run>, String> {
    let begins: Vec<_> = wanted.iter().map(|one| (one.held.reference.offset, one.first)).collect();
    joined(&begins)
}

fn joined(begins: &[(u64, u64)]) -> Result<Vec<Run>, String> {
    let mut order: Vec<usize> = (0..begins.len()).collect();
    order.sort_by_key(|at| begins[*at]);
    let mut runs: Vec<Run> = Vec::new();
    for at in order {
        let (begin, length) = begins[at];
        let end = begin.checked_add(length).ok_or("a tile ends beyond any file")?;
        match runs.last_mut() {
            Some(Run { range, tiles })
                if begin.saturating_sub(range.end) <= GAP && end.max(range.end) - range.start <= REQUEST =>
            {
                range.end = range.end.max(end);
                tiles.push(at);
            }
            _ => runs.push(Run { range: begin..end, tiles: vec![at] }),
        }
    }
    Ok(runs)
}

/// Reads the tiles of a run, in its order.
pub(super) async fn read(
    file: &File<'_>,
    codec: &TileCodec,
    wanted: &[Wanted<'_>],
    run: &Run,
) -> Result<Vec<Read>, Trouble> {
    let Some(first) = run.tiles.first().and_then(|at| wanted.get(*at)) else { return Ok(Vec::new()) };
    let fetched = file.part(first.held, run.range.clone()).await?.bytes;
    let mut out = Vec::with_capacity(run.tiles.len());
    for one in run.tiles.iter().filter_map(|at| wanted.get(*at)) {
        let begin = one.held.reference.offset - run.range.start;
        let places = usize::try_from(begin).ok().zip(usize::try_from(begin + one.first).ok());
        let head = places.filter(|(_, end)| *end <= fetched.len()).map(|(begin, end)| fetched.slice(begin..end));
        let head = head.ok_or_else(|| file.trouble("it ends before its tiles do"))?;
        out.push(completed(file, codec, one, head).await?);
    }
    Ok(out)
}

/// Adds to the first bytes of a tile what else is needed of it.
async fn completed(file: &File<'_>, codec: &TileCodec, wanted: &Wanted<'_>, mut head: Bytes) -> Result<Read, Trouble> {
    let length = wanted.held.reference.length;
    let more = async |range: Range<u64>| -> Result<Bytes, Trouble> {
        let begin = wanted.held.reference.offset;
        let place = begin.checked_add(range.start).zip(begin.checked_add(range.end));
        let (start, end) = place.ok_or_else(|| file.trouble("a tile ends beyond any file"))?;
        Ok(file.part(wanted.held, start..end).await?.bytes)
    };
    loop {
        let have = head.len() as u64;
        if have >= length {
            return Ok(Read::Whole(head));
        }
        let plan = match codec.plan(&head, Some(&wanted.window), GAP).map_err(|error| file.trouble(error))? {
            // No more than a header that says nothing sensible may ask for.
            Scan::NeedMore { up_to } => {
                let rest = more(have..up_to.max(have + LEAST).min(length)).await?;
                head = [head, rest].concat().into();
                continue;
            }
            Scan::Done(None) => {
                let rest = more(have..length).await?;
                return Ok(Read::Whole([head, rest].concat().into()));
            }
            Scan::Done(Some(plan)) => plan,
        };
        let Plan { total, ranges, .. } = plan;
        if total != length {
            return Err(file.trouble(format_args!("a tile of {total} bytes, where {length} were indexed")));
        }
        let mut parts = vec![(0, head)];
        for range in ranges {
            parts.push((range.start, more(range).await?));
        }
        return Ok(Read::Parts(parts));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(range: Range<u64>, tiles: &[usize]) -> Run {
        Run { range, tiles: tiles.to_vec() }
    }

    #[test]
    fn neighbours_are_read_together() {
        assert_eq!(joined(&[(300, 50), (100, 200)]).unwrap(), [run(100..350, &[1, 0])]);
        let far = 350 + GAP;
        assert_eq!(joined(&[(100, 250), (far, 10)]).unwrap(), [run(100..far + 10, &[0, 1])]);
        assert_eq!(joined(&[(100, 250), (far + 1, 10)]).unwrap().len(), 2);
        let large: Vec<_> = (0..5u64).map(|n| (n * (3 << 20), 3 << 20)).collect();
        let large: Vec<_> = joined(&large).unwrap().into_iter().map(|run| run.tiles).collect();
        assert_eq!(large, [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(joined(&[]).unwrap(), []);
    }

    #[test]
    fn what_lies_beyond_any_file_is_refused() {
        assert!(joined(&[(u64::MAX, 2)]).unwrap_err().contains("beyond any file"));
    }
}
