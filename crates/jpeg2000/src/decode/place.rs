//! Decoded samples put in their place in the chunk.

use super::native::Wanted;
use super::{Native, TileCodec, TileDecoder, TileJob, Window};
use crate::error::{Error, Result, Scan};
use crate::grid::{Rect, reduced_size};
use crate::marker::Marker;
use crate::packet::blocks::{Blocks, Scope};
use crate::packet::window::Needed;
use std::ops::Range;

impl TileCodec {
    pub(super) fn scope<'a>(&self, window: &'a Window) -> Scope<'a> {
        Scope { reduce: self.reduce, window }
    }

    /// What a part of a whole chunk needs, where PLT tells: the other packets are not looked into.
    pub(super) fn needed_of(&self, chunk: &[u8], window: &Window) -> Result<Option<Needed>> {
        let (height, width) = self.chunk_shape();
        if window.y == (0..height) && window.x == (0..width) {
            return Ok(None);
        }
        match Needed::scan(&self.header, self.reduce, chunk, window)? {
            Scan::Done(Some(needed)) if needed.total() == chunk.len() as u64 => Ok(Some(needed)),
            _ => Ok(None),
        }
    }

    /// What of the window lies in the image, in samples of the chunk: rows and columns. Fills all where that is not all.
    fn inside(&self, rect: Rect, fill: i64, window: &Window, out: &mut [u8]) -> (Range<u32>, Range<u32>) {
        let size = |low, high| reduced_size(high, self.reduce) - reduced_size(low, self.reduce);
        let y = window.y.start..window.y.end.min(size(rect.y0, rect.y1));
        let x = window.x.start..window.x.end.min(size(rect.x0, rect.x1));
        if y.len() != window.y.len() || x.len() != window.x.len() {
            fill_with(out, fill, self.dtype().bytes);
        }
        (y, x)
    }

    /// Decodes with the decoder of this crate, from the code-blocks of the window and the bytes they lie in.
    pub(super) fn decode_native(
        &self,
        native: Native,
        rect: Rect,
        (blocks, body): (&Blocks, &[u8]),
        fill: i64,
        window: &Window,
        out: &mut [u8],
    ) {
        let (y, x) = self.inside(rect, fill, window, out);
        if y.is_empty() || x.is_empty() {
            return;
        }
        let (bytes, width, height) = (self.dtype().bytes, window.x.len(), window.y.len());
        let inside = Window { y, x };
        let wanted = Wanted { header: &self.header, tile: rect, reduce: self.reduce, window: &inside, blocks, body };
        native.decode_rows(&wanted, &mut |component, row, samples| {
            let at = (component as usize * height + row as usize) * width * bytes;
            store(&mut out[at..][..samples.len() * bytes], samples, bytes);
        });
    }

    /// Decodes with another decoder, from a codestream of the tile.
    pub(super) fn decode_tile(
        &self,
        decoder: &dyn TileDecoder,
        (tile, rect): (u16, Rect),
        codestream: &[u8],
        fill: i64,
        window: &Window,
        out: &mut [u8],
    ) -> Result<()> {
        let reduced = |n| reduced_size(n, self.reduce);
        let (left, top) = (reduced(rect.x0), reduced(rect.y0));
        let (y, x) = self.inside(rect, fill, window, out);
        let (wh, ww) = (window.y.len(), window.x.len());
        let bytes = self.dtype().bytes;
        if y.is_empty() || x.is_empty() {
            return Ok(());
        }
        // Back to the reference grid: sample k of a reduced tile stands at k * 2^r, within the tile. Below 2^32 * 2^32.
        let grid = |k: u32, high: u32| {
            let at = (u64::from(k) << self.reduce.min(32)).min(u64::from(high));
            u32::try_from(at).unwrap_or(high)
        };
        let mut area = Rect {
            x0: grid(left + x.start, rect.x1),
            x1: grid(left + x.end, rect.x1),
            y0: grid(top + y.start, rect.y1),
            y1: grid(top + y.end, rect.y1),
        };
        // OpenJPEG decodes windows of the 9-7 transform to other samples than the whole: those are cut out of it.
        let (mut skip, mut size) = ((0, 0), (y.len(), x.len()));
        if !self.header.reversible() {
            area = rect;
            skip = (y.start as usize, x.start as usize);
            size = ((reduced(rect.y1) - top) as usize, (reduced(rect.x1) - left) as usize);
        }
        let job = self.job(rect, codestream, area, self.reduce);
        // Neither is empty, and all planes together are `out`.
        let plane = wh * ww * bytes;
        let mut due = 0..self.components();
        let mut stray = false;
        run(decoder, tile, &job, &mut |component, samples| {
            let place = out.chunks_exact_mut(plane).nth(component as usize);
            let Some(out) = place.filter(|_| due.next() == Some(component) && samples.len() == size.0 * size.1) else {
                stray = true;
                return;
            };
            let rows = out.chunks_exact_mut(ww * bytes).zip(samples.chunks_exact(size.1).skip(skip.0));
            for (row, samples) in rows.take(y.len()) {
                store(&mut row[..x.len() * bytes], &samples[skip.1..][..x.len()], bytes);
            }
        })?;
        if stray || !due.is_empty() {
            let reason = "the decoder did not hand over the samples of every component, in order";
            return Err(failed(tile, reason.into()));
        }
        Ok(())
    }
}

/// Decodes with another decoder; its words become an error.
pub(super) fn run(
    decoder: &dyn TileDecoder,
    tile: u16,
    job: &TileJob<'_>,
    take: &mut dyn FnMut(u32, &[i32]),
) -> Result<()> {
    decoder.decode(job, take).map_err(|reason| failed(tile, reason))
}

fn failed(tile: u16, reason: String) -> Error {
    Error::Decode { part: Marker::SOT.into(), offset: 0, tile: u32::from(tile), reason }
}

/// Writes samples in native byte order. The decoder keeps them within the bit depth, so the low bytes are all there is.
fn store(out: &mut [u8], samples: &[i32], bytes: usize) {
    if bytes == 1 {
        for (out, sample) in out.iter_mut().zip(samples) {
            *out = low_half(*sample).to_le_bytes()[0];
        }
    } else {
        for (out, sample) in out.chunks_exact_mut(2).zip(samples) {
            out.copy_from_slice(&low_half(*sample).to_ne_bytes());
        }
    }
}

fn fill_with(out: &mut [u8], fill: i64, bytes: usize) {
    let low = fill.to_le_bytes();
    if bytes == 1 {
        out.fill(low[0]);
    } else {
        let value = u16::from_le_bytes([low[0], low[1]]).to_ne_bytes();
        out.chunks_exact_mut(2).for_each(|o| o.copy_from_slice(&value));
    }
}

/// The two low bytes, whatever the sign.
fn low_half(sample: i32) -> u16 {
    let [a, b, ..] = sample.to_le_bytes();
    u16::from_le_bytes([a, b])
}
