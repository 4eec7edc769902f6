//! The GeoTIFFs that an item names, and what it says of their numbers (Earth Search `sentinel-2-c1-l2a`).
//!
//! A folder of GeoTIFFs has no SAFE metadata: scale and offset are those of the `raster` extension, and the item is the
//! only witness. It is checked against the baseline in the product's name, since a wrong offset is a wrong pixel.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::short;
use crate::ids::{Band, Resolution};
use crate::product::{ProductId, ProductMetadata};
use crate::raster::{Asset, Quantity};

/// The collection of GeoTIFFs that have the numbers of the ground segment.
pub const UNSHIFTED: &str = "sentinel-2-c1-l2a";

/// Property of Earth Search's older collection `sentinel-2-l2a`, of some of its files true and of some not.
pub(super) const OFFSET_APPLIED: &str = "earthsearch:boa_offset_applied";

/// Where that collection keeps its files.
const OLDER_PLACES: [&str; 2] = ["sentinel-cogs", "sentinel-s2-l2a-cogs"];

/// AOT and WVP: digital numbers per unit (PSD).
const ATMOSPHERE_SCALE: f64 = 0.001;

/// A GeoTIFF of an item that holds a raster of the layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CogFile {
    /// Which raster it is.
    pub asset: Asset,
    /// Its address.
    pub href: String,
    /// `file:size`, bytes.
    pub size: Option<u64>,
    /// What the item says of its numbers.
    stated: Stated,
}

/// Scale and offset of a file: number times scale plus offset is the quantity.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Stated {
    #[serde(with = "super::exact")]
    scale: Option<f64>,
    #[serde(with = "super::exact")]
    offset: Option<f64>,
}

/// Something of an item that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CogProblem {
    /// The raster, or the key of the item's asset where that is not known.
    pub raster: String,
    /// What is wrong, in words.
    pub reason: String,
}

/// The GeoTIFFs of an item.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cogs {
    /// Rasters, each at most once, sorted.
    pub files: Vec<CogFile>,
    /// What looks like a raster and is left out.
    pub problems: Vec<CogProblem>,
    /// Of Earth Search's older collection.
    older: bool,
}

impl Cogs {
    pub(super) fn of<'a>(
        assets: impl Iterator<Item = (&'a str, &'a Map<String, Value>)>,
        properties: &Map<String, Value>,
    ) -> Self {
        let place = properties.get("earthsearch:s3_path").and_then(Value::as_str).is_some_and(is_older_place);
        let mut out = Self { older: place || properties.contains_key(OFFSET_APPLIED), ..Self::default() };
        for (key, fields) in assets {
            out.older |= fields.get("href").and_then(Value::as_str).is_some_and(is_older_place);
            match file(fields) {
                Ok(Some(file)) => out.files.push(file),
                Ok(None) => {}
                Err(reason) => out.problems.push(CogProblem { raster: short(key), reason }),
            }
        }
        out.files.sort_by(|a, b| (a.asset, &a.href).cmp(&(b.asset, &b.href)));
        let twice: Vec<Asset> =
            out.files.windows(2).filter(|pair| pair[0].asset == pair[1].asset).map(|pair| pair[0].asset).collect();
        out.files.retain(|file| !twice.contains(&file.asset));
        for asset in twice {
            let reason = "the item names two files of it".to_owned();
            out.problems.push(CogProblem { raster: asset.to_string(), reason });
        }
        out
    }

    /// Offset in digital numbers and digital numbers per unit of reflectance that all bands of the item state.
    ///
    /// # Errors
    /// Bands disagree, none says anything, the offset is not that of the product's baseline, or the item is of a collection
    /// whose offsets cannot be believed; in words.
    pub fn radiometry(&self, product: ProductId) -> Result<(i32, f64), String> {
        if self.older {
            return Err(format!(
                "its item is of Earth Search's older collection sentinel-2-l2a, where the offset is in the numbers of some \
                 files and not of others, whatever {OFFSET_APPLIED} says: take collection {UNSHIFTED}"
            ));
        }
        let bands = self.files.iter().filter(|file| matches!(file.asset.quantity, Quantity::Band(_)));
        let mut found: Option<(Asset, Stated)> = None;
        for file in bands.filter(|file| file.stated.scale.is_some() && file.stated.offset.is_some()) {
            match found {
                Some((first, stated)) if stated != file.stated => {
                    return Err(format!(
                        "its item states scale and offset {} for {first}, but {} for {}",
                        words(stated),
                        words(file.stated),
                        file.asset
                    ));
                }
                Some(_) => {}
                None => found = Some((file.asset, file.stated)),
            }
        }
        let Some((asset, Stated { scale: Some(scale), offset: Some(offset) })) = found else {
            return Err("its item states scale and offset of no band".to_owned());
        };
        let (add_offset, quantification) = numbers(scale, offset)
            .ok_or_else(|| format!("its item states scale {scale} and offset {offset} for {asset}, which cannot be"))?;
        let by_name = ProductMetadata::from_name(product).add_offset;
        if add_offset != by_name {
            return Err(format!(
                "its item states the radiometric offset {add_offset}, but products of baseline {} have {by_name}",
                product.baseline()
            ));
        }
        Ok((add_offset, quantification))
    }
}

/// A part of the address is one of those places: the bucket alone, or as the first name of a host.
fn is_older_place(href: &str) -> bool {
    let parts = href.split('/').map(|part| part.split('.').next().unwrap_or_default());
    parts.into_iter().any(|part| OLDER_PLACES.contains(&part))
}

impl CogFile {
    /// Why the numbers of the file cannot be used, as far as the item tells.
    pub fn misstated(&self) -> Option<String> {
        let Stated { scale, offset } = self.stated;
        let (wanted_scale, wanted_offset) = match self.asset.quantity {
            Quantity::Band(_) if scale.is_none() || offset.is_none() => {
                return Some("its item states no scale and offset (raster:bands) for it".to_owned());
            }
            // They are those of the product.
            Quantity::Band(_) => return None,
            Quantity::Aot | Quantity::Wvp => (ATMOSPHERE_SCALE, 0.0),
            _ => (1.0, 0.0),
        };
        let same = scale.is_none_or(|scale| scale == wanted_scale) && offset.is_none_or(|o| o == wanted_offset);
        (!same).then(|| {
            format!(
                "its item states scale and offset {} for it, not {wanted_scale} and {wanted_offset}",
                words(self.stated)
            )
        })
    }
}

fn words(stated: Stated) -> String {
    let word = |number: Option<f64>| number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
    format!("{} and {}", word(stated.scale), word(stated.offset))
}

/// Offset in digital numbers and numbers per unit, both whole.
#[allow(clippy::cast_possible_truncation)]
fn numbers(scale: f64, offset: f64) -> Option<(i32, f64)> {
    let whole = |number: f64| {
        let rounded = number.round();
        (number.is_finite() && (number - rounded).abs() < 1e-6 && rounded.abs() <= 1e6).then_some(rounded)
    };
    let quantification = whole(1.0 / scale).filter(|number| *number >= 1.0)?;
    Some((whole(offset / scale)? as i32, quantification))
}

/// `None` for what is no GeoTIFF or no raster of the layout.
fn file(fields: &Map<String, Value>) -> Result<Option<CogFile>, String> {
    let Some(href) = fields.get("href").and_then(Value::as_str) else { return Ok(None) };
    let name = href.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let Some(stem) = name.strip_suffix(".tif").or_else(|| name.strip_suffix(".tiff")) else { return Ok(None) };
    let Some((quantity, suffix)) = quantity(stem) else { return Ok(None) };
    let asset = Asset { quantity, resolution: resolution(fields, suffix)? };
    let bands = named_bands(fields);
    if let (Quantity::Band(band), [named]) = (quantity, &bands[..])
        && *named != band
    {
        return Err(format!("its file is named {band}, its band {named}"));
    }
    let size = match fields.get("file:size") {
        None | Some(Value::Null) => None,
        Some(size) => Some(size.as_u64().ok_or("its file:size is not a size in bytes")?),
    };
    Ok(Some(CogFile { asset, href: href.to_owned(), size, stated: stated(fields)? }))
}

/// `B04`, `TCI`, `CLD_20m`, or with anything in front of it: the quantity, and the resolution in the name.
fn quantity(stem: &str) -> Option<(Quantity, Option<Resolution>)> {
    let mut parts = stem.rsplit('_');
    let last = parts.next()?;
    let metres = last.strip_suffix('m').and_then(|metres| metres.parse().ok());
    let (word, resolution) = match metres {
        Some(metres) => (parts.next()?, Some(Resolution::from_metres(metres)?)),
        None => (last, None),
    };
    let quantity = match word {
        "AOT" => Quantity::Aot,
        "WVP" => Quantity::Wvp,
        "SCL" => Quantity::Scl,
        "TCI" => Quantity::Tci,
        "CLD" | "CLDPRB" => Quantity::Cld,
        "SNW" | "SNWPRB" => Quantity::Snw,
        band => Quantity::Band(band.parse().ok()?),
    };
    Some((quantity, resolution))
}

/// The pixel size, from whatever states it; all must agree.
fn resolution(fields: &Map<String, Value>, suffix: Option<Resolution>) -> Result<Resolution, String> {
    let first_band = |field: &str| fields.get("raster:bands")?.get(0)?.get(field);
    let stated = [
        ("proj:transform", fields.get("proj:transform").and_then(|t| t.get(0))),
        ("spatial_resolution", first_band("spatial_resolution")),
        ("raster:spatial_resolution", fields.get("raster:spatial_resolution")),
        ("gsd", fields.get("gsd")),
    ];
    let mut found = suffix;
    for (field, value) in stated {
        let Some(metres) = value.and_then(Value::as_f64) else { continue };
        let resolution = Resolution::ALL.into_iter().find(|r| f64::from(r.metres()) == metres);
        let resolution = resolution.ok_or_else(|| format!("its {field} is {metres} m, not 10, 20 or 60"))?;
        match found {
            Some(other) if other != resolution => {
                return Err(format!("its {field} is {resolution}, elsewhere its item or name says {other}"));
            }
            _ => found = Some(resolution),
        }
    }
    found.ok_or_else(|| "its item does not state its pixel size (proj:transform, gsd)".to_owned())
}

/// The bands that the item names of a file, as far as they are bands of the instrument.
fn named_bands(fields: &Map<String, Value>) -> Vec<Band> {
    let lists = ["eo:bands", "bands"].into_iter().filter_map(|field| fields.get(field)?.as_array()).flatten();
    let mut bands: Vec<Band> = lists.filter_map(|band| band.get("name")?.as_str()?.parse().ok()).collect();
    bands.sort_unstable();
    bands.dedup();
    bands
}

/// Scale and offset, in the words of STAC 1.0 (`raster:bands`) or 1.1 (`bands`, or the asset itself).
fn stated(fields: &Map<String, Value>) -> Result<Stated, String> {
    let number = |value: Option<&Value>, field: &str| match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| format!("its {field} is not a number")),
    };
    let whole = Stated {
        scale: number(fields.get("raster:scale"), "raster:scale")?,
        offset: number(fields.get("raster:offset"), "raster:offset")?,
    };
    let mut found = (whole != Stated::default()).then_some(whole);
    for (list, scale, offset) in [("raster:bands", "scale", "offset"), ("bands", "raster:scale", "raster:offset")] {
        for band in fields.get(list).and_then(Value::as_array).into_iter().flatten() {
            let own = Stated {
                scale: number(band.get(scale), &format!("{list} {scale}"))?,
                offset: number(band.get(offset), &format!("{list} {offset}"))?,
            };
            match found {
                Some(other) if other != own && own != Stated::default() => {
                    return Err(format!("its item states scale and offset {} and {}", words(other), words(own)));
                }
                Some(_) => {}
                None => found = (own != Stated::default()).then_some(own),
            }
        }
    }
    Ok(found.unwrap_or_default())
}

#[cfg(test)]
#[path = "cog_tests.rs"]
mod tests;
