//! Groups, coordinates and columns of the planned tree.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::Step;
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::ids::Resolution;
use serde_json::{Map, Value, json};

use super::Placed;

use crate::layout::document::{ArrayDocument, TIME_CHUNK, encode_f64, encode_i64, group, numeric_codecs};
use crate::layout::eopf::ArrayKind;
use crate::layout::overview::{self, Overviews};
use crate::layout::pixels::Pixels;
use crate::layout::place::join;
use crate::layout::time::{self, Column, TimeColumn};
use crate::layout::{attributes, crs, multiscale};

/// Nodes and small chunks under construction.
#[derive(Default)]
pub(super) struct Tree {
    /// `zarr.json` by path.
    pub(super) nodes: BTreeMap<String, Value>,
    /// Chunks of coordinates and columns: store key and encoded bytes.
    pub(super) chunks: Vec<(String, Vec<u8>)>,
}

impl Tree {
    pub(super) fn group(&mut self, path: &str, attributes: Map<String, Value>) {
        self.nodes.insert(path.to_owned(), group(attributes));
    }

    /// Takes over the nodes and chunks of a tree, below a path.
    pub(super) fn join(&mut self, base: &str, tree: Self) {
        self.nodes.extend(tree.nodes.into_iter().map(|(path, document)| (join(base, &path), document)));
        self.chunks.extend(tree.chunks.into_iter().map(|(key, bytes)| (join(base, &key), bytes)));
    }

    pub(super) fn column(&mut self, parent: &str, column: TimeColumn) -> std::io::Result<()> {
        self.column_with(parent, column, Map::new())
    }

    fn column_with(&mut self, parent: &str, column: TimeColumn, more: Map<String, Value>) -> std::io::Result<()> {
        let path = join(parent, column.name);
        let mut attributes = attributes::of_column(column.name);
        attributes.extend(more);
        let document = ArrayDocument {
            shape: vec![column.values.len() as u64],
            chunks: vec![TIME_CHUNK as u64],
            data_type: column.values.data_type(),
            fill_value: column.values.fill_value(),
            codecs: column.values.codecs(),
            dimensions: vec!["time".to_owned()],
            attributes,
        };
        self.nodes.insert(path.clone(), document.json());
        for (index, bytes) in column.values.encode()?.into_iter().enumerate() {
            self.chunks.push((format!("{path}/c/{index}"), bytes));
        }
        Ok(())
    }

    pub(super) fn leaf(
        &mut self,
        path: &str,
        members: &[&Placed],
        steps: &[Step],
        geocoding: TileGeocoding,
    ) -> std::io::Result<()> {
        let Some(Placed { kind, manifest, .. }) = members.first() else { return Ok(()) };
        let pixels = Pixels::whole(geocoding, manifest.asset.resolution).reduced(kind.reduce);
        let mut attributes = multiscale::leaf(geocoding, pixels);
        attributes.extend(overview::comment(kind.reduce).map(|comment| ("comment".to_owned(), comment.into())));
        self.group(path, attributes);
        self.column(path, time::axis(steps))?;
        for column in time::leaf(steps) {
            self.column(path, column)?;
        }
        let names: Vec<&str> = members.iter().map(|member| member.kind.place.array.as_str()).collect();
        self.present(path, steps.len(), &names, |member, step| members[member].manifest.at(step).is_some())?;
        for (name, values) in [("x", pixels.x_centres()), ("y", pixels.y_centres())] {
            let attributes = json!({
                "units": "m", "axis": name.to_ascii_uppercase(),
                "standard_name": format!("projection_{name}_coordinate"),
                "long_name": format!("{name} of pixel centre"),
            });
            self.axis(path, name, &values, attributes.as_object().cloned().unwrap_or_default())?;
        }
        for Placed { kind, header, .. } in members {
            self.components(path, kind, header.components)?;
        }
        self.grid_mapping(path, crs::grid_mapping(geocoding))
    }

    /// The flags that say which of the arrays of a group (`names`) have data at a time.
    pub(super) fn present(
        &mut self,
        path: &str,
        steps: usize,
        names: &[&str],
        has: impl Fn(usize, usize) -> bool,
    ) -> std::io::Result<()> {
        let masks: Vec<u32> = (0..names.len()).map(|bit| 1_u32 << bit.min(31)).collect();
        let flags = |step: usize| {
            let set = masks.iter().enumerate().filter(|(member, _)| has(*member, step));
            set.fold(0, |flags, (_, mask)| flags | mask)
        };
        let present = (0..steps).map(flags).collect();
        let attributes = json!({
            "long_name": "which arrays of this group have data at this time; a cleared flag is absent or refused, not nodata",
            "flag_masks": masks,
            "flag_meanings": names.join(" "),
        });
        let attributes = attributes.as_object().cloned().unwrap_or_default();
        self.column_with(path, TimeColumn { name: "present", values: Column::U32(present) }, attributes)
    }

    pub(super) fn axis(
        &mut self,
        parent: &str,
        name: &str,
        values: &[f64],
        attributes: Map<String, Value>,
    ) -> std::io::Result<()> {
        let path = join(parent, name);
        let document = ArrayDocument {
            shape: vec![values.len() as u64],
            chunks: vec![values.len() as u64],
            data_type: "float64",
            fill_value: "NaN".into(),
            codecs: numeric_codecs(),
            dimensions: vec![name.to_owned()],
            attributes,
        };
        self.nodes.insert(path.clone(), document.json());
        self.chunks.push((format!("{path}/c/0"), encode_f64(values)?));
        Ok(())
    }

    /// The coordinate of the component dimension, counted from 1 as EOPF counts bands of a quicklook: GeoZarr asks for a
    /// coordinate of every dimension.
    fn components(&mut self, parent: &str, kind: &ArrayKind, count: u32) -> std::io::Result<()> {
        let Some(name) = kind.component_dimension else { return Ok(()) };
        let values: Vec<i64> = (1..=i64::from(count)).collect();
        let attributes = json!({ "long_name": "component of the image, from 1" });
        self.numbered(parent, name, &values, attributes.as_object().cloned().unwrap_or_default())
    }

    /// A coordinate of whole numbers; the first of a name stays.
    pub(super) fn numbered(
        &mut self,
        parent: &str,
        name: &str,
        values: &[i64],
        attributes: Map<String, Value>,
    ) -> std::io::Result<()> {
        let path = join(parent, name);
        let document = ArrayDocument {
            shape: vec![values.len() as u64],
            chunks: vec![values.len() as u64],
            data_type: "int64",
            fill_value: 0.into(),
            codecs: numeric_codecs(),
            dimensions: vec![name.to_owned()],
            attributes,
        };
        if self.nodes.insert(path.clone(), document.json()).is_none() {
            self.chunks.push((format!("{path}/c/0"), encode_i64(values)?));
        }
        Ok(())
    }

    pub(super) fn grid_mapping(&mut self, parent: &str, attributes: Value) -> std::io::Result<()> {
        let path = join(parent, "spatial_ref");
        let document = ArrayDocument {
            shape: vec![],
            chunks: vec![],
            data_type: "int64",
            fill_value: 0.into(),
            codecs: numeric_codecs(),
            dimensions: vec![],
            attributes: attributes.as_object().cloned().unwrap_or_default(),
        };
        self.nodes.insert(path.clone(), document.json());
        self.chunks.push((format!("{path}/c"), encode_i64(&[0])?));
        Ok(())
    }

    /// Groups between the root and the leaves; one that holds several resolutions of the same thing is a pyramid.
    pub(super) fn parents(&mut self, geocoding: TileGeocoding, leaves: &BTreeSet<&str>, overviews: &Overviews) {
        let whole = Resolution::ALL.map(|resolution| Pixels::whole(geocoding, resolution));
        let levels = || whole.iter().flat_map(|whole| overviews.with_whole().map(|reduce| whole.reduced(reduce)));
        for leaf in leaves {
            let mut path = *leaf;
            while let Some((parent, _)) = path.rsplit_once('/') {
                if !self.nodes.contains_key(parent) {
                    let there = |level: &Pixels| leaves.contains(join(parent, &level.group()).as_str());
                    let levels: Vec<Pixels> = levels().filter(there).collect();
                    let attributes =
                        if levels.len() > 1 { multiscale::pyramid(geocoding, &levels) } else { Map::new() };
                    self.group(parent, attributes);
                }
                path = parent;
            }
        }
    }
}
