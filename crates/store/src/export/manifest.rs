//! The references of a store as the manifest table (docs/formats/manifest.md).

use std::path::Path;

use icechunk::format::manifest::Checksum;
use s2ice_manifest::chunk::indices;
use s2ice_manifest::source::location::SourceUrl;
use s2ice_manifest::source::manifest_parquet::{ManifestError, ManifestWriter, Referenced, VERSION_KEY};
use s2ice_manifest::source::whole_file::WholeFile;

use super::{Cube, Selection, own};
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};

/// Writes the references of a selection, sorted by tree, array, time and tile; gives their number.
///
/// # Errors
/// As [`Cube::rasters`] and [`Cube::references`]; [`Error::Request`] where nothing is chosen or the file is no manifest; it
/// cannot be written.
pub async fn write(
    cube: &Cube,
    selection: &Selection,
    path: &Path,
    writer: &str,
    progress: &dyn Progress,
) -> Result<u64> {
    let unwritten = |error: ManifestError| Error::Input(error.to_string());
    let io = |source| unwritten(ManifestError::File { path: path.display().to_string(), source });
    let rasters = cube.some_rasters(selection)?;
    own::check(path, VERSION_KEY, "a manifest")?;
    let mut file = WholeFile::create(path).map_err(io)?;
    let mut table = ManifestWriter::new(&mut file, path, writer).map_err(unwritten)?;
    progress.begin(Phase::Rasters, Some(rasters.len() as u64));
    for raster in rasters {
        let held = cube.references(&raster).await?;
        if let Some(first) = held.first() {
            let (etag, last_modified) = match &first.reference.checksum {
                Some(Checksum::ETag(etag)) => (Some(etag.0.as_str()), None),
                Some(Checksum::LastModified(seconds)) => (None, Some(i64::from(seconds.0) * 1000)),
                None => (None, None),
            };
            let referenced = Referenced {
                array: &raster.array.path,
                product: raster.step.id.to_string(),
                time_ms: raster.step.time_ms,
                location: encoded(cube.address(first)),
                etag,
                last_modified,
            };
            let time = u32::try_from(raster.index).unwrap_or(u32::MAX);
            let rows = held.iter().map(|held| {
                let chunk = indices(raster.array.has_components, time, held.row, held.column);
                (chunk, held.reference.offset, held.reference.length)
            });
            table.push(&referenced, rows).map_err(unwritten)?;
        }
        progress.advance(1);
    }
    progress.end();
    let total = table.finish().map_err(unwritten)?;
    file.finish().map_err(io)?;
    Ok(total)
}

/// An address with all of it percent-encoded; one that leads nowhere stays as it is.
fn encoded(address: String) -> String {
    SourceUrl::parse(&address).map_or(address, |url| url.bare())
}
