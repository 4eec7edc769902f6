//! Which rasters a build takes, by the paths of their arrays.

use globset::{Glob, GlobSet, GlobSetBuilder};
use s2ice_manifest::ids::Level;
use s2ice_manifest::raster::Asset;

use super::BuildSettings;
use crate::error::{Error, Result};
use crate::layout::eopf::array_kind;

/// Which rasters the settings ask for.
pub struct Wanted {
    level: Level,
    globs: Option<GlobSet>,
}

impl Wanted {
    pub fn of(settings: &BuildSettings) -> Result<Self> {
        Ok(Self { level: settings.level, globs: globs(&settings.arrays)? })
    }

    pub fn admits(&self, asset: Asset) -> bool {
        let Some(kind) = array_kind(asset, self.level) else { return false };
        self.globs.as_ref().is_none_or(|globs| {
            globs.is_match(kind.place.path()) || globs.is_match(kind.place.path().trim_start_matches('/'))
        })
    }
}

fn globs(patterns: &[String]) -> Result<Option<GlobSet>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let bad = |error: globset::Error| Error::Request(format!("--arrays: {error}"));
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(Glob::new(pattern).map_err(bad)?);
    }
    builder.build().map(Some).map_err(bad)
}
