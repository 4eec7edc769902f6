//! A store as files that GDAL opens today: for each product the sidecars of its rasters and a VRT for each group of arrays.
//!
//! Files of the archive mostly lack TLM, the table of their tile-parts, so GDAL asks for each of them in turn until it is at the
//! window. A sidecar puts a header with that table in front of the file's own tile-parts (docs/gdal.md).

mod folder;
mod place;
mod sidecar;
mod vrt;
mod xml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, SecondsFormat};
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::encoding::Encoding;
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::product::ProductId;
use serde_json::{Map, Value};

use self::folder::Folder;
pub use self::place::Service;
use self::sidecar::{Blanks, Sidecar, TileRange};
use self::vrt::Source;
use super::{Cube, LeftOut, Raster, Selection};
use crate::error::{Error, Result};
use crate::layout::eopf::{ArrayKind, array_kind};
use crate::progress::{Phase, Progress};

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// Rasters.
    pub rasters: u64,
    /// VRTs.
    pub vrts: u64,
    /// References behind them.
    pub references: u64,
    /// What GDAL must have set to reach the files of each source, by its prefix.
    pub options: BTreeMap<String, BTreeMap<String, String>>,
    /// Rasters that were left out.
    pub left_out: Vec<LeftOut>,
}

/// One raster, ready to be opened.
#[derive(Debug, serde::Serialize)]
pub struct One {
    /// Path of its VRT.
    pub vrt: String,
    /// Where its file lies; `None` where nothing of it has data.
    pub service: Option<Service>,
}

/// Writes the rasters of a selection to a folder.
///
/// # Errors
/// As [`Cube::rasters`] and [`Cube::references`]; [`Error::Request`] where the folder holds something else or nothing
/// is chosen, [`Error::Nothing`] where all of it was left out.
pub async fn write(cube: &Cube, selection: &Selection, path: &Path, progress: &dyn Progress) -> Result<Written> {
    let export = Export::of(cube)?;
    let rasters = cube.some_rasters(selection)?;
    let total = rasters.len() as u64;
    let mut groups: BTreeMap<(ProductId, String), Vec<(Raster<'_>, ArrayKind)>> = BTreeMap::new();
    for raster in rasters {
        let kind = export.kind(&raster)?;
        groups.entry((raster.step.id, kind.place.group.clone())).or_default().push((raster, kind));
    }
    let folder = Folder::open(path)?;
    let (mut written, mut blanks) = (Written::default(), Blanks::default());
    progress.begin(Phase::Rasters, Some(total));
    for ((product, group), mut rasters) in groups {
        rasters.sort_by(|(_, a), (_, b)| a.place.cmp(&b.place));
        let mut sources = Vec::new();
        for (raster, kind) in &rasters {
            match export.raster(&folder, raster, kind, &mut blanks).await? {
                Ok(made) => {
                    written.references += made.references;
                    let options = made.container.map(|c| (c.url_prefix().to_owned(), place::options(&c)));
                    written.options.extend(options.filter(|(_, options)| !options.is_empty()));
                    sources.push(export.source(raster, kind, made.file));
                }
                Err(reason) => written.left_out.push(LeftOut::of(raster, reason)),
            }
            progress.advance(1);
        }
        if let (Some((raster, _)), false) = (rasters.first(), sources.is_empty()) {
            let text = vrt::write(raster.step, export.geocoding, &sources);
            folder.write(&format!("{product}{group}.vrt"), text.as_bytes())?;
            written.vrts += 1;
            written.rasters += sources.len() as u64;
        }
    }
    progress.end();
    if let (0, Some(first)) = (written.rasters, written.left_out.first()) {
        return Err(Error::Nothing(format!("no raster can be given to GDAL, such as {first}")));
    }
    folder.note(&note(&written))?;
    Ok(written)
}

/// Writes the raster of an array at a time (milliseconds, both ends included) to a folder, with a VRT of its own.
///
/// # Errors
/// As [`write()`]; [`Error::Request`] where there is no such array, or not just one product at that time.
pub async fn one(cube: &Cube, array: &str, (first, last): (i64, i64), path: &Path) -> Result<One> {
    let export = Export::of(cube)?;
    let wanted = array.trim_matches('/');
    let mut found: Vec<(Raster<'_>, ArrayKind)> = Vec::new();
    let (mut is_there, mut others) = (false, BTreeSet::new());
    for raster in cube.rasters(&Selection::default())? {
        let kind = export.kind(&raster)?;
        if ![&kind.place.path(), &raster.array.path].iter().any(|path| path.trim_matches('/') == wanted) {
            others.insert(kind.place.path());
            continue;
        }
        is_there = true;
        if (first..=last).contains(&raster.step.time_ms) {
            found.push((raster, kind));
        }
    }
    let (raster, kind) = match found.as_slice() {
        [one] => one,
        [] if !is_there => {
            let others: Vec<String> = others.into_iter().collect();
            return Err(Error::Request(format!(
                "{} has no array {wanted} of rasters; there are {}",
                cube.url,
                others.join(", ")
            )));
        }
        [] => return Err(Error::Request(format!("{} has no {wanted} at that time", cube.url))),
        several => {
            let time = |(raster, _): &(Raster<'_>, ArrayKind)| {
                let time = DateTime::from_timestamp_millis(raster.step.time_ms).unwrap_or_default();
                time.to_rfc3339_opts(SecondsFormat::Millis, true)
            };
            let times: Vec<String> = several.iter().take(3).map(time).collect();
            return Err(Error::Request(format!(
                "{} has {wanted} {} times then: say which, such as {}",
                cube.url,
                several.len(),
                times.join(", ")
            )));
        }
    };
    let folder = Folder::open(path)?;
    let made = export.raster(&folder, raster, kind, &mut Blanks::default()).await?;
    let made = made.map_err(|reason| {
        Error::Nothing(format!("{wanted} of {} cannot be given to GDAL: {reason}", raster.step.id))
    })?;
    let text = vrt::write(raster.step, export.geocoding, &[export.source(raster, kind, made.file)]);
    let vrt = folder.write(&format!("{}{}.vrt", raster.step.id, kind.place.path()), text.as_bytes())?;
    Ok(One { vrt, service: made.container.as_ref().map(Service::of) })
}

/// A raster whose sidecar is there.
struct Made {
    /// As GDAL names it.
    file: String,
    container: Option<VirtualChunkContainer>,
    references: u64,
}

/// A cube on its way to GDAL.
struct Export<'a> {
    cube: &'a Cube,
    level: Level,
    geocoding: TileGeocoding,
    none: Map<String, Value>,
}

impl<'a> Export<'a> {
    fn of(cube: &'a Cube) -> Result<Self> {
        let damaged =
            |error: s2ice_manifest::ids::NameError| Error::Damaged { url: cube.url.clone(), detail: error.to_string() };
        let tile: MgrsTile = cube.state.stamp.tile.parse().map_err(damaged)?;
        let level = cube.state.stamp.level.parse().map_err(damaged)?;
        Ok(Self { cube, level, geocoding: TileGeocoding::of(tile), none: Map::new() })
    }

    fn kind(&self, raster: &Raster<'_>) -> Result<ArrayKind> {
        array_kind(raster.asset, self.level).ok_or_else(|| Error::Damaged {
            url: self.cube.url.clone(),
            detail: format!("{} has no place at level {}", raster.asset, self.level),
        })
    }

    fn source<'b>(&'b self, raster: &'b Raster<'_>, kind: &'b ArrayKind, file: String) -> Source<'b> {
        let document = self.cube.state.documents.get(raster.array.path.trim_start_matches('/'));
        let attributes = document.and_then(|d| d.get("attributes")).and_then(Value::as_object);
        Source {
            name: &kind.place.array,
            asset: raster.asset,
            header: &raster.array.header,
            attributes: attributes.unwrap_or(&self.none),
            file,
        }
    }

    /// Writes what stands before the file of a raster; the reason in words where it cannot be given to GDAL.
    async fn raster(
        &self,
        folder: &Folder,
        raster: &Raster<'_>,
        kind: &ArrayKind,
        blanks: &mut Blanks,
    ) -> Result<std::result::Result<Made, String>> {
        let held = self.cube.references(raster).await?;
        let references = held.len() as u64;
        let container = held.first().and_then(|first| self.cube.container_of(first)).cloned();
        let addresses: BTreeSet<String> = held.iter().map(|reference| self.cube.address(reference)).collect();
        let address = match addresses.iter().collect::<Vec<_>>().as_slice() {
            [] => None,
            [one] => Some((*one).clone()),
            _ => return Ok(Err("its tiles lie in several files".to_owned())),
        };
        if address.is_some() && container.is_none() {
            return Ok(Err("its file lies below none of the sources that the store names".to_owned()));
        }
        let file = match address.as_deref().map(place::name).transpose() {
            Ok(file) => file,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let Encoding::Jpeg2000 { codec_header } = &raster.array.header.encoding else {
            // GDAL reads GeoTIFFs as they are.
            return Ok(file
                .map(|file| Made { file, container, references })
                .ok_or_else(|| "no tile of it has data, so the store does not say which file it is".to_owned()));
        };
        let columns = raster.array.header.grid().1;
        let ranges = held.iter().map(|held| TileRange {
            tile: held.row.saturating_mul(columns).saturating_add(held.column),
            offset: held.reference.offset,
            length: held.reference.length,
        });
        let sidecar = match Sidecar::of(codec_header, ranges.collect(), kind.fill, blanks) {
            Ok(sidecar) => sidecar,
            Err(reason) => return Ok(Err(reason)),
        };
        let stem = format!("{}{}", raster.step.id, kind.place.path());
        folder.write(&format!("{stem}.head"), &sidecar.head)?;
        let head = format!("{}.head", kind.place.array);
        let path = folder.write(&format!("{stem}.xml"), sidecar.xml(&head, &file.unwrap_or_default()).as_bytes())?;
        Ok(Ok(Made { file: format!("/vsisparse/{path}"), container, references }))
    }
}

/// What the folder says of itself.
fn note(written: &Written) -> String {
    let mut out = String::from(
        "The .vrt files open in GDAL, QGIS and rasterio; the .xml and .head files beside them are what they read through.\n\
         They name this folder: write it again where it shall lie, rather than move it.\n",
    );
    for (source, options) in &written.options {
        out += &format!("\nTo be set for what lies at {source}, beside keys where it asks for them:\n");
        options.iter().for_each(|(name, value)| out += &format!("{name}={value}\n"));
    }
    out
}
