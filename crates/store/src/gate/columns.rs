//! Whether coordinates and columns are what was planned, chunk by chunk.

use std::collections::BTreeSet;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::differs;
use super::random::Random;
use crate::error::{Result, one_line};
use crate::layout::document::decode_i64;
use crate::layout::place;
use crate::view::{View, small_chunk};
use crate::window::Windows;

/// Chunks read at a time.
const CONCURRENT: usize = 16;

/// Most bytes that a chunk is unpacked to for a comparison; columns have a small part of it.
const MAX_UNPACKED: usize = 64 << 20;

/// Compares the chunks that the run wrote, those of one leaf that it did not write, and the time axis.
///
/// # Errors
/// [`crate::Error::Gate`].
pub(super) async fn compare(windows: &Windows, tip: &View) -> Result<()> {
    let written: BTreeSet<&str> = windows.update.chunks.iter().map(|(key, _)| key.as_str()).collect();
    let leaf = leaf(windows);
    let mut work = Vec::new();
    for (key, wanted) in &windows.plan.chunks {
        if written.contains(key.as_str()) || is_time(key) || Some(group(key)) == leaf {
            let times = compare_chunk(windows, tip, key, wanted);
            work.push(async move { Ok::<_, crate::Error>((group(key), times.await?)) }.boxed());
        }
    }
    let read: Vec<(&str, Vec<i64>)> = stream::iter(work).buffered(CONCURRENT).try_collect().await?;
    for tree in &windows.plan.trees {
        let table = place::within(tree.era.as_ref(), place::PRODUCTS);
        let of_tree = read.iter().filter(|(group, _)| *group == table).flat_map(|(_, times)| times.iter().copied());
        let times: Vec<i64> = of_tree.take(tree.steps.len()).collect();
        if times.len() != tree.steps.len() || !times.is_sorted_by(|a, b| a < b) {
            return Err(differs(windows, &format!("the time axis of {table} does not increase from step to step")));
        }
    }
    Ok(())
}

/// Compares one chunk; its values, where it is one of the time axis.
async fn compare_chunk(windows: &Windows, tip: &View, key: &str, wanted: &[u8]) -> Result<Vec<i64>> {
    let found =
        tip.small(key).await.map_err(|e| differs(windows, &format!("{key} cannot be read: {}", one_line(&e))))?;
    let found = found.ok_or_else(|| differs(windows, &format!("{key} is missing")))?;
    if !same_values(&found, wanted) {
        return Err(differs(windows, &format!("{key} has other values")));
    }
    if !is_time(key) {
        return Ok(Vec::new());
    }
    decode_i64(&found).map_err(|e| differs(windows, &format!("{key}: {e}")))
}

/// True for the chunks of a tree's time axis.
fn is_time(key: &str) -> bool {
    key.starts_with("products/time/c") || key.contains("/products/time/c")
}

/// The group in which the array of a chunk lies; the key of a scalar's only chunk ends with `/c`.
fn group(key: &str) -> &str {
    let (array, _) = small_chunk(key);
    array.rsplit_once('/').map_or("", |(group, _)| group)
}

/// Any of the groups with coordinates below the root.
fn leaf(windows: &Windows) -> Option<&str> {
    let leaves: BTreeSet<&str> =
        windows.plan.chunks.iter().map(|(key, _)| group(key)).filter(|g| !g.is_empty()).collect();
    let any = Random::new(&windows.options.run).below(leaves.len());
    leaves.into_iter().nth(any)
}

/// The same bytes, or the same values packed by another version of the compressor.
fn same_values(found: &[u8], wanted: &[u8]) -> bool {
    if found == wanted {
        return true;
    }
    let Ok(wanted) = zstd::bulk::decompress(wanted, MAX_UNPACKED) else { return false };
    zstd::bulk::decompress(found, wanted.len()).is_ok_and(|found| found == wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_count_and_not_their_packing() {
        let raw: Vec<u8> = (0..4096_u32).flat_map(|n| (n * n % 1009).to_le_bytes()).collect();
        let [fast, small] = [1, 19].map(|level| zstd::bulk::compress(&raw, level).unwrap());
        assert!(fast != small, "the levels make a difference");
        assert!(same_values(&fast, &small));
        let longer = zstd::bulk::compress(&[raw.as_slice(), &[0]].concat(), 1).unwrap();
        assert!(!same_values(&longer, &small) && !same_values(b"", &small) && !same_values(&small, &longer));
    }

    #[test]
    fn keys_tell_their_group() {
        for (key, wanted) in
            [("time/c/0", ""), ("a/r10m/x/c/0", "a/r10m"), ("a/r10m/spatial_ref/c", "a/r10m"), ("a/c/time/c/1", "a/c")]
        {
            assert_eq!(group(key), wanted, "{key}");
        }
    }
}
