//! Sun and viewing angles in a store: one chunk per array and time step, kept, written, moved or taken away.

use icechunk::format::ChunkIndices;
use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::source::angle_chunks::decode;
use sha2::{Digest, Sha256};

use crate::plan::AngleReferences;
use crate::state::StoreState;

/// What happens at a step of an array of angles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AngleOperation<'a> {
    /// The chunk is there.
    Keep,
    /// A chunk is written, from the product or from another step; what was there is overwritten.
    Write(&'a AnglePlacement),
    /// The chunk that is there is taken away.
    Clear,
    /// Nothing is there and nothing shall be.
    Nothing,
}

/// What happens at a step, given what the store has there.
pub fn operation<'a>(
    wanted: Option<&'a AnglePlacement>,
    era: Option<&Era>,
    step: usize,
    held: bool,
    anew: bool,
) -> AngleOperation<'a> {
    match wanted {
        Some(AnglePlacement::Held { era: from, step: at })
            if !anew && from.as_ref() == era && usize::try_from(*at) == Ok(step) =>
        {
            AngleOperation::Keep
        }
        Some(placement) => AngleOperation::Write(placement),
        None if held && !anew => AngleOperation::Clear,
        None => AngleOperation::Nothing,
    }
}

/// The steps of an array of a tree at which something happens, and what.
pub(crate) fn operations<'a>(
    angles: &'a AngleReferences,
    era: Option<&'a Era>,
    state: Option<&'a StoreState>,
    anew: bool,
) -> impl Iterator<Item = (usize, AngleOperation<'a>)> + use<'a> {
    let held = state.and_then(|state| state.tree(era)?.angles.get(&angles.array)).map(Vec::as_slice);
    let there = move |step: usize| !anew && held.is_some_and(|held| held.get(step) == Some(&true));
    let steps = angles.placements.iter().enumerate();
    steps
        .map(move |(step, placement)| (step, operation(placement.as_ref(), era, step, there(step), anew)))
        .filter(|(_, operation)| !matches!(operation, AngleOperation::Keep | AngleOperation::Nothing))
}

/// The place of an array's chunk of a time step.
pub(crate) fn chunk(array: AngleArray, step: usize) -> ChunkIndices {
    let mut indices = vec![0; 1 + array.dimensions().len()];
    indices[0] = u32::try_from(step).unwrap_or(u32::MAX);
    ChunkIndices(indices)
}

/// Fingerprint of a chunk by its values, however it is compressed. Part of [`crate::layout::time::StepFacts::content`].
///
/// # Errors
/// The bytes are no chunk of the array.
pub fn fingerprint(array: AngleArray, bytes: &[u8]) -> std::io::Result<i64> {
    let mut hash = Sha256::new();
    hash.update(array.name().as_bytes());
    hash.update(decode(array, bytes)?);
    Ok(hash.finalize().first_chunk::<8>().map_or(0, |head| i64::from_le_bytes(*head)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_happens_follows_from_what_is_there() {
        let (new, kept) = (AnglePlacement::New(std::sync::Arc::from([1])), AnglePlacement::Held { era: None, step: 4 });
        assert_eq!(operation(Some(&kept), None, 4, true, false), AngleOperation::Keep);
        let era: Era = "offset-0".parse().unwrap();
        assert_eq!(operation(Some(&kept), Some(&era), 4, true, false), AngleOperation::Write(&kept));
        assert_eq!(operation(Some(&kept), None, 4, true, true), AngleOperation::Write(&kept));
        assert_eq!(operation(Some(&kept), None, 5, false, false), AngleOperation::Write(&kept));
        assert_eq!(operation(Some(&new), None, 4, true, false), AngleOperation::Write(&new));
        assert_eq!(operation(None, None, 4, true, false), AngleOperation::Clear);
        assert_eq!(operation(None, None, 4, true, true), AngleOperation::Nothing);
        assert_eq!(operation(None, None, 4, false, false), AngleOperation::Nothing);
    }

    #[test]
    fn values_count_and_not_their_packing() {
        let raw: Vec<u8> = (0..1058_u32).flat_map(|n| (n * n % 1009).to_le_bytes()).collect();
        let [fast, small] = [1, 19].map(|level| zstd::bulk::compress(&raw, level).unwrap());
        let of = |bytes: &[u8]| fingerprint(AngleArray::Sun, bytes).unwrap();
        assert!(fast != small && of(&fast) == of(&small));
        assert!(fingerprint(AngleArray::Viewing, &fast).is_err());
        assert_eq!(chunk(AngleArray::Viewing, 7).0, [7, 0, 0, 0, 0, 0]);
    }
}
