//! The values of coordinates and per-time columns, compared product by product.

use icechunk::format::manifest::ChunkPayload;
use serde_json::Value;

use super::align::Alignment;
use super::column::Form;
use super::digest::Digest;
use super::report::ColumnDifference;
use super::side::{Node, Side};
use crate::error::Result;

/// What an array holds, as fine as it can be told.
enum Values {
    /// One value for each time step.
    Steps(Vec<Value>),
    /// Many values for each time step.
    Slices(Vec<Digest>),
    /// Not along time, or not to be decoded.
    Whole(Digest),
}

/// The differences of an array that both stores have.
///
/// # Errors
/// A chunk cannot be read.
pub(super) async fn compare(
    path: &str,
    left: (&Side, &Node),
    right: (&Side, &Node),
    alignment: &Alignment,
) -> Result<Vec<ColumnDifference>> {
    let (ours, theirs) = tokio::try_join!(read(path, left.0, left.1), read(path, right.0, right.1))?;
    let difference = |product: Option<&String>, left: Option<&Value>, right: Option<&Value>| ColumnDifference {
        path: path.to_owned(),
        product: product.cloned(),
        left: left.cloned(),
        right: right.cloned(),
    };
    let (axis, other) = (left.0.axis(path), right.0.axis(path));
    let mut out = Vec::new();
    match (&ours, &theirs) {
        (Values::Steps(ours), Values::Steps(theirs)) => {
            // Every leaf repeats the axis, whose differences are told once.
            let is_axis = path.ends_with("/time");
            let repeats = |values: &[Value], step: usize, times: &[i64]| {
                values.get(step).and_then(Value::as_i64) == times.get(step).copied()
            };
            for &(l, r) in &alignment.pairs {
                let told = is_axis && repeats(ours, l, &axis.times) && repeats(theirs, r, &other.times);
                if ours.get(l) != theirs.get(r) && !told {
                    out.push(difference(axis.products.get(l), ours.get(l), theirs.get(r)));
                }
            }
        }
        (Values::Slices(ours), Values::Slices(theirs)) => {
            let differing = alignment.pairs.iter().filter(|(l, r)| ours.get(*l) != theirs.get(*r));
            out.extend(differing.map(|(l, _)| difference(axis.products.get(*l), None, None)));
        }
        (Values::Whole(ours), Values::Whole(theirs)) if ours == theirs => {}
        _ => out.push(difference(None, None, None)),
    }
    Ok(out)
}

async fn read(path: &str, side: &Side, node: &Node) -> Result<Values> {
    let chunks = side.chunks(node).await?;
    let steps = side.axis(path).times.len();
    let no_reference = !chunks.iter().any(|chunk| matches!(chunk.payload, ChunkPayload::Virtual(_)));
    let form = Form::of(&node.document).filter(|_| no_reference);
    let mut values = match &form {
        Some(form) if form.along_time && form.chunks.len() == 1 => Values::Steps(vec![form.fill.clone(); steps]),
        Some(form) if form.along_time && !form.is_text() => Values::Slices(vec![Digest::default(); steps]),
        _ => Values::Whole(Digest::default()),
    };
    for chunk in chunks {
        if let ChunkPayload::Virtual(reference) = &chunk.payload {
            if let Values::Whole(digest) = &mut values {
                digest.add(&(&chunk.coord, reference));
            }
            continue;
        }
        let stored = side.bytes(path, &chunk).await?;
        let damaged = |error: std::io::Error| side.damaged(format!("{path}: {error}"));
        let Some(form) = &form else {
            if let Values::Whole(digest) = &mut values {
                digest.add(&(&chunk.coord, &stored));
            }
            continue;
        };
        let index = chunk.coord.0.first().and_then(|index| usize::try_from(*index).ok()).unwrap_or_default();
        let start = index.saturating_mul(form.steps_per_chunk());
        match &mut values {
            Values::Steps(values) => {
                let decoded = form.values(&stored).map_err(damaged)?;
                values.iter_mut().skip(start).zip(decoded).for_each(|(to, value)| *to = value);
            }
            Values::Slices(digests) => {
                let raw = form.raw(&stored).map_err(damaged)?;
                let length = (raw.len() / form.steps_per_chunk()).max(1);
                for (digest, slice) in digests.iter_mut().skip(start).zip(raw.chunks_exact(length)) {
                    // A chunk that is not there reads as fill values.
                    if !form.is_fill(slice) {
                        digest.add(&(chunk.coord.0.get(1..), slice));
                    }
                }
            }
            Values::Whole(digest) => {
                let raw = form.raw(&stored).map_err(damaged)?;
                if !form.is_fill(&raw) {
                    digest.add(&(&chunk.coord, raw));
                }
            }
        }
    }
    Ok(values)
}
