//! The group of sun and viewing angles in the planned tree.

use s2ice_manifest::assemble::Step;
use s2ice_manifest::geometry::{x_nodes, y_nodes};
use s2ice_manifest::grid::TileGeocoding;

use super::AngleReferences;
use super::tree::Tree;
use crate::layout::document::{ArrayDocument, encode_labels, text_codecs};
use crate::layout::geometry::{ANGLE_LABELS, GROUP, band_labels, detector_labels, dimensions, document, of_coordinate};
use crate::layout::place::join;
use crate::layout::{crs, multiscale, time};

impl Tree {
    /// The group with its coordinates and the arrays that have angles.
    pub(super) fn geometry(
        &mut self,
        members: &[AngleReferences],
        steps: &[Step],
        geocoding: TileGeocoding,
    ) -> std::io::Result<()> {
        self.group(GROUP, multiscale::angles(geocoding));
        self.column(GROUP, time::axis(steps))?;
        for column in time::leaf(steps) {
            self.column(GROUP, column)?;
        }
        let names: Vec<&str> = members.iter().map(|member| member.array.name()).collect();
        let has = |member: usize, step: usize| members[member].placements.get(step).is_some_and(Option::is_some);
        self.present(GROUP, steps.len(), &names, has)?;
        self.axis(GROUP, "x", &x_nodes(geocoding), of_coordinate("x"))?;
        self.axis(GROUP, "y", &y_nodes(geocoding), of_coordinate("y"))?;
        self.labels("angle", &ANGLE_LABELS.map(str::to_owned))?;
        let has_dimension = |name: &str| members.iter().any(|m| dimensions(m.array).iter().any(|d| d == name));
        if has_dimension("band") {
            self.labels("band", &band_labels())?;
        }
        if has_dimension("detector") {
            self.numbered(GROUP, "detector", &detector_labels(), of_coordinate("detector"))?;
        }
        for member in members {
            self.nodes.insert(join(GROUP, member.array.name()), document(member.array, steps.len()));
        }
        self.grid_mapping(GROUP, crs::grid_mapping(geocoding))
    }

    fn labels(&mut self, name: &str, labels: &[String]) -> std::io::Result<()> {
        let path = join(GROUP, name);
        let document = ArrayDocument {
            shape: vec![labels.len() as u64],
            chunks: vec![labels.len() as u64],
            data_type: "string",
            fill_value: "".into(),
            codecs: text_codecs(),
            dimensions: vec![name.to_owned()],
            attributes: of_coordinate(name),
        };
        self.nodes.insert(path.clone(), document.json());
        self.chunks.push((format!("{path}/c/0"), encode_labels(labels)?));
        Ok(())
    }
}
