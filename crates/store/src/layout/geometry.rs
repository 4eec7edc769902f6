//! The group of sun and viewing angles: EOPF's `/conditions/geometry`.

use s2ice_manifest::geometry::{AngleArray, DETECTORS, SPACING_M};
use s2ice_manifest::ids::Band;
use serde_json::{Map, Value, json};

use super::attributes;
use super::document::{ArrayDocument, numeric_codecs};

/// Path of the group, without a leading slash.
pub const GROUP: &str = "conditions/geometry";

/// What refusals of angles name in the place of a raster.
pub const RASTER: &str = "MTD_TL angles";

/// Path of an array in its tree, with a leading slash.
pub fn path(array: AngleArray) -> String {
    format!("/{GROUP}/{}", array.name())
}

/// Dimensions of an array, `time` first.
pub fn dimensions(array: AngleArray) -> Vec<String> {
    let rest = array.dimensions().iter().map(|(name, _)| (*name).to_owned());
    std::iter::once("time".to_owned()).chain(rest).collect()
}

/// Whether an array lies on the grid of nodes.
fn is_gridded(array: AngleArray) -> bool {
    array.dimensions().iter().any(|(name, _)| *name == "x")
}

/// `zarr.json` of an array of `steps` time steps; one chunk is one time.
pub fn document(array: AngleArray, steps: usize) -> Value {
    let extents = |first: u64| -> Vec<u64> {
        std::iter::once(first).chain(array.dimensions().iter().map(|(_, length)| *length as u64)).collect()
    };
    ArrayDocument {
        shape: extents(steps as u64),
        chunks: extents(1),
        data_type: "float32",
        fill_value: "NaN".into(),
        codecs: numeric_codecs(),
        dimensions: dimensions(array),
        attributes: of_array(array),
    }
    .json()
}

/// Name of an array for people.
pub fn long_name(array: AngleArray) -> &'static str {
    match array {
        AngleArray::MeanSun => "mean sun angles of the tile",
        AngleArray::MeanViewing => "mean viewing incidence angles of the tile",
        AngleArray::Sun => "sun angles",
        AngleArray::Viewing => "viewing incidence angles of each detector",
    }
}

fn of_array(array: AngleArray) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("long_name".into(), long_name(array).into());
    map.insert("units".into(), "degree".into());
    // An array of zeniths and azimuths has no standard name of its own: these are those along `angle`.
    let names = match array {
        AngleArray::MeanSun | AngleArray::Sun => "solar_zenith_angle solar_azimuth_angle",
        AngleArray::MeanViewing | AngleArray::Viewing => "sensor_zenith_angle sensor_azimuth_angle",
    };
    map.insert("angle_standard_names".into(), names.into());
    if is_gridded(array) {
        map.insert("grid_mapping".into(), "spatial_ref".into());
    }
    map.insert("coordinates".into(), attributes::LEAF_COORDINATES.into());
    map
}

/// Labels of the dimension `angle`.
pub const ANGLE_LABELS: [&str; 2] = ["zenith", "azimuth"];

/// Labels of the dimension `band`: the names of the bands' arrays.
pub fn band_labels() -> Vec<String> {
    Band::ALL.iter().map(|band| band.name().to_ascii_lowercase()).collect()
}

/// Labels of the dimension `detector`, as the detector footprints have them.
pub fn detector_labels() -> Vec<i64> {
    (1..).take(DETECTORS).collect()
}

/// Attributes of a coordinate of the group.
pub fn of_coordinate(name: &str) -> Map<String, Value> {
    let value = match name {
        "angle" => json!({ "long_name": "zenith and azimuth (clockwise from north)" }),
        "band" => json!({ "long_name": "spectral band" }),
        "detector" => json!({ "long_name": "detector module, from 1" }),
        _ => json!({
            "units": "m", "axis": name.to_ascii_uppercase(),
            "standard_name": format!("projection_{name}_coordinate"),
            "long_name": format!("{name} of the nodes, {SPACING_M} m apart from the tile's upper left corner"),
        }),
    };
    value.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arrays_have_the_dimensions_of_eopf_behind_time() {
        let shapes: Vec<String> = AngleArray::ALL
            .into_iter()
            .map(|array| {
                let document = document(array, 9);
                format!("{} {} {}", path(array), document["shape"], document["dimension_names"])
            })
            .collect();
        assert_eq!(
            shapes,
            [
                "/conditions/geometry/mean_sun_angles [9,2] [\"time\",\"angle\"]",
                "/conditions/geometry/mean_viewing_incidence_angles [9,13,2] [\"time\",\"band\",\"angle\"]",
                "/conditions/geometry/sun_angles [9,2,23,23] [\"time\",\"angle\",\"y\",\"x\"]",
                "/conditions/geometry/viewing_incidence_angles [9,13,12,2,23,23] \
                 [\"time\",\"band\",\"detector\",\"angle\",\"y\",\"x\"]",
            ]
        );
        assert_eq!((band_labels()[8].as_str(), detector_labels().len()), ("b8a", 12));
    }
}
