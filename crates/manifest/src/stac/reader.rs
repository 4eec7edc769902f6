//! Reading the fields of an item, and checking them against its product name and the tiling grid.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::cog::{Cogs, OFFSET_APPLIED};
use super::short;
use super::{StacError, StacNote, product_in};
use crate::grid::TileGeocoding;
use crate::ids::{MgrsTile, Resolution};
use crate::product::ProductId;

const NAME_FIELDS: [&str; 3] = ["s2:product_uri", "s2:product_title", "sentinel2:product_title"];
const TILE_FIELDS: [&str; 4] = ["grid:code", "s2:mgrs_tile", "s2:tile", "tileId"];
const BASELINE_FIELDS: [&str; 4] =
    ["s2:processing_baseline", "sentinel2:processing_baseline", "processing:version", "processorVersion"];
pub(super) const DATASTRIP_FIELDS: [&str; 3] = ["s2:datastrip_id", "eopf:datastrip_id", "datastripId"];
/// Every property that [`StacItem`](super::StacItem) looks at: what a reader of columns needs to read.
#[cfg(feature = "io")]
pub(crate) const PROPERTIES: [&str; 31] = [
    "s2:product_uri",
    "s2:product_title",
    "sentinel2:product_title",
    "grid:code",
    "s2:mgrs_tile",
    "s2:tile",
    "tileId",
    "mgrs:utm_zone",
    "mgrs:latitude_band",
    "mgrs:grid_square",
    "sentinel:utm_zone",
    "sentinel:latitude_band",
    "sentinel:grid_square",
    "s2:processing_baseline",
    "sentinel2:processing_baseline",
    "processing:version",
    "processorVersion",
    "s2:datastrip_id",
    "eopf:datastrip_id",
    "datastripId",
    "datetime",
    "start_datetime",
    "eo:cloud_cover",
    "cloudCover",
    "updated",
    "created",
    "published",
    "proj:epsg",
    "proj:code",
    "proj:transform",
    OFFSET_APPLIED,
];

/// One item while it is read: every failure names the item and the field.
pub(super) struct Reader<'a> {
    pub(super) id: String,
    pub(super) root: &'a Map<String, Value>,
    properties: &'a Map<String, Value>,
    assets: Vec<(&'a str, &'a Map<String, Value>)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(value: &'a Value) -> Result<Self, StacError> {
        let not = |problem: &str| StacError::NotAnItem { problem: problem.to_owned() };
        let root = value.as_object().ok_or_else(|| not("it is not a JSON object"))?;
        match root.get("type").and_then(Value::as_str) {
            Some("Feature") => {}
            Some(other) => return Err(not(&format!("its type is {:?}, not \"Feature\"", short(other)))),
            None => return Err(not("it has no type \"Feature\"")),
        }
        let id = root.get("id").and_then(Value::as_str).ok_or_else(|| not("it has no id"))?;
        let properties =
            root.get("properties").and_then(Value::as_object).ok_or_else(|| not("it has no properties object"))?;
        let assets = root.get("assets").and_then(Value::as_object).into_iter().flatten();
        let assets = assets.filter_map(|(key, asset)| Some((key.as_str(), asset.as_object()?))).collect();
        Ok(Self { id: short(id), root, properties, assets })
    }

    pub(super) fn field(&self, field: &str, problem: &str) -> StacError {
        StacError::Field { item: self.id.clone(), field: short(field), problem: problem.to_owned() }
    }

    /// The first of the fields that is there as text.
    pub(super) fn text(&self, fields: &[&'static str]) -> Result<Option<(&'static str, &'a str)>, StacError> {
        for &field in fields {
            match self.properties.get(field) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => return Ok(Some((field, text))),
                Some(_) => return Err(self.field(field, "is not a text")),
            }
        }
        Ok(None)
    }

    pub(super) fn number(&self, fields: &[&str]) -> Result<Option<f64>, StacError> {
        for field in fields {
            match self.properties.get(*field) {
                None | Some(Value::Null) => {}
                Some(value) => return value.as_f64().map(Some).ok_or_else(|| self.field(field, "is not a number")),
            }
        }
        Ok(None)
    }

    pub(super) fn time(&self, field: &'static str) -> Result<Option<DateTime<Utc>>, StacError> {
        let Some((_, text)) = self.text(&[field])? else { return Ok(None) };
        match DateTime::parse_from_rfc3339(text) {
            Ok(time) => Ok(Some(time.to_utc())),
            Err(_) => Err(self.field(field, &format!("is {:?}, not an RFC 3339 time", short(text)))),
        }
    }

    pub(super) fn self_href(&self) -> Option<String> {
        let links = self.root.get("links")?.as_array()?;
        let link = links.iter().find(|link| link.get("rel").and_then(Value::as_str) == Some("self"))?;
        link.get("href")?.as_str().map(str::to_owned)
    }

    pub(super) fn product(&self) -> Result<ProductId, StacError> {
        let mut found = Vec::new();
        for field in NAME_FIELDS {
            if let Some((_, text)) = self.text(&[field])?
                && let Ok(product) = text.parse::<ProductId>()
            {
                found.push((field.to_owned(), product));
            }
        }
        if let Ok(product) = self.id.parse() {
            found.push(("id".to_owned(), product));
        }
        if found.is_empty() {
            let href = |asset: &'a Map<String, Value>| asset.get("href")?.as_str();
            let names = self.assets.iter().filter_map(|(key, asset)| Some((key, product_in(href(asset)?)?)));
            found.extend(names.map(|(key, product)| (format!("the href of asset {:?}", short(key)), product)));
        }
        let mut found = found.into_iter();
        let Some((field, product)) = found.next() else {
            return Err(StacError::NoProductName { item: self.id.clone() });
        };
        match found.find(|(_, other)| *other != product) {
            None => Ok(product),
            Some((other_field, other)) => {
                let (item, product, other) = (self.id.clone(), Box::new(product), Box::new(other));
                Err(StacError::TwoProducts { item, field, product, other_field, other })
            }
        }
    }

    /// The first tile that a field states.
    #[cfg(feature = "io")]
    pub(super) fn stated_tile(&self) -> Option<MgrsTile> {
        TILE_FIELDS.iter().find_map(|field| self.properties.get(*field)?.as_str()?.parse().ok())
    }

    pub(super) fn check_tile(&self, product: ProductId) -> Result<(), StacError> {
        let named = product.tile();
        let agree = |field: &str, text: &str| match text.parse::<MgrsTile>() {
            Ok(stated) if stated == named => Ok(()),
            Ok(stated) => Err(StacError::Tile { item: self.id.clone(), field: field.to_owned(), stated, named }),
            Err(error) => Err(self.field(field, &error.to_string())),
        };
        for field in TILE_FIELDS {
            if let Some((_, text)) = self.text(&[field])? {
                agree(field, text)?;
            }
        }
        for prefix in ["mgrs", "sentinel"] {
            let [zone, band, square] = ["utm_zone", "latitude_band", "grid_square"]
                .map(|part| self.properties.get(&format!("{prefix}:{part}")));
            let zone = zone.and_then(Value::as_u64);
            if let (Some(zone), Some(band), Some(square)) =
                (zone, band.and_then(Value::as_str), square.and_then(Value::as_str))
            {
                agree(&format!("{prefix}:utm_zone, latitude_band, grid_square"), &format!("{zone}{band}{square}"))?;
            }
        }
        Ok(())
    }

    /// Checks EPSG code and affine transform of the item and of every asset that lies on the granule's own grid
    /// (pixels of 10, 20 or 60 m); previews and thumbnails do not.
    pub(super) fn check_geocoding(&self, tile: MgrsTile) -> Result<bool, StacError> {
        let expected = TileGeocoding::of(tile);
        let mut checked = self.check_epsg("", self.properties, tile, expected)?;
        checked |= self.check_transform("", self.properties, tile, expected)?;
        for (key, asset) in &self.assets {
            let place = format!("{}.", short(key));
            if self.check_transform(&place, asset, tile, expected)? {
                checked = true;
                self.check_epsg(&place, asset, tile, expected)?;
            }
        }
        Ok(checked)
    }

    fn mismatch(&self, field: String, stated: String, tile: MgrsTile, expected: TileGeocoding) -> StacError {
        let expected = format!("EPSG:{} ({}, {})", expected.epsg, expected.ulx, expected.uly);
        StacError::Geocoding { item: self.id.clone(), field, stated, tile, expected }
    }

    fn check_epsg(
        &self,
        place: &str,
        fields: &Map<String, Value>,
        tile: MgrsTile,
        expected: TileGeocoding,
    ) -> Result<bool, StacError> {
        let mut checked = false;
        for field in ["proj:epsg", "proj:code"] {
            let stated = match fields.get(field) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => text.trim_start_matches("EPSG:").to_owned(),
                Some(other) => other.to_string(),
            };
            if stated != expected.epsg.to_string() {
                return Err(self.mismatch(
                    format!("{place}{field}"),
                    format!("EPSG:{}", short(&stated)),
                    tile,
                    expected,
                ));
            }
            checked = true;
        }
        Ok(checked)
    }

    fn check_transform(
        &self,
        place: &str,
        fields: &Map<String, Value>,
        tile: MgrsTile,
        expected: TileGeocoding,
    ) -> Result<bool, StacError> {
        let field = format!("{place}proj:transform");
        let transform = match fields.get("proj:transform") {
            None | Some(Value::Null) => return Ok(false),
            Some(Value::Array(numbers)) => numbers.iter().map(Value::as_f64).collect::<Option<Vec<_>>>(),
            Some(_) => None,
        };
        let Some(transform) = transform else { return Err(self.field(&field, "is not a list of numbers")) };
        let [width, skew_x, left, skew_y, height, top, ..] = transform[..] else {
            return Err(self.field(&field, "has fewer than six numbers"));
        };
        if !Resolution::ALL.iter().any(|r| f64::from(r.metres()) == width) {
            return Ok(false);
        }
        // Eastings and northings are far below 2^53: exact as float64.
        if (skew_x, skew_y, height, left, top) != (0.0, 0.0, -width, expected.ulx as f64, expected.uly as f64) {
            let stated = format!("({left}, {top}), pixels of {width} by {height} m, rotation ({skew_x}, {skew_y})");
            return Err(self.mismatch(field, stated, tile, expected));
        }
        Ok(true)
    }

    pub(super) fn file_sizes(&self) -> Result<BTreeMap<String, u64>, StacError> {
        let mut sizes = BTreeMap::new();
        for (key, asset) in &self.assets {
            let href = asset.get("href").and_then(Value::as_str).unwrap_or_default();
            let name = href.rsplit('/').next().filter(|name| name.ends_with(".jp2"));
            let (Some(name), Some(size)) = (name, asset.get("file:size")) else { continue };
            let size =
                size.as_u64().ok_or_else(|| self.field(&format!("{key}.file:size"), "is not a size in bytes"))?;
            sizes.insert(name.to_owned(), size);
        }
        Ok(sizes)
    }

    /// Addresses of the JPEG 2000 files.
    pub(super) fn images(&self) -> Vec<String> {
        let hrefs = self.assets.iter().filter_map(|(_, asset)| asset.get("href")?.as_str());
        hrefs.filter(|href| href.ends_with(".jp2")).map(str::to_owned).collect()
    }

    pub(super) fn cogs(&self) -> Cogs {
        Cogs::of(self.assets.iter().copied(), self.properties)
    }

    pub(super) fn notes(&self, product: ProductId) -> Result<Vec<StacNote>, StacError> {
        let named = product.baseline();
        let Some((field, text)) = self.text(&BASELINE_FIELDS)? else { return Ok(Vec::new()) };
        // The legacy catalogue of CDSE writes 2.14 for 02.14.
        let padded = if text.len() == 4 { format!("0{text}") } else { text.to_owned() };
        if padded.parse() == Ok(named) {
            return Ok(Vec::new());
        }
        Ok(vec![StacNote::Baseline { field: field.to_owned(), stated: short(text), named }])
    }
}
