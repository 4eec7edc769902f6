//! `MTD_MSIL2A.xml` and `MTD_MSIL1C.xml`: baseline, quantification, radiometric offsets, cloud cover, image files.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::ids::{Band, Baseline, Level};
use crate::product::ProductId;

use super::MetadataError;
use super::files::relative_path;
use super::xml::{Element, End, leaves};

/// Digital numbers per unit of AOT and WVP, as the layout of the store states it.
const AOT_WVP_QUANTIFICATION: f64 = 1000.0;

/// Most values of one kind that are looked at; the longest list is of 36 image files.
const MAX_VALUES: usize = 256;

/// What the product's metadata tells.
#[derive(Debug, Clone, PartialEq)]
pub struct ProductFacts {
    /// `PRODUCT_URI` (`PRODUCT_URI_2A` in 2017) as a name, where it is one in the compact convention.
    pub product: Option<ProductId>,
    /// `PROCESSING_BASELINE`.
    pub baseline: Baseline,
    /// `BOA_QUANTIFICATION_VALUE` (L2A) or `QUANTIFICATION_VALUE` (L1C).
    pub quantification: f64,
    /// `BOA_ADD_OFFSET` (L2A) or `RADIO_ADD_OFFSET` (L1C), the same for all bands; 0 where there is none.
    pub add_offset: i32,
    /// The same as it is stated, band by band; empty where the product states none.
    pub band_offsets: BTreeMap<Band, i32>,
    /// `Cloud_Coverage_Assessment`, else `CLOUD_COVERAGE_PERCENTAGE` of the image content, percent.
    pub cloud_cover: Option<f64>,
    /// `IMAGE_FILE`: where the product's images lie below its folder, with `.jp2`. Masks are not among them.
    pub images: Vec<String>,
    /// The granules that these images are of.
    pub granules: BTreeSet<GranuleName>,
}

/// What a product's metadata calls one of its granules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GranuleName {
    /// `granuleIdentifier`: the granule's `TILE_ID`.
    pub tile_id: String,
    /// `datastripIdentifier`: the granule's `DATASTRIP_ID`.
    pub datastrip_id: Option<String>,
}

#[derive(Default)]
struct Found {
    uri: Option<String>,
    baseline: Option<String>,
    quantification: Vec<String>,
    aot: Option<String>,
    wvp: Option<String>,
    offsets: Vec<(Option<u32>, String)>,
    cloud: Option<String>,
    cloud_in_image: Option<String>,
    images: Vec<String>,
    granules: BTreeSet<GranuleName>,
    /// An element that comes more often than any product has it.
    too_many: Option<&'static str>,
}

impl Found {
    fn take(&mut self, path: &[Element], text: &str, level: Level) {
        let Some(last) = path.last() else { return };
        let list = match (last.name.as_str(), level) {
            ("BOA_QUANTIFICATION_VALUE" | "L2A_BOA_QUANTIFICATION_VALUE", Level::L2A)
            | ("QUANTIFICATION_VALUE", Level::L1C) => Some((&mut self.quantification, quantification_name(level))),
            ("IMAGE_FILE" | "IMAGE_FILE_2A", _) => Some((&mut self.images, "IMAGE_FILE")),
            _ => None,
        };
        if let Some((list, name)) = list {
            match list.len() < MAX_VALUES {
                true => list.push(text.to_owned()),
                false => self.too_many = Some(name),
            }
            let granule =
                path.iter().rev().find_map(|element| Some((element, element.attribute("granuleIdentifier")?)));
            if let Some((element, tile_id)) = granule.filter(|_| self.too_many.is_none()) {
                let datastrip_id = element.attribute("datastripIdentifier").map(str::to_owned);
                self.granules.insert(GranuleName { tile_id: tile_id.to_owned(), datastrip_id });
            }
            return;
        }
        let slot = match (last.name.as_str(), level) {
            // PSD 14.2 (baselines 02.04 to 02.06) names the product of level 1C too, as `PRODUCT_URI_1C`.
            ("PRODUCT_URI", _) | ("PRODUCT_URI_2A", Level::L2A) => &mut self.uri,
            ("PROCESSING_BASELINE", _) => &mut self.baseline,
            ("AOT_QUANTIFICATION_VALUE" | "L2A_AOT_QUANTIFICATION_VALUE", Level::L2A) => &mut self.aot,
            ("WVP_QUANTIFICATION_VALUE" | "L2A_WVP_QUANTIFICATION_VALUE", Level::L2A) => &mut self.wvp,
            ("Cloud_Coverage_Assessment", _) => &mut self.cloud,
            ("CLOUD_COVERAGE_PERCENTAGE", Level::L2A) => &mut self.cloud_in_image,
            ("BOA_ADD_OFFSET", Level::L2A) | ("RADIO_ADD_OFFSET", Level::L1C) => {
                match self.offsets.len() < MAX_VALUES {
                    true => self.offsets.push((last.number(), text.to_owned())),
                    false => self.too_many = Some(offset_name(level)),
                }
                return;
            }
            _ => return,
        };
        slot.get_or_insert_with(|| text.to_owned());
    }
}

fn quantification_name(level: Level) -> &'static str {
    if level == Level::L2A { "BOA_QUANTIFICATION_VALUE" } else { "QUANTIFICATION_VALUE" }
}

fn offset_name(level: Level) -> &'static str {
    if level == Level::L2A { "BOA_ADD_OFFSET" } else { "RADIO_ADD_OFFSET" }
}

/// Reads a product's metadata from the whole of its XML file.
///
/// # Errors
/// [`MetadataError`]: no XML, a missing or senseless value, offsets or quantifications that differ between bands, bands
/// without an offset, baseline 04.00 or later without offsets, AOT or WVP in other units than the store states.
pub fn parse_product(bytes: &[u8], level: Level, path: &str) -> Result<ProductFacts, MetadataError> {
    let mut found = Found::default();
    let bad = |at: u64, detail: String| MetadataError::Xml { path: path.to_owned(), at, detail };
    let end = leaves(bytes, |element, text| {
        found.take(element, text, level);
        ControlFlow::Continue(())
    })
    .map_err(|(at, detail)| bad(at, detail))?;
    // In a cut file an offset may be missing without a trace.
    if end != End::Complete {
        return Err(bad(bytes.len() as u64, "the document ends too early".to_owned()));
    }
    let missing = |element: &'static str| MetadataError::Missing { path: path.to_owned(), element };

    let text = found.baseline.ok_or_else(|| missing("PROCESSING_BASELINE"))?;
    let baseline: Baseline = text.parse().map_err(|_| MetadataError::value(path, "PROCESSING_BASELINE", &text))?;
    if let Some(element) = found.too_many {
        let reason = format!("more than {MAX_VALUES} times {element}");
        return Err(MetadataError::Contradiction { path: path.to_owned(), reason });
    }
    let quantification = quantification(&found.quantification, level, path)?;
    for (name, text) in [("AOT_QUANTIFICATION_VALUE", found.aot), ("WVP_QUANTIFICATION_VALUE", found.wvp)] {
        if let Some(text) = text
            && (number(&text, path, name)? - AOT_WVP_QUANTIFICATION).abs() > f64::EPSILON
        {
            return Err(MetadataError::value(path, name, &text));
        }
    }
    let cloud_cover = match (found.cloud.filter(|text| stated(text)), found.cloud_in_image.filter(|text| stated(text)))
    {
        (Some(text), _) => Some(number(&text, path, "Cloud_Coverage_Assessment")?),
        (None, Some(text)) => Some(number(&text, path, "CLOUD_COVERAGE_PERCENTAGE")?),
        (None, None) => None,
    };
    let product = found.uri.and_then(|uri| uri.parse().ok());
    let band_offsets = band_offsets(&found.offsets, level, path)?;
    let add_offset = match band_offsets.values().next() {
        Some(offset) => *offset,
        // Introduced with baseline 04.00: without one there, the values could not be trusted.
        None if baseline.number() >= 400 => return Err(missing(offset_name(level))),
        None => 0,
    };
    let images = found.images.iter().map(|image| image_path(image, path)).collect::<Result<_, _>>()?;
    let granules = found.granules;
    Ok(ProductFacts { product, baseline, quantification, add_offset, band_offsets, cloud_cover, images, granules })
}

/// False for the words of processors that do not know a value.
fn stated(text: &str) -> bool {
    !["", "N/A", "NA", "NaN"].contains(&text)
}

fn number(text: &str, path: &str, element: &'static str) -> Result<f64, MetadataError> {
    let value: f64 = text.parse().map_err(|_| MetadataError::value(path, element, text))?;
    if value.is_finite() { Ok(value) } else { Err(MetadataError::value(path, element, text)) }
}

/// The one quantification. Real products state it once for all bands; one that states several must state the same.
fn quantification(texts: &[String], level: Level, path: &str) -> Result<f64, MetadataError> {
    let element = quantification_name(level);
    let mut one: Option<f64> = None;
    for text in texts {
        let value = number(text, path, element)?;
        if value <= 0.0 {
            return Err(MetadataError::value(path, element, text));
        }
        match one {
            Some(other) if (other - value).abs() > f64::EPSILON => {
                let reason = format!("{element} is {other} and {value}; one array has one scale");
                return Err(MetadataError::Contradiction { path: path.to_owned(), reason });
            }
            _ => one = Some(value),
        }
    }
    one.ok_or(MetadataError::Missing { path: path.to_owned(), element })
}

/// The offset of every band, where the product states any: of each band one, and of all the same.
fn band_offsets(
    offsets: &[(Option<u32>, String)],
    level: Level,
    path: &str,
) -> Result<BTreeMap<Band, i32>, MetadataError> {
    let element = offset_name(level);
    let contradiction = |reason| Err(MetadataError::Contradiction { path: path.to_owned(), reason });
    let mut out: BTreeMap<Band, i32> = BTreeMap::new();
    for (number, text) in offsets {
        let value: i32 = text.parse().map_err(|_| MetadataError::value(path, element, text))?;
        let band = number.and_then(|n| usize::try_from(n).ok()).and_then(|n| Band::ALL.get(n).copied());
        let Some(band) = band else {
            let number = number.map_or_else(|| "without band_id".to_owned(), |n| format!("of band_id {n}"));
            return contradiction(format!("{element} {number}, which no band has"));
        };
        if let Some((other, theirs)) = out.first_key_value().filter(|(_, theirs)| **theirs != value) {
            let reason = format!("{element} of {band} is {value}, of {other} {theirs}; one store has one offset");
            return contradiction(reason);
        }
        if out.insert(band, value).is_some() {
            return contradiction(format!("two times {element} of {band}"));
        }
    }
    // No L2A product has B10 as an image.
    let needed = |band: &Band| !out.contains_key(band) && (level == Level::L1C || *band != Band::B10);
    match Band::ALL.into_iter().find(needed) {
        Some(band) if !out.is_empty() => contradiction(format!("{element} of {band} is not stated, of others it is")),
        _ => Ok(out),
    }
}

fn image_path(text: &str, path: &str) -> Result<String, MetadataError> {
    let image = relative_path(text).ok_or_else(|| MetadataError::value(path, "IMAGE_FILE", text))?;
    Ok(if image.ends_with(".jp2") { image } else { format!("{image}.jp2") })
}
