//! `MTD_MSIL2A.xml` and `MTD_MSIL1C.xml`: baseline, quantification, radiometric offset, cloud cover.

use std::ops::ControlFlow;

use crate::ids::{Baseline, Level};
use crate::product::ProductId;

use super::MetadataError;
use super::xml::{Element, End, leaves};

/// Digital numbers per unit of AOT and WVP, as the layout of the store states it.
const AOT_WVP_QUANTIFICATION: f64 = 1000.0;

/// What the product's metadata tells.
#[derive(Debug, Clone, PartialEq)]
pub struct ProductFacts {
    /// `PRODUCT_URI` as a name, where it is one in the compact convention.
    pub product: Option<ProductId>,
    /// `PROCESSING_BASELINE`.
    pub baseline: Baseline,
    /// `BOA_QUANTIFICATION_VALUE` (L2A) or `QUANTIFICATION_VALUE` (L1C).
    pub quantification: f64,
    /// `BOA_ADD_OFFSET` (L2A) or `RADIO_ADD_OFFSET` (L1C), the same for all bands; 0 where there is none.
    pub add_offset: i32,
    /// `Cloud_Coverage_Assessment`, percent.
    pub cloud_cover: Option<f64>,
}

#[derive(Default)]
struct Found {
    uri: Option<String>,
    baseline: Option<String>,
    quantification: Option<String>,
    aot: Option<String>,
    wvp: Option<String>,
    offsets: Vec<(Option<u32>, String)>,
    cloud: Option<String>,
}

impl Found {
    fn take(&mut self, path: &[Element], text: &str, level: Level) {
        let Some(last) = path.last() else { return };
        let slot = match (last.name.as_str(), level) {
            ("PRODUCT_URI", _) => &mut self.uri,
            ("PROCESSING_BASELINE", _) => &mut self.baseline,
            ("BOA_QUANTIFICATION_VALUE" | "L2A_BOA_QUANTIFICATION_VALUE", Level::L2A) => &mut self.quantification,
            ("QUANTIFICATION_VALUE", Level::L1C) => &mut self.quantification,
            ("AOT_QUANTIFICATION_VALUE" | "L2A_AOT_QUANTIFICATION_VALUE", Level::L2A) => &mut self.aot,
            ("WVP_QUANTIFICATION_VALUE" | "L2A_WVP_QUANTIFICATION_VALUE", Level::L2A) => &mut self.wvp,
            ("Cloud_Coverage_Assessment", _) => &mut self.cloud,
            ("BOA_ADD_OFFSET", Level::L2A) | ("RADIO_ADD_OFFSET", Level::L1C) if self.offsets.len() < 64 => {
                self.offsets.push((last.number, text.to_owned()));
                return;
            }
            _ => return,
        };
        slot.get_or_insert_with(|| text.to_owned());
    }
}

/// Reads a product's metadata from the whole of its XML file.
///
/// # Errors
/// [`MetadataError`]: no XML, a missing or senseless value, offsets that differ between bands, baseline 04.00 or later
/// without offsets, AOT or WVP in other units than the store states.
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
    let name = if level == Level::L2A { "BOA_QUANTIFICATION_VALUE" } else { "QUANTIFICATION_VALUE" };
    let text = found.quantification.ok_or_else(|| missing(name))?;
    let quantification = number(&text, path, name)?;
    if quantification <= 0.0 {
        return Err(MetadataError::value(path, name, &text));
    }
    for (name, text) in [("AOT_QUANTIFICATION_VALUE", found.aot), ("WVP_QUANTIFICATION_VALUE", found.wvp)] {
        if let Some(text) = text
            && (number(&text, path, name)? - AOT_WVP_QUANTIFICATION).abs() > f64::EPSILON
        {
            return Err(MetadataError::value(path, name, &text));
        }
    }
    let cloud_cover = found.cloud.map(|text| number(&text, path, "Cloud_Coverage_Assessment")).transpose()?;
    let product = found.uri.and_then(|uri| uri.parse().ok());
    let add_offset = add_offset(&found.offsets, baseline, level, path)?;
    Ok(ProductFacts { product, baseline, quantification, add_offset, cloud_cover })
}

fn number(text: &str, path: &str, element: &'static str) -> Result<f64, MetadataError> {
    let value: f64 = text.parse().map_err(|_| MetadataError::value(path, element, text))?;
    if value.is_finite() { Ok(value) } else { Err(MetadataError::value(path, element, text)) }
}

fn add_offset(
    offsets: &[(Option<u32>, String)],
    baseline: Baseline,
    level: Level,
    path: &str,
) -> Result<i32, MetadataError> {
    let element = if level == Level::L2A { "BOA_ADD_OFFSET" } else { "RADIO_ADD_OFFSET" };
    let mut first: Option<i32> = None;
    for (band, text) in offsets {
        let value: i32 = text.parse().map_err(|_| MetadataError::value(path, element, text))?;
        match first {
            Some(other) if other != value => {
                let band = band.map_or_else(String::new, |band| format!(" of band_id {band}"));
                let reason = format!("{element}{band} is {value}, of others {other}; one array has one offset");
                return Err(MetadataError::Contradiction { path: path.to_owned(), reason });
            }
            _ => first = Some(value),
        }
    }
    match first {
        Some(value) => Ok(value),
        // Introduced with baseline 04.00: without one there, the values could not be trusted.
        None if baseline.number() >= 400 => Err(MetadataError::Missing { path: path.to_owned(), element }),
        None => Ok(0),
    }
}
