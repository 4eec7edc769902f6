//! Which rasters and angles a build takes, by the paths of their arrays.

use std::collections::BTreeSet;

use globset::{Glob, GlobSet, GlobSetBuilder};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::geometry::AngleArray;
use s2ice_manifest::ids::Level;
use s2ice_manifest::raster::Asset;

use super::{BuildSettings, HeaderPolicy};
use crate::error::{Error, Result};
use crate::layout::eopf::{all_assets, array_kind};
use crate::layout::geometry;

/// Which rasters the settings ask for.
pub struct Wanted {
    level: Level,
    globs: Option<GlobSet>,
}

impl Wanted {
    pub fn of(settings: &BuildSettings) -> Result<Self> {
        Self::new(&settings.arrays, settings.level)
    }

    /// What these globs of paths match; everything where there is none.
    ///
    /// # Errors
    /// One is no glob, or no array of the level can match it.
    pub fn new(arrays: &[String], level: Level) -> Result<Self> {
        Ok(Self { level, globs: globs(arrays, level)? })
    }

    pub fn admits(&self, asset: Asset) -> bool {
        array_kind(asset, self.level).is_some_and(|kind| self.admits_path(&kind.place.path()))
    }

    /// All that are asked for.
    pub fn assets(&self) -> impl Iterator<Item = Asset> + '_ {
        all_assets(self.level).into_iter().filter(|asset| self.admits(*asset))
    }

    /// True for the path of an array in its tree, with a leading slash.
    pub fn admits_path(&self, path: &str) -> bool {
        let globs = self.globs.as_ref();
        globs.is_none_or(|globs| matches(|path| globs.is_match(path), path))
    }
}

/// The arrays of angles that the run makes. They are read from the products' XML, which `--headers assume` does not touch
/// and GeoTIFFs do not have.
///
/// # Errors
/// A glob of `--arrays` is none, or no array of the level can match it.
pub fn wanted_angles(settings: &BuildSettings) -> Result<BTreeSet<AngleArray>> {
    if !settings.angles || settings.headers == HeaderPolicy::Assume || settings.source_kind == SourceKind::Cog {
        return Ok(BTreeSet::new());
    }
    let wanted = Wanted::of(settings)?;
    Ok(AngleArray::ALL.into_iter().filter(|array| wanted.admits_path(&geometry::path(*array))).collect())
}

/// True where a glob matches the path of an array, which may be written without its leading slash.
fn matches(is_match: impl Fn(&str) -> bool, path: &str) -> bool {
    is_match(path) || is_match(path.trim_start_matches('/'))
}

fn globs(patterns: &[String], level: Level) -> Result<Option<GlobSet>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let bad = |error: globset::Error| Error::Request(format!("--arrays: {error}"));
    let rasters = all_assets(level).into_iter().filter_map(|asset| Some(array_kind(asset, level)?.place.path()));
    let paths: Vec<String> = rasters.chain(AngleArray::ALL.into_iter().map(geometry::path)).collect();
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern).map_err(bad)?;
        let matcher = glob.compile_matcher();
        if !paths.iter().any(|path| matches(|path| matcher.is_match(path), path)) {
            return Err(Error::Request(format!(
                "--arrays {pattern}: no array of level {level} has such a path; paths are like \
                 /measurements/reflectance/r10m/b04"
            )));
        }
        builder.add(glob);
    }
    builder.build().map(Some).map_err(bad)
}
