//! CF attributes of the arrays.

use s2ice_manifest::era::Radiometry;
use s2ice_manifest::ids::{Band, Level};
use s2ice_manifest::raster::{Asset, Quantity};
use serde_json::{Map, Value, json};

/// Names of the per-time coordinates and the grid mapping that stand beside every array of a leaf.
pub const LEAF_COORDINATES: &str = "cloud_cover relative_orbit processing_baseline present spatial_ref";

/// Central wavelength of a band in nanometres, rounded as the mission quotes it (PSD, spectral information).
fn wavelength_nm(band: Band) -> u32 {
    match band {
        Band::B01 => 443,
        Band::B02 => 490,
        Band::B03 => 560,
        Band::B04 => 665,
        Band::B05 => 705,
        Band::B06 => 740,
        Band::B07 => 783,
        Band::B08 => 842,
        Band::B8A => 865,
        Band::B09 => 945,
        Band::B10 => 1375,
        Band::B11 => 1610,
        Band::B12 => 2190,
    }
}

/// CF attributes of an asset's array, `_FillValue` included where 0 (or 255) means nodata.
pub fn of_asset(asset: Asset, level: Level, radiometry: Option<Radiometry>) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    match asset.quantity {
        Quantity::Band(band) => {
            let (long, standard) = match level {
                Level::L2A => ("bottom-of-atmosphere", "surface_bidirectional_reflectance"),
                Level::L1C => ("top-of-atmosphere", "toa_bidirectional_reflectance"),
            };
            put("long_name", format!("{long} reflectance, band {band} ({} nm)", wavelength_nm(band)).into());
            put("standard_name", standard.into());
            put("units", "1".into());
            put("radiation_wavelength", wavelength_nm(band).into());
            put("radiation_wavelength_units", "nm".into());
            if let Some(radiometry) = radiometry {
                put("scale_factor", json!(1.0 / radiometry.quantification));
                put("add_offset", json!(f64::from(radiometry.add_offset) / radiometry.quantification));
            }
            put("_FillValue", 0.into());
        }
        Quantity::Aot => {
            put("long_name", "aerosol optical thickness at 550 nm".into());
            put("standard_name", "atmosphere_optical_thickness_due_to_ambient_aerosol_particles".into());
            put("units", "1".into());
            scaled(&mut put);
        }
        Quantity::Wvp => {
            put("long_name", "water vapour column".into());
            put("units", "cm".into());
            scaled(&mut put);
        }
        Quantity::Scl => {
            put("long_name", "scene classification".into());
            put("flag_values", json!((0..=11).collect::<Vec<u8>>()));
            put(
                "flag_meanings",
                "no_data saturated_or_defective dark_area_pixels cloud_shadows vegetation not_vegetated water \
                 unclassified cloud_medium_probability cloud_high_probability thin_cirrus snow"
                    .into(),
            );
        }
        Quantity::Tci => {
            put("long_name", "true-colour image (red, green, blue)".into());
        }
        Quantity::Cld | Quantity::Snw => {
            let what = if asset.quantity == Quantity::Cld { "cloud" } else { "snow" };
            put("long_name", format!("{what} probability").into());
            put("units", "percent".into());
            put("_FillValue", 255.into());
        }
        Quantity::Detfoo(band) => {
            put("long_name", format!("detector footprint, band {band}").into());
            put("flag_values", json!((0..=12).collect::<Vec<u8>>()));
            let detectors: Vec<String> = (1..=12).map(|d| format!("d{d:02}")).collect();
            put("flag_meanings", format!("no_detector {}", detectors.join(" ")).into());
        }
        Quantity::Qualit(band) => {
            put("long_name", format!("technical quality masks, band {band} (one component each, 1 = set)").into());
            put(
                "component_meanings",
                "ancillary_lost ancillary_degraded msi_lost msi_degraded defective nodata \
                 partially_corrected_crosstalk saturated"
                    .into(),
            );
        }
        Quantity::Classi => {
            put("long_name", "level-1C cloud and snow classification (one component each, 1 = set)".into());
            put("component_meanings", "opaque_clouds cirrus_clouds snow_and_ice".into());
        }
    }
    map
}

/// AOT and WVP: quantification 1000 (PSD: AOT_QUANTIFICATION_VALUE, WVP_QUANTIFICATION_VALUE), no offset.
fn scaled(put: &mut impl FnMut(&str, Value)) {
    put("scale_factor", json!(0.001));
    put("add_offset", json!(0.0));
    put("_FillValue", 0.into());
}

/// Attributes of the time axis and the per-time columns.
pub fn of_column(name: &str) -> Map<String, Value> {
    let value = match name {
        "time" => json!({
            "standard_name": "time", "axis": "T", "long_name": "sensing time of the granule",
            "units": "milliseconds since 1970-01-01", "calendar": "proleptic_gregorian",
        }),
        "sensing_time_us" => json!({
            "long_name": "sensing time of the granule as the product states it",
            "units": "microseconds since 1970-01-01", "calendar": "proleptic_gregorian",
        }),
        "cloud_cover" => json!({ "long_name": "cloud cover of the product", "units": "percent" }),
        "relative_orbit" => json!({ "long_name": "relative orbit number" }),
        "processing_baseline" => json!({ "long_name": "processing baseline, 511 for 05.11" }),
        "product_id" => json!({ "long_name": "product name" }),
        "platform" => json!({ "long_name": "platform" }),
        "datastrip_id" => json!({ "long_name": "datastrip identifier" }),
        "boa_add_offset" => json!({ "long_name": "radiometric offset, digital numbers" }),
        "source_updated" => json!({ "long_name": "when the catalogue last changed the item" }),
        "metadata_source" => json!({
            "long_name": "where sensing time and offset come from: product (its XML), item (of the catalogue) or name (unverified)",
        }),
        "headers" => {
            json!({ "long_name": "main headers: read from the files (verified), from another file of the product (inferred) or assumed" })
        }
        "referenced_bytes" => {
            json!({ "long_name": "bytes of the product files that the store refers to", "units": "byte" })
        }
        "content" => json!({ "long_name": "fingerprint of the referenced rasters, kept by s2ice" }),
        "inputs" => json!({ "long_name": "fingerprint of the index rows, kept by s2ice" }),
        "partial" => json!({
            "long_name": "1 where something of the product was refused, which a later run may be able to add",
        }),
        _ => json!({}),
    };
    value.as_object().cloned().unwrap_or_default()
}
