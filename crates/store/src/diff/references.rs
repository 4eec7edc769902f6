//! The references of data arrays: a digest for each time step, and the first chunk that differs.

use std::collections::BTreeMap;

use icechunk::format::manifest::{Checksum, ChunkInfo, ChunkPayload};
use serde_json::Value;

use super::DiffOptions;
use super::align::Alignment;
use super::digest::{Digest, fingerprint};
use super::documents::is_along_time;
use super::report::{ChunkDifference, ReferenceDifference, ReferenceValue};
use super::side::{Node, Side};
use crate::error::Result;

/// The differences of a data array that both stores have, without naming chunks. Memory is proportional to the time
/// steps, whatever the number of references.
///
/// # Errors
/// A manifest cannot be read.
pub(super) async fn compare(
    path: &str,
    left: (&Side, &Node),
    right: (&Side, &Node),
    alignment: &Alignment,
    options: &DiffOptions,
) -> Result<Vec<ReferenceDifference>> {
    let by_step = is_by_step(left.1) && is_by_step(right.1);
    let (ours, theirs) =
        tokio::try_join!(digests(path, left, by_step, options), digests(path, right, by_step, options))?;
    let whole = [(0, 0)];
    let pairs: &[(usize, usize)] = if by_step { &alignment.pairs } else { &whole };
    let mut out = Vec::new();
    for &(l, r) in pairs {
        let (ours, theirs) = (ours.get(l).copied().unwrap_or_default(), theirs.get(r).copied().unwrap_or_default());
        if ours != theirs {
            out.push(ReferenceDifference {
                path: path.to_owned(),
                product: left.0.axis(path).products.get(l).filter(|_| by_step).cloned(),
                left: ours.count,
                right: theirs.count,
                first: None,
            });
        }
    }
    Ok(out)
}

/// The first chunk of these steps that differs; none where nothing does.
///
/// # Errors
/// A manifest cannot be read.
pub(super) async fn first_difference(
    left: (&Side, &Node, usize),
    right: (&Side, &Node, usize),
    options: &DiffOptions,
) -> Result<Option<ChunkDifference>> {
    let (ours, theirs) = tokio::try_join!(step(left, options), step(right, options))?;
    let chunk = ours.keys().chain(theirs.keys()).filter(|chunk| ours.get(*chunk) != theirs.get(*chunk)).min();
    Ok(chunk.map(|chunk| ChunkDifference {
        chunk: chunk.clone(),
        left: ours.get(chunk).cloned(),
        right: theirs.get(chunk).cloned(),
    }))
}

/// True where the first chunk index is the time step.
fn is_by_step(node: &Node) -> bool {
    let length = node.document.pointer("/chunk_grid/configuration/chunk_shape/0").and_then(Value::as_u64);
    is_along_time(&node.document) && length == Some(1)
}

async fn digests(
    path: &str,
    (side, node): (&Side, &Node),
    by_step: bool,
    options: &DiffOptions,
) -> Result<Vec<Digest>> {
    let mut digests = vec![Digest::default(); if by_step { side.axis(path).times.len() } else { 1 }];
    // The chunks of one raster stand together and lie in one file: its name is resolved once.
    let mut last = (String::new(), fingerprint(&resolve(side, "", options)));
    side.each_chunk(node, |chunk| {
        let (indices, digest) = if by_step {
            let (step, rest) = split(&chunk);
            (rest, step.and_then(|step| digests.get_mut(step)))
        } else {
            (chunk.coord.0.as_slice(), digests.first_mut())
        };
        let Some(digest) = digest else { return };
        match &chunk.payload {
            ChunkPayload::Virtual(reference) => {
                if last.0 != reference.location.url() {
                    let location = reference.location.url();
                    last = (location.to_owned(), fingerprint(&resolve(side, location, options)));
                }
                let checksum = reference.checksum.as_ref().filter(|_| !options.ignore_checksums);
                digest.add(&(indices, last.1, reference.offset, reference.length, checksum));
            }
            other => digest.add(&(indices, other)),
        }
    })
    .await?;
    Ok(digests)
}

/// The references of one time step by their other indices.
async fn step(
    (side, node, wanted): (&Side, &Node, usize),
    options: &DiffOptions,
) -> Result<BTreeMap<Vec<u32>, ReferenceValue>> {
    let mut out = BTreeMap::new();
    side.each_chunk(node, |chunk| {
        let (step, rest) = split(&chunk);
        if step == Some(wanted) {
            out.insert(rest.to_vec(), value(side, &chunk.payload, options));
        }
    })
    .await?;
    Ok(out)
}

fn split(chunk: &ChunkInfo) -> (Option<usize>, &[u32]) {
    match chunk.coord.0.split_first() {
        Some((step, rest)) => (usize::try_from(*step).ok(), rest),
        None => (None, &[]),
    }
}

fn value(side: &Side, payload: &ChunkPayload, options: &DiffOptions) -> ReferenceValue {
    let plain =
        |location: String, offset: u64| ReferenceValue { location, offset, length: payload.length(), checksum: None };
    match payload {
        ChunkPayload::Virtual(reference) => {
            let checksum = reference.checksum.as_ref().filter(|_| !options.ignore_checksums).map(|sum| match sum {
                Checksum::ETag(etag) => etag.0.clone(),
                Checksum::LastModified(time) => {
                    format!("modified {}", crate::report::rfc3339_ms(i64::from(time.0) * 1000))
                }
            });
            let location = resolve(side, reference.location.url(), options);
            ReferenceValue { checksum, ..plain(location, reference.offset) }
        }
        ChunkPayload::Ref(chunk) => plain(format!("a chunk in the store, {}", chunk.id), chunk.offset),
        _ => plain("a chunk in the manifest".to_owned(), 0),
    }
}

/// Where a location leads, or the path below its container. One that no container stands for is left as it is.
fn resolve(side: &Side, location: &str, options: &DiffOptions) -> String {
    let named = location.strip_prefix("vcc://").and_then(|rest| rest.split_once('/'));
    if let Some((name, path)) = named {
        let prefix = side.containers.iter().find(|(n, _)| n.as_deref() == Some(name)).map(|(_, prefix)| prefix);
        return match prefix {
            _ if options.ignore_sources => path.to_owned(),
            Some(prefix) => absolute(&format!("{prefix}{path}")),
            None => location.to_owned(),
        };
    }
    let location = absolute(location);
    if options.ignore_sources {
        let prefixes = side.containers.iter().map(|(_, prefix)| absolute(prefix));
        let below = prefixes.filter_map(|prefix| location.strip_prefix(prefix.as_str()));
        // The longest prefix is the container that stands for it.
        if let Some(path) = below.min_by_key(|path| path.len()) {
            return path.to_owned();
        }
    }
    location
}

/// Icechunk keeps the names of local files percent-encoded, but for those relative to a container.
fn absolute(location: &str) -> String {
    if location.starts_with("file:")
        && let Ok(url) = url::Url::parse(location)
    {
        return url.into();
    }
    location.to_owned()
}
