//! Which angles a store holds, from the metadata of its arrays and their flags.

use std::collections::BTreeMap;

use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use serde_json::Value;

use super::{Columns, TreeState};
use crate::error::Result;
use crate::layout::geometry;
use crate::update::same;

/// Array of angles to the time steps at which it has any.
pub type HeldAngles = BTreeMap<AngleArray, Vec<bool>>;

impl TreeState {
    /// An array of angles as the outcome of an assembly.
    pub(super) fn angle_placements(&self, array: AngleArray) -> Vec<Option<AnglePlacement>> {
        (0..self.steps.len()).map(|step| self.angles(step).remove(&array)).collect()
    }

    /// The angles that the store holds at a time step.
    pub fn angles(&self, step: usize) -> BTreeMap<AngleArray, AnglePlacement> {
        let number = u32::try_from(step).unwrap_or(u32::MAX);
        let present = self.angles.iter().filter(|(_, present)| present.get(step) == Some(&true));
        present.map(|(array, _)| (*array, AnglePlacement::Held { era: self.era.clone(), step: number })).collect()
    }
}

impl Columns<'_> {
    /// The arrays of angles, none of which have to be there.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`] where one is not in the form in which it is written.
    pub(super) async fn angles(&self, documents: &BTreeMap<String, Value>) -> Result<HeldAngles> {
        let there = AngleArray::ALL
            .into_iter()
            .filter_map(|array| Some((array, documents.get(&self.path(&geometry::path(array)))?)));
        let there: Vec<_> = there.collect();
        if there.is_empty() {
            return Ok(HeldAngles::new());
        }
        let present = self.present(&self.path(geometry::GROUP), documents).await?;
        let mut out = HeldAngles::new();
        for (array, found) in there {
            let wanted = geometry::document(array, self.steps);
            let form = ["shape", "data_type", "chunk_grid", "codecs", "fill_value"];
            if let Some(key) =
                form.iter().find(|key| !matches!((found.get(*key), wanted.get(*key)), (Some(a), Some(b)) if same(a, b)))
            {
                return Err(
                    self.damaged(format!("{} has another {key} than it is written with", geometry::path(array)))
                );
            }
            let flags = present.get(array.name()).cloned();
            let flags = flags
                .ok_or_else(|| self.damaged(format!("{}: no flag says when it has data", geometry::path(array))))?;
            out.insert(array, flags);
        }
        Ok(out)
    }
}
