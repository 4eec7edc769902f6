//! Reading at the source the tile-part headers that a proof asks for.

use s2ice_jpeg2000::Sot;
use s2ice_jpeg2000::segment::sot::SOT_BYTES;

use crate::manifest::RasterFile;
use crate::proof::{SeenSot, check};

use super::jp2_header::FileError;
use super::location::{Source, SourceUrl};
use super::version::Version;

/// Reads the headers of these tiles of a raster, up to the first that contradicts its tile table. One request each.
///
/// # Errors
/// [`FileError::Source`] where the source fails, [`FileError::Changed`] where the file is another one by now, and
/// [`FileError::Refused`] or [`FileError::Codestream`] where the file has something else there than the table says.
pub async fn ask_tiles(source: &Source, raster: &RasterFile, asked: &[u32]) -> Result<(), FileError> {
    let path = SourceUrl::decoded_path(&raster.path).unwrap_or_else(|| raster.path.to_string());
    let refused = |reason: String| FileError::Refused { path: path.clone(), reason };
    let known = Version { etag: raster.etag.as_deref(), last_modified: raster.last_modified };
    for &tile in asked {
        let span = usize::try_from(tile).ok().and_then(|tile| raster.tiles.iter().nth(tile));
        let Some(offset) = span.map(|span| span.offset) else { return Err(refused(format!("it has no tile {tile}"))) };
        let end = offset.saturating_add(SOT_BYTES as u64);
        let fetched = source.get_range(&path, offset..end).await?;
        let now = Version { etag: fetched.etag.as_deref(), last_modified: fetched.last_modified };
        if fetched.size != raster.file_size || known.differs(now).is_some() {
            return Err(FileError::Changed { path: path.clone() });
        }
        let sot = Sot::parse_at(&fetched.bytes, offset)
            .map_err(|source| FileError::Codestream { path: path.clone(), source })?;
        check(&raster.tiles, tile, SeenSot { offset, sot }).map_err(refused)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use s2ice_jpeg2000::TileSpan;

    use super::*;
    use crate::encoding::Encoding;
    use crate::manifest::{HeaderTrust, TileTable};
    use crate::profile::HeaderProfile;
    use crate::source::location::SourceOptions;

    fn raster(path: &str, tiles: &[TileSpan], file_size: u64) -> RasterFile {
        let header = HeaderProfile {
            encoding: Encoding::Jpeg2000 { codec_header: Vec::new() },
            fingerprint: String::new(),
            components: 1,
            image: (1, 1),
            tile: (1, 1),
            bit_depth: 15,
            signed: false,
        };
        RasterFile {
            asset: "B02_10m".parse().unwrap(),
            path: path.into(),
            file_size,
            etag: None,
            last_modified: None,
            header: Arc::new(header),
            trust: HeaderTrust::Verified,
            tiles: TileTable::new(tiles),
            nodata: Box::default(),
        }
    }

    #[tokio::test]
    async fn what_the_file_has_decides() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = vec![0; 50];
        for tile in 0..3 {
            file.extend(Sot { tile, psot: 20, tpsot: 0, tnsot: 1 }.write());
            file.extend([0; 8]);
        }
        std::fs::write(folder.path().join("x y.jp2"), &file).unwrap();
        let source =
            Source::open(&SourceUrl::parse(folder.path().to_str().unwrap()).unwrap(), &SourceOptions::default());
        let source = source.unwrap();
        let spans = [50, 70, 90].map(|offset| TileSpan { offset, length: 20 });
        let size = file.len() as u64;

        ask_tiles(&source, &raster("x%20y.jp2", &spans, size), &[0, 1, 2]).await.unwrap();
        assert_eq!(source.stats().requests(), 3);
        let swapped = raster("x%20y.jp2", &[spans[0], spans[2], spans[1]], size);
        let error = ask_tiles(&source, &swapped, &[1, 2]).await.unwrap_err();
        assert_eq!(error.to_string(), "x y.jp2: tile 1: at byte 90 the file has tile 2");
        assert_eq!(source.stats().requests(), 4, "one contradiction is enough");
        let shifted = spans.map(|span| TileSpan { offset: span.offset - 10, ..span });
        let error = ask_tiles(&source, &raster("x%20y.jp2", &shifted, size), &[2]).await.unwrap_err();
        assert!(matches!(error, FileError::Codestream { .. }), "{error}");

        let other = RasterFile { etag: Some("\"another\"".into()), ..raster("x%20y.jp2", &spans, size) };
        for other in [other, raster("x%20y.jp2", &spans, size + 1)] {
            let error = ask_tiles(&source, &other, &[2]).await.unwrap_err();
            assert!(matches!(error, FileError::Changed { .. }), "{error}");
        }
        assert!(ask_tiles(&source, &raster("y.jp2", &spans, size), &[2]).await.is_err());
        assert!(ask_tiles(&source, &raster("x%20y.jp2", &spans, size), &[3]).await.is_err());
    }
}
