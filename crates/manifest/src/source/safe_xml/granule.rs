//! `MTD_TL.xml`: sensing time, identifiers and geocoding, all in its first 2 kB.

use std::ops::ControlFlow;

use chrono::DateTime;

use crate::grid::TileGeocoding;
use crate::ids::{MgrsTile, Resolution};

use super::MetadataError;
use super::xml::{Element, End, leaves};

/// What the granule's metadata tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GranuleFacts {
    /// `TILE_ID` (`TILE_ID_2A` in 2017), such as `S2A_OPER_MSI_L2A_TL_VGS1_20220401T110010_A035382_T34LBP_N04.00`.
    pub tile_id: String,
    /// The MGRS tile in it.
    pub tile: MgrsTile,
    /// `DATASTRIP_ID` (`DATASTRIP_ID_2A` in 2017).
    pub datastrip_id: Option<String>,
    /// `SENSING_TIME`, microseconds since 1970-01-01 UTC.
    pub sensing_time_us: i64,
    /// `Tile_Geocoding`, the same at each resolution.
    pub geocoding: TileGeocoding,
}

/// Values as they are met.
#[derive(Default)]
struct Found {
    tile_id: Option<String>,
    datastrip_id: Option<String>,
    sensing_time: Option<String>,
    cs_code: Option<String>,
    /// (resolution, element, value) of the geocoding.
    numbers: Vec<(u32, &'static str, String)>,
}

const NUMBERS: [&str; 6] = ["NROWS", "NCOLS", "ULX", "ULY", "XDIM", "YDIM"];

impl Found {
    fn take(&mut self, path: &[Element], text: &str) -> ControlFlow<()> {
        let Some((last, above)) = path.split_last() else { return ControlFlow::Continue(()) };
        match last.name.as_str() {
            // PSD 14.2 (baselines 02.04 to 02.06) calls by these names what is of level 2A.
            "TILE_ID_2A" => self.tile_id = Some(text.to_owned()),
            "DATASTRIP_ID_2A" => self.datastrip_id = Some(text.to_owned()),
            "TILE_ID" => drop(self.tile_id.get_or_insert_with(|| text.to_owned())),
            "DATASTRIP_ID" => drop(self.datastrip_id.get_or_insert_with(|| text.to_owned())),
            "SENSING_TIME" => self.sensing_time = Some(text.to_owned()),
            "HORIZONTAL_CS_CODE" => self.cs_code = Some(text.to_owned()),
            name => {
                let resolution = above.last().and_then(Element::number);
                if let (Some(name), Some(resolution)) = (NUMBERS.iter().find(|n| **n == name), resolution)
                    && self.numbers.len() < 64
                {
                    self.numbers.push((resolution, name, text.to_owned()));
                }
            }
        }
        if self.complete() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Everything is there: three resolutions of six numbers, whatever their order.
    fn complete(&self) -> bool {
        let ids = self.tile_id.is_some() && self.sensing_time.is_some() && self.cs_code.is_some();
        ids && self.datastrip_id.is_some() && self.numbers.len() >= 18
    }
}

/// Reads a granule's metadata from the first bytes of `MTD_TL.xml`; `None` where they do not reach far enough.
///
/// # Errors
/// [`MetadataError`]: no XML, a missing or senseless value, a geocoding that contradicts itself.
pub fn parse_granule(bytes: &[u8], path: &str) -> Result<Option<GranuleFacts>, MetadataError> {
    let mut found = Found::default();
    let end = leaves(bytes, |element, text| found.take(element, text)).map_err(|(at, detail)| MetadataError::Xml {
        path: path.to_owned(),
        at,
        detail,
    })?;
    if end == End::Cut {
        return Ok(None);
    }
    let need = |value: Option<String>, element: &'static str| {
        value.ok_or_else(|| MetadataError::Missing { path: path.to_owned(), element })
    };
    let tile_id = need(found.tile_id, "TILE_ID")?;
    let tile = tile_id.split('_').find_map(|part| part.strip_prefix('T').and_then(|code| code.parse().ok()));
    let tile = tile.ok_or_else(|| MetadataError::value(path, "TILE_ID", &tile_id))?;
    let time = need(found.sensing_time, "SENSING_TIME")?;
    let sensing_time_us = DateTime::parse_from_rfc3339(&time)
        .map_err(|_| MetadataError::value(path, "SENSING_TIME", &time))?
        .timestamp_micros();
    let code = need(found.cs_code, "HORIZONTAL_CS_CODE")?;
    let epsg = code.strip_prefix("EPSG:").and_then(|number| number.parse().ok());
    let epsg = epsg.ok_or_else(|| MetadataError::value(path, "HORIZONTAL_CS_CODE", &code))?;
    let geocoding = geocoding(&found.numbers, epsg, path)?;
    Ok(Some(GranuleFacts { tile_id, tile, datastrip_id: found.datastrip_id, sensing_time_us, geocoding }))
}

fn geocoding(numbers: &[(u32, &'static str, String)], epsg: u32, path: &str) -> Result<TileGeocoding, MetadataError> {
    let number = |resolution: Resolution, element: &'static str| -> Result<i64, MetadataError> {
        let metres = u32::from(resolution.metres());
        let text = numbers.iter().find(|(r, name, _)| *r == metres && *name == element).map(|(_, _, text)| text);
        let text = text.ok_or_else(|| MetadataError::Missing { path: path.to_owned(), element })?;
        // Some processors write whole metres with a decimal point.
        let whole = text.strip_suffix(".0").unwrap_or(text);
        whole.parse().map_err(|_| MetadataError::value(path, element, text))
    };
    let mut found: Option<TileGeocoding> = None;
    for resolution in Resolution::ALL {
        let (ulx, uly) = (number(resolution, "ULX")?, number(resolution, "ULY")?);
        let (metres, pixels) = (i64::from(resolution.metres()), i64::from(TileGeocoding::pixels(resolution)));
        for (element, expected) in [("XDIM", metres), ("YDIM", -metres), ("NROWS", pixels), ("NCOLS", pixels)] {
            let value = number(resolution, element)?;
            if value != expected {
                return Err(MetadataError::Geocoding {
                    path: path.to_owned(),
                    found: format!("{element} {value} at {resolution}"),
                    expected: expected.to_string(),
                });
            }
        }
        let here = TileGeocoding { epsg, ulx, uly };
        match found {
            Some(first) if first != here => {
                return Err(MetadataError::Geocoding {
                    path: path.to_owned(),
                    found: format!("upper left ({ulx}, {uly}) at {resolution}"),
                    expected: format!("({}, {}) as at {}", first.ulx, first.uly, Resolution::R10),
                });
            }
            _ => found = Some(here),
        }
    }
    found.ok_or(MetadataError::Missing { path: path.to_owned(), element: "Geoposition" })
}
