//! The decoder of this crate: tiles of the reversible 5-3 transform, bit for bit as OpenJPEG decodes them.
//!
//! No IO, no C, and nothing allocated per code-block; of the standard library it needs `alloc` only, and to ask the processor
//! what it can.
//!
//! ```text
//! packet headers -> Blocks -> Lane: bit-planes of a code-block -> Strip: a row of code-blocks -> Component: rows of samples
//! ```

// But for what is allowed by name: `words::x86` and `kernels`.
#![deny(unsafe_code)]

mod block;
mod contexts;
mod kernels;
mod lanes;
mod lifting;
mod mq;
mod strip;
mod wavelet;
mod words;

pub use kernels::Build;

use super::{TileDecoder, TileJob, Window};
use crate::error::{Error, Result};
use crate::grid::{Rect, reduced_size};
use crate::header::{MainHeader, first_tile_part};
use crate::marker::Marker;
use crate::packet::blocks::{Blocks, Scope};
use crate::tile::Chunk;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use block::Lane;
use kernels::Kernels;
use lanes::{Lanes, Source};
use strip::Worker;
use wavelet::{Axis, Component};

/// The decoder of this crate, one thread per call.
#[derive(Debug, Clone, Copy)]
pub struct Native {
    build: Build,
}

impl Default for Native {
    fn default() -> Self {
        Native::new(Build::Avx2)
    }
}

/// Decoded rows: component, row of the window, and its samples.
pub(super) type TakeRow<'a> = dyn FnMut(u32, u32, &[i32]) + 'a;

/// A tile and the part of it that is wanted, with the code-blocks for it.
pub(super) struct Wanted<'a> {
    pub(super) header: &'a MainHeader,
    pub(super) tile: Rect,
    pub(super) reduce: u8,
    /// Inside the reduced tile, and not empty.
    pub(super) window: &'a Window,
    pub(super) blocks: &'a Blocks,
    /// What the places of code-blocks count in.
    pub(super) body: &'a [u8],
}

impl Native {
    /// The decoder in one of its builds.
    #[must_use]
    pub fn new(build: Build) -> Native {
        Native { build }
    }

    /// Whether codestreams of this header are decoded.
    ///
    /// # Errors
    /// [`Error::Unsupported`] names what is not: the 9-7 transform, code-block styles, regions of interest, changes of the
    /// progression order, subsampling, more than 16 bits.
    pub fn supports(header: &MainHeader) -> Result<()> {
        let refuse = |marker: Marker, reason: String| Err(Error::unsupported(marker, 0, reason));
        if !header.reversible() {
            return refuse(Marker::COD, "the 9-7 irreversible transform".into());
        }
        if !header.rgn().is_empty() {
            return refuse(Marker::RGN, "a region of interest".into());
        }
        if header.poc().is_some() {
            return refuse(Marker::POC, "progression order changes".into());
        }
        for (index, component) in (0..header.siz().component_count()).zip(&header.siz().components) {
            let style = header.coding(index).block_style;
            if style != 0 {
                return refuse(Marker::COD, alloc::format!("code-block style {style:#04x}"));
            }
            if (component.dx, component.dy) != (1, 1) {
                return refuse(Marker::SIZ, "subsampled components".into());
            }
            if component.bit_depth > 16 {
                return refuse(Marker::SIZ, alloc::format!("{} bits per sample", component.bit_depth));
            }
        }
        Ok(())
    }

    /// Decodes all wanted rows: component after component; where the first three went through the multiple component
    /// transform, row after row of these.
    pub(super) fn decode_rows(self, wanted: &Wanted<'_>, take: &mut TakeRow<'_>) {
        let Wanted { header, blocks, body, .. } = *wanted;
        let kernels = Kernels::new(self.build);
        let mut lanes: Lanes = core::array::from_fn(|_| Lane::new());
        let mut worker = Worker { kernels, lanes: &mut lanes, source: Source { blocks, body }, jobs: Vec::new() };
        let mut first = 0;
        if header.cod().mct {
            first = 3;
            decode_colour(wanted, &mut worker, take);
        }
        let mut samples = Vec::new();
        for index in first..header.siz().component_count() {
            let mut component = wanted.component(index);
            for row in 0..wanted.rows() {
                samples.clear();
                samples.extend_from_slice(component.row(&mut worker));
                wanted.finish(index, kernels, &mut samples);
                take(index.into(), row, &samples);
            }
        }
    }
}

/// The first three components, which the reversible component transform joins (clause G.2.2).
fn decode_colour(wanted: &Wanted<'_>, worker: &mut Worker<'_>, take: &mut TakeRow<'_>) {
    let mut components = [0, 1, 2].map(|index| wanted.component(index));
    let mut rows = [Vec::new(), Vec::new(), Vec::new()];
    for row in 0..wanted.rows() {
        for (component, samples) in components.iter_mut().zip(&mut rows) {
            samples.clear();
            samples.extend_from_slice(component.row(worker));
        }
        let [red, green, blue] = &mut rows;
        for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
            let (y, u, v) = (*red, *green, *blue);
            *green = y.wrapping_sub(u.wrapping_add(v) >> 2);
            *red = v.wrapping_add(*green);
            *blue = u.wrapping_add(*green);
        }
        for (index, samples) in (0..).zip(&mut rows) {
            wanted.finish(index, worker.kernels, samples);
            take(index.into(), row, samples);
        }
    }
}

impl Wanted<'_> {
    fn rows(&self) -> u32 {
        self.window.y.end - self.window.y.start
    }

    fn component(&self, index: u16) -> Component<'_> {
        let axis = |low: u32, high: u32, window: &core::ops::Range<u32>| {
            let (low, high) = (reduced_size(low, self.reduce), reduced_size(high, self.reduce));
            Axis { extent: low..high, wanted: low + window.start..low + window.end }
        };
        let tile = self.tile;
        let axes = [axis(tile.y0, tile.y1, &self.window.y), axis(tile.x0, tile.x1, &self.window.x)];
        let of = |band: &crate::packet::blocks::Subband| band.component;
        let all = &self.blocks.subbands;
        let start = all.partition_point(|band| of(band) < index);
        let end = all.partition_point(|band| of(band) <= index);
        // `TileCodec` refuses to leave out more than there are.
        let levels = self.header.coding(index).levels.saturating_sub(self.reduce);
        Component::new(&all[start..end], levels, axes)
    }

    /// Level shift and range of a component's samples.
    fn finish(&self, index: u16, kernels: Kernels, samples: &mut [i32]) {
        let Some(component) = self.header.siz().components.get(usize::from(index)) else { return };
        let half = 1i32 << (component.bit_depth.clamp(1, 16) - 1);
        let (shift, low, high) = if component.signed { (0, -half, half - 1) } else { (half, 0, 2 * half - 1) };
        kernels.level_shift(samples, shift, low, high);
    }
}

impl TileDecoder for Native {
    fn decode(&self, job: &TileJob<'_>, take: &mut dyn FnMut(u32, &[i32])) -> core::result::Result<(), String> {
        let decode = || -> Result<Vec<Vec<i32>>> {
            let header = MainHeader::parse(job.codestream)?;
            Native::supports(&header)?;
            let start = first_tile_part(job.codestream)?;
            let reduced = |n| reduced_size(n, job.reduce);
            let range = |low, high, origin| reduced(low) - reduced(origin)..reduced(high) - reduced(origin);
            let (tile, area) = (job.tile, job.area);
            let window = Window { y: range(area.y0, area.y1, tile.y0), x: range(area.x0, area.x1, tile.x0) };
            let scope = Scope { reduce: job.reduce, window: &window };
            let (chunk, body, blocks) = Chunk::blocks(&header, &job.codestream[start..], scope)?;
            let (tile, reduce) = (chunk.rect, job.reduce);
            let wanted = Wanted { header: &header, tile, reduce, window: &window, blocks: &blocks, body: &body };
            let mut planes = alloc::vec![Vec::new(); usize::from(header.siz().component_count())];
            self.decode_rows(&wanted, &mut |component, _, samples| {
                planes[component as usize].extend_from_slice(samples)
            });
            Ok(planes)
        };
        let planes = decode().map_err(|error| error.to_string())?;
        (0..).zip(&planes).for_each(|(component, samples)| take(component, samples));
        Ok(())
    }
}
