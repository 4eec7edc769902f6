//! A raster read through a store's references, tile by tile.

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use s2ice_jpeg2000::{CodecConfig, TileCodec, reduced_size};

use super::area::Area;
use super::choose::Chosen;
use super::fetch::{Read, Run, Wanted, read, runs};
use super::file::{File, Trouble};
use super::layer::{Layer, Place, decoded};
use super::paint::Frame;
use super::places::Places;
use super::stretch::Tone;
use super::view::View;
use super::watch::Watch;
use crate::export::{Cube, Raster};
use crate::progress::Progress;

/// Requests under way; the source bounds them as well.
const AT_ONCE: usize = 16;

/// Largest tile, pixels.
const PIXELS: u64 = 1 << 24;

/// What all rasters of a picture are read with.
pub(crate) struct Reader<'a> {
    pub(crate) cube: &'a Cube,
    pub(crate) places: &'a Places,
    pub(crate) watch: &'a dyn Watch,
    /// Counts tiles.
    pub(crate) progress: &'a dyn Progress,
}

impl Chosen<'_> {
    /// Tiles of its rasters that lie in an area.
    pub(super) fn tiles(&self, area: &Area) -> u64 {
        let of = |view: &View<'_>| {
            let ((rows, columns), (height, width)) = (view.array.header.grid(), view.array.header.tile);
            let chunk = (reduced_size(height, view.reduce()), reduced_size(width, view.reduce()));
            let tiles = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
            tiles.filter(|tile| Place::of(*tile, chunk, area, view.stride()).is_some()).count() as u64
        };
        self.views.iter().map(of).sum()
    }
}

impl Reader<'_> {
    /// What a picture shows of a product, all of its rasters at a time.
    pub(crate) async fn frame(&self, chosen: &Chosen<'_>, area: &Area) -> Result<Frame, Trouble> {
        let layers = chosen.views.iter().map(|view| async move {
            let document = self.cube.state.documents.get(view.array.path.trim_start_matches('/'));
            Ok::<_, Trouble>((self.layer(chosen, view, area).await?, Tone::of(document)))
        });
        Ok(Frame { layers: try_join_all(layers).await? })
    }

    /// The part of a raster that a picture shows.
    async fn layer(&self, chosen: &Chosen<'_>, view: &View<'_>, area: &Area) -> Result<Layer, Trouble> {
        let (tree, index, step) = (chosen.tree, chosen.index, chosen.step);
        let raster = Raster { tree, asset: view.asset, array: view.array, index, step };
        let held = self.cube.references(&raster).await.map_err(|error| Trouble::File(error.to_string()))?;
        let codec = codec(view).map_err(|reason| Trouble::File(format!("{}: {reason}", view.asset)))?;
        let mut layer = Layer::new(area, codec.components());
        let Some(address) = Places::address(self.cube, &held).map_err(Trouble::File)? else { return Ok(layer) };
        let found = self.places.find(&address, step, view.asset)?;
        if let Some(reason) = self.watch.left_alone(found.place) {
            let place = found.place;
            return Err(Trouble::LeftAlone(format!("{place} is left alone, it answered nobody: {reason}")));
        }
        let (source, path) = (found.source, found.path.as_str());
        let file = File { source, address: &address, path, is_moved: found.is_moved, watch: self.watch };
        let places = held
            .iter()
            .filter_map(|one| Some((one, Place::of((one.row, one.column), codec.chunk_shape(), area, view.stride())?)));
        let (mut wanted, mut there) = (Vec::new(), Vec::new());
        for (one, place) in places {
            let part = Wanted::new(&codec, view.reduce(), one, place.window.clone());
            wanted.push(part.map_err(|reason| file.trouble(reason))?);
            there.push(place);
        }
        let outcome = self.filled(&file, &codec, &wanted, &there, &mut layer).await;
        let silence = outcome.as_ref().err().filter(|trouble| match trouble {
            Trouble::Source(error) => error.is_unseen() || error.concerns_whole_source(),
            Trouble::File(_) | Trouble::LeftAlone(_) | Trouble::Spent => false,
        });
        self.watch.note(found.place, silence.map(Trouble::to_string));
        outcome.map(|()| layer)
    }

    /// Reads and decodes tiles, some at a time, so that only those are in memory.
    async fn filled(
        &self,
        file: &File<'_>,
        codec: &TileCodec,
        wanted: &[Wanted<'_>],
        places: &[Place],
        layer: &mut Layer,
    ) -> Result<(), Trouble> {
        let runs = runs(wanted).map_err(|reason| file.trouble(reason))?;
        let tiles = runs.into_iter().map(|run| async move {
            let tiles = read(file, codec, wanted, &run).await?;
            self.samples(file, codec, wanted, run, tiles).await
        });
        let mut tiles = futures::stream::iter(tiles.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        while let Some(run) = tiles.try_next().await? {
            self.progress.advance(run.len() as u64);
            for (at, samples) in run {
                if let Some(place) = places.get(at) {
                    layer.put(place, &samples);
                }
            }
        }
        Ok(())
    }

    /// Decodes the tiles of a run, away from what waits for requests.
    async fn samples(
        &self,
        file: &File<'_>,
        codec: &TileCodec,
        wanted: &[Wanted<'_>],
        run: Run,
        tiles: Vec<Read>,
    ) -> Result<Vec<(usize, Vec<Vec<u16>>)>, Trouble> {
        let windows: Vec<_> = run.tiles.iter().filter_map(|at| wanted.get(*at)).map(|one| one.window.clone()).collect();
        let codec = codec.clone();
        let work = move || {
            let each = run.tiles.into_iter().zip(tiles).zip(windows);
            each.map(|((at, tile), window)| match decoded(&codec, &tile, &window) {
                Ok(samples) => Ok((at, samples)),
                Err(reason) => Err((at, reason)),
            })
            .collect::<Result<Vec<_>, _>>()
        };
        let samples = tokio::task::spawn_blocking(work).await.map_err(|error| file.trouble(error))?;
        samples.map_err(|(at, reason)| {
            let held = wanted.get(at).map(|one| (one.held.row, one.held.column)).unwrap_or_default();
            file.trouble(format_args!("the tile in row {} and column {}: {reason}", held.0, held.1))
        })
    }
}

/// The decoder of an array, of the samples that pictures are made of.
fn codec(view: &View<'_>) -> Result<TileCodec, String> {
    let config = CodecConfig::from_header(&view.header, view.reduce());
    let codec = TileCodec::new(&config).map_err(|error| error.to_string())?;
    if codec.dtype().signed {
        return Err("its samples are signed".to_owned());
    }
    let (height, width) = view.array.header.tile;
    if u64::from(height) * u64::from(width) > PIXELS {
        return Err(format!("its tiles have {height} x {width} pixels"));
    }
    Ok(codec)
}
