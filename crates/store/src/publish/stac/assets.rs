//! Groups of a store as assets: their bands are arrays.

use std::collections::BTreeMap;

use s2ice_manifest::era::Era;
use s2ice_manifest::ids::Resolution;
use s2ice_manifest::raster::{Asset, Quantity};
use serde_json::{Map, Value, json};

use super::access::{Access, parts};
use super::cube::{Group, attribute, data_type, time};
use super::{ZARR, spectral};
use crate::layout::{crs, geometry, overview, place};
use crate::publish::subject::Subject;
use crate::state::{HeldArray, TreeState};

/// Fields that stand at an asset where all of its bands share them.
const SHARED: [&str; 6] = ["data_type", "nodata", "unit", "raster:scale", "raster:offset", "gsd"];

/// What assets are made of.
pub(super) struct Assets<'a> {
    pub(super) subject: &'a Subject,
    pub(super) store: &'a Access<'a>,
    pub(super) sources: &'a [Access<'a>],
    /// Address of the document.
    pub(super) own: &'a str,
}

impl Assets<'_> {
    /// All groups of the main tree that have arrays, then the eras.
    pub(super) fn all(&self) -> Map<String, Value> {
        let mut out = Map::new();
        for group in self.groups() {
            if let Some(asset) = self.group(&group) {
                out.insert(group.path.replace('/', "-"), asset.into());
            }
        }
        for era in self.subject.state.stamp.eras.keys() {
            out.extend(self.era(era).map(|asset| (format!("{}-{era}", place::ERAS), asset.into())));
        }
        out
    }

    fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<&str, Vec<(&str, &Value)>> = BTreeMap::new();
        for (path, document) in &self.subject.state.documents {
            let is_array = document.get("node_type").and_then(Value::as_str) == Some("array");
            if let Some((group, name)) = path.rsplit_once('/').filter(|_| is_array)
                && group.split('/').next() != Some(place::ERAS)
            {
                groups.entry(group).or_default().push((name, document));
            }
        }
        let of = |(path, arrays)| Group { path, document: self.subject.state.documents.get(path), arrays };
        groups.into_iter().map(of).collect()
    }

    /// A group of rasters, of angles, or the table of products.
    fn group(&self, group: &Group<'_>) -> Option<Map<String, Value>> {
        let subject = self.subject;
        let tree = subject.state.tree(None)?;
        let (whole, factor) = overview::beside(group.path).unwrap_or((group.path, 1));
        let rasters = rasters_of(tree, whole);
        let (title, roles) = match rasters.first() {
            Some((asset, _)) if factor > 1 => {
                (format!("{}, overview by {factor}", title(*asset)), [roles(asset.quantity), vec!["overview"]].concat())
            }
            Some((asset, _)) => (title(*asset), roles(asset.quantity)),
            None if group.path == geometry::GROUP => ("Sun and viewing angles".to_owned(), vec!["data"]),
            None if group.path == place::PRODUCTS => ("Table of products by time".to_owned(), vec!["metadata"]),
            None => return None,
        };
        let mut asset = self.begin(group.path, &title, &roles);
        let mut options = json!({ "engine": "s2ice", "group": group.path });
        if !subject.state.stamp.eras.is_empty() {
            options["eras"] = "main".into();
        }
        self.open(&mut asset, options);
        if !rasters.is_empty() {
            self.describe_bands(&mut asset, &rasters, "");
        }
        if let Some(grid) = group.grid() {
            asset.insert("proj:code".into(), crs::code(subject.geocoding).into());
            grid.describe(&mut asset);
            asset.insert("raster:spatial_resolution".into(), grid.resolution());
        }
        asset.insert("cube:dimensions".into(), group.dimensions(tree, subject.geocoding.epsg).into());
        asset.insert("cube:variables".into(), group.variables().into());
        Some(asset)
    }

    /// An era: a whole tree, of which the bands of reflectance are named.
    fn era(&self, era: &Era) -> Option<Map<String, Value>> {
        let tree = self.subject.state.tree(Some(era))?;
        let differs = self.subject.state.stamp.eras.get(era).map(|stamp| stamp.differs.join("; ")).unwrap_or_default();
        let root = place::root(Some(era));
        let mut asset = self.begin(&root, &format!("Era {era}"), &["data", "virtual"]);
        let description = format!("A tree of its own, like the main one, for what differs from it: {differs}.");
        asset.insert("description".into(), description.into());
        self.open(&mut asset, json!({ "engine": "s2ice", "eras": era }));
        let bands: Vec<(Asset, &HeldArray)> = tree
            .arrays
            .iter()
            .filter(|(asset, _)| matches!(asset.quantity, Quantity::Band(_)))
            .map(|(asset, array)| (*asset, array))
            .collect();
        if !bands.is_empty() {
            self.describe_bands(&mut asset, &bands, &root);
        }
        asset.insert("cube:dimensions".into(), json!({ "time": time(tree) }));
        Some(asset)
    }

    fn begin(&self, path: &str, title: &str, roles: &[&str]) -> Map<String, Value> {
        let mut asset = Map::new();
        asset.insert("href".into(), format!("{}/{path}", self.store.href()).into());
        asset.insert("type".into(), ZARR.into());
        asset.insert("title".into(), title.into());
        asset.insert("roles".into(), json!(roles));
        self.store.refer(&mut asset);
        if roles.contains(&"virtual") && !self.sources.is_empty() {
            asset.insert("vrt:hrefs".into(), parts(self.sources, self.own).into());
        }
        asset
    }

    /// How xarray opens the asset.
    fn open(&self, asset: &mut Map<String, Value>, options: Value) {
        asset.insert("xarray:open_kwargs".into(), options);
        asset.extend(self.store.storage_options().map(|options| ("xarray:storage_options".to_owned(), options)));
    }

    /// The bands of an asset whose path is `base` (without slashes at its ends), or the rasters' own group.
    fn describe_bands(&self, asset: &mut Map<String, Value>, rasters: &[(Asset, &HeldArray)], base: &str) {
        let mut bands = Vec::new();
        for (raster, array) in rasters {
            let path = array.path.trim_start_matches('/');
            let Some(document) = self.subject.state.documents.get(path) else { continue };
            let name = match base {
                "" => path.rsplit('/').next(),
                base => path.strip_prefix(base).map(|rest| rest.trim_start_matches('/')),
            };
            bands.extend(bands_of(*raster, name.unwrap_or(path), document));
        }
        for key in SHARED {
            let value = bands.first().and_then(|band| band.get(key)).cloned();
            if let Some(value) = value.filter(|value| bands.iter().all(|band| band.get(key) == Some(value))) {
                asset.insert(key.to_owned(), value);
                for band in &mut bands {
                    band.shift_remove(key);
                }
            }
        }
        asset.insert("bands".into(), bands.into_iter().map(Value::from).collect());
    }
}

/// The rasters whose arrays stand in a group, by name of the array.
fn rasters_of<'a>(tree: &'a TreeState, group: &str) -> Vec<(Asset, &'a HeldArray)> {
    let own = |array: &HeldArray| array.path.trim_start_matches('/').rsplit_once('/').is_some_and(|(g, _)| g == group);
    let mut rasters: Vec<_> =
        tree.arrays.iter().filter(|(_, a)| own(a)).map(|(asset, array)| (*asset, array)).collect();
    rasters.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
    rasters
}

/// The bands of an array: one, or those that a true-colour image has along a dimension.
fn bands_of(raster: Asset, name: &str, document: &Value) -> Vec<Map<String, Value>> {
    let mut band = Map::new();
    band.insert("name".into(), name.into());
    let text = |attribute_name: &str| attribute(document, attribute_name).cloned();
    band.extend(text("long_name").map(|value| ("description".to_owned(), value)));
    band.insert("data_type".into(), data_type(document));
    let fields = [
        ("nodata", "_FillValue"),
        ("unit", "units"),
        ("raster:scale", "scale_factor"),
        ("raster:offset", "add_offset"),
    ];
    for (field, attribute_name) in fields {
        band.extend(text(attribute_name).map(|value| (field.to_owned(), value)));
    }
    let measured = match raster.quantity {
        Quantity::Band(band) => band.native().max(raster.resolution),
        _ => raster.resolution,
    };
    band.insert("gsd".into(), measured.metres().into());
    match raster.quantity {
        Quantity::Band(of) => spectral::describe(of, &mut band),
        Quantity::Tci => {
            let component = |(index, common_name): (usize, &str)| {
                let mut band = band.clone();
                band.insert("name".into(), format!("{name}[band={}]", index + 1).into());
                band.insert("eo:common_name".into(), common_name.into());
                band
            };
            return spectral::TRUE_COLOUR.into_iter().enumerate().map(component).collect();
        }
        _ => {}
    }
    vec![band]
}

fn title(asset: Asset) -> String {
    let what = match asset.quantity {
        Quantity::Band(_) => "Reflectance",
        Quantity::Aot | Quantity::Wvp => "Aerosol and water vapour",
        Quantity::Scl => "Scene classification",
        Quantity::Tci => "True colour",
        Quantity::Cld | Quantity::Snw => "Cloud and snow probability",
        Quantity::Detfoo(_) => "Detector footprints",
        Quantity::Qualit(_) => "Quality masks",
        Quantity::Classi => "Cloud and snow classification",
    };
    format!("{what}, {} m", Resolution::metres(asset.resolution))
}

fn roles(quantity: Quantity) -> Vec<&'static str> {
    let own = match quantity {
        Quantity::Band(_) => "reflectance",
        Quantity::Tci => "visual",
        Quantity::Aot => "aerosol",
        Quantity::Wvp => "water-vapour",
        Quantity::Scl | Quantity::Classi => "classification",
        Quantity::Cld | Quantity::Snw => "cloud",
        Quantity::Detfoo(_) | Quantity::Qualit(_) => "data-mask",
    };
    vec!["data", "virtual", own]
}
