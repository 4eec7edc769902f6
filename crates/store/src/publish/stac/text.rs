//! What a store is, in words.

use super::access::Access;
use crate::layout::crs;
use crate::publish::subject::Subject;
use s2ice_manifest::ids::Level;

/// The description of a store (CommonMark): what it is, how it is opened, what differs within.
pub(super) fn description(subject: &Subject) -> String {
    let mut parts = vec![what(subject), how(subject), values(subject)];
    parts.extend(eras(subject));
    parts.push(attribution(subject));
    parts.join("\n\n")
}

fn what(subject: &Subject) -> String {
    let Subject { tile, level, .. } = subject;
    let quantity = match level {
        Level::L2A => "bottom-of-atmosphere reflectance",
        Level::L1C => "top-of-atmosphere reflectance",
    };
    let count = match subject.info.products {
        1 => "1 product".to_owned(),
        n => format!("{n} products"),
    };
    format!(
        "Sentinel-2 {level} ({quantity}) of MGRS tile {tile} as one cube along time, in {}: {count}. No pixel is copied: the \
         chunks of this Icechunk store are references into the product files.",
        crs::code(subject.geocoding)
    )
}

fn how(subject: &Subject) -> String {
    let group = subject.state.tree(None).and_then(|tree| tree.arrays.values().next());
    let group = group.and_then(|array| array.path.trim_start_matches('/').rsplit_once('/')).map(|(group, _)| group);
    let group = group.map(|group| format!(", \"{group}\"")).unwrap_or_default();
    let url = &subject.store.url;
    let mut text = format!(
        "Python: `pip install s2ice`, then `s2ice.open(\"{url}\"{group})` gives an xarray Dataset, without a group a \
         DataTree. The package also has the codec, by which xarray, zarr-python and Icechunk read the store themselves."
    );
    let sources = Access::of_sources(subject);
    if sources.is_empty() && !subject.sources.is_empty() {
        text +=
            " The product files lie where only the publisher reaches them: give `source=`, a place of the same files.";
    }
    for place in subject.sources.values().filter(|place| !place.is_local()) {
        let keys =
            if place.anonymous && !place.request_payer { "" } else { ", for which keys are needed (`credentials=`)" };
        text += &format!(" Pixels come from {}{keys}.", place.url);
    }
    text
}

fn values(subject: &Subject) -> String {
    let reflectance = match subject.state.stamp.radiometry {
        Some(radiometry) => format!(
            "Reflectance is (number {} {}) / {}, as `scale_factor` and `add_offset` of the arrays say; 0 is nodata.",
            if radiometry.add_offset < 0 { '-' } else { '+' },
            radiometry.add_offset.unsigned_abs(),
            radiometry.quantification
        ),
        None => "Reflectance is scaled as `scale_factor` and `add_offset` of the arrays say; 0 is nodata.".to_owned(),
    };
    format!("{reflectance} The flags of `present` tell a raster that a product lacks from one that is nodata.")
}

fn eras(subject: &Subject) -> Option<String> {
    let eras = &subject.state.stamp.eras;
    let lines = eras.iter().map(|(name, era)| format!("- `{name}`: {}", era.differs.join("; ")));
    let lines: Vec<String> = lines.collect();
    (!lines.is_empty()).then(|| {
        format!(
            "Products of another offset and rasters of another encoding stand in trees of their own below `eras/`. \
             `s2ice.open` joins all of them, decoded to one scale:\n\n{}",
            lines.join("\n")
        )
    })
}

fn attribution(subject: &Subject) -> String {
    let steps = || subject.state.trees.values().flat_map(|tree| &tree.steps);
    let year = |ms: Option<i64>| {
        ms.and_then(chrono::DateTime::from_timestamp_millis).map(|time| time.format("%Y").to_string())
    };
    let first = year(steps().map(|step| step.time_ms).min());
    let last = year(steps().map(|step| step.time_ms).max());
    let years = match (first, last) {
        (Some(first), Some(last)) if first == last => format!(" {first}"),
        (Some(first), Some(last)) => format!(" {first}-{last}"),
        _ => String::new(),
    };
    format!("Contains modified Copernicus Sentinel data{years}.")
}
