//! From arguments and configuration file to resolved settings; the command line wins.

use std::path::{Path, PathBuf};

use chrono::Utc;
use s2ice_manifest::decide::OnMismatch;
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::source::location::SourceOptions;
use s2ice_manifest::source::mirror;
use s2ice_store::options::Spec;
use s2ice_store::reference::ChecksumPolicy;
use s2ice_store::tile::{
    BuildSettings, HeaderPolicy, INDEX_MISSING_LIMIT, LOCK_WAIT, MemoryPlace, OVERLAP, PRUNE_LIMIT, Recheck,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::args::{ChecksumArg, OnMismatchArg, SelectionArgs, SourceArgs, StoreArgs, UpdateArgs};
use crate::duration::Span;
use crate::exit::Failure;

/// The configuration file: the options of `build` and `manifest` by their long names. `--no-angles` is `angles = false`,
/// how to reach source and store stands in tables, and `--dry-run`, `--recheck` and `--output` are for the command line
/// only.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "s2ice configuration")]
pub struct FileConfig {
    /// MGRS tile, such as 29UNU.
    pub(crate) tile: Option<String>,
    /// Processing level: L2A or L1C.
    pub(crate) level: Option<String>,
    /// What the source has: jp2 (SAFE products and a TLM index) or cog (GeoTIFFs that the STAC items name).
    pub(crate) source_kind: Option<String>,
    /// TLM index files or URLs.
    pub(crate) index: Vec<String>,
    /// Index products of the catalogue that the index lacks.
    pub(crate) index_missing: bool,
    /// Most products that are so indexed in one run.
    pub(crate) index_missing_limit: Option<usize>,
    /// Index file to which their rows are added.
    pub(crate) write_index: Option<PathBuf>,
    /// STAC items that choose the products.
    pub(crate) stac: Option<String>,
    /// Collection of the items; without one, an API's usual one for the level, and any in files.
    pub(crate) collection: Option<String>,
    /// Interval of time, A/B.
    pub(crate) datetime: Option<String>,
    /// Greatest cloud cover, percent.
    pub(crate) max_cloud_cover: Option<f64>,
    /// Globs of array paths.
    pub(crate) arrays: Vec<String>,
    /// Take the sun and viewing angles of the products' XML; true by default.
    pub(crate) angles: Option<bool>,
    /// Which copies of a raster to take.
    pub(crate) resolutions: Option<Resolutions>,
    /// What becomes of products with another offset and rasters with another main header than the store's.
    pub(crate) on_mismatch: Option<OnMismatch>,
    /// Where main headers come from.
    pub(crate) headers: Option<HeaderPolicy>,
    /// Where what is learned of the source is remembered: an address, or `none`; without one, beside the store.
    pub(crate) memory: Option<String>,
    /// Prefix of the product files, or the name of a mirror.
    pub(crate) source: Option<String>,
    /// How to reach the product files.
    pub(crate) source_options: SourceOptions,
    /// Address of the store.
    pub(crate) store: Option<String>,
    /// How to reach the store.
    pub(crate) store_options: SourceOptions,
    /// What readers check a reference's file against.
    pub(crate) checksum: Option<ChecksumPolicy>,
    /// Icechunk format, 1 or 2.
    #[schemars(range(min = 1, max = 2))]
    pub(crate) spec: Option<u8>,
    /// Name of the virtual chunk container.
    pub(crate) container: Option<String>,
    /// Take away what the inputs no longer have.
    pub(crate) prune: bool,
    /// Greatest part of a store's products that may be pruned, percent.
    #[schemars(range(max = 100))]
    pub(crate) prune_limit: Option<u8>,
    /// Let a later processing take the place of an earlier one though it lacks rasters that the earlier one has.
    pub(crate) accept_incomplete: bool,
    /// Products whose files are asked again whatever was known of them; not for files.
    #[serde(skip)]
    pub(crate) recheck: Vec<Recheck>,
    /// Ask the STAC API for every item.
    pub(crate) full: bool,
    /// How far before the last change seen the STAC API is asked again.
    pub(crate) overlap: Option<Span>,
    /// How long to wait for another process that writes the same local store.
    pub(crate) lock_wait: Option<Span>,
}

impl FileConfig {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = read_file(path).map_err(Failure::Usage)?;
        toml::from_str(&text).map_err(|error| Failure::Usage(misread(path, &text, &error)))
    }

    /// With the command line's options on top.
    fn with_arguments(
        mut self,
        selection: SelectionArgs,
        source: &SourceArgs,
        only: BuildOnly,
    ) -> Result<Self, Failure> {
        fn given<T>(field: &mut Option<T>, value: Option<T>) {
            if value.is_some() {
                *field = value;
            }
        }
        given(&mut self.tile, selection.tile);
        given(&mut self.level, selection.level);
        given(&mut self.source_kind, selection.source_kind);
        if !selection.index.is_empty() {
            self.index = selection.index;
        }
        self.index_missing |= selection.index_missing;
        given(&mut self.index_missing_limit, selection.index_missing_limit);
        given(&mut self.write_index, selection.write_index);
        given(&mut self.stac, selection.stac);
        given(&mut self.collection, selection.collection);
        given(&mut self.datetime, selection.datetime);
        given(&mut self.max_cloud_cover, selection.max_cloud_cover);
        if !selection.arrays.is_empty() {
            self.arrays = selection.arrays;
        }
        given(&mut self.angles, selection.no_angles.then_some(false));
        given(&mut self.resolutions, selection.resolutions.map(Into::into));
        given(&mut self.headers, selection.headers.map(Into::into));
        given(&mut self.memory, selection.memory);
        given(&mut self.source, source.source.clone());
        self.source_options = source_options(self.source_options, source)?;
        given(&mut self.store, only.store);
        self.store_options = store_options(self.store_options, &only.options)?;
        given(&mut self.checksum, only.checksum.map(Into::into));
        given(&mut self.spec, only.spec);
        given(&mut self.container, only.container);
        given(&mut self.on_mismatch, only.on_mismatch.map(Into::into));
        let update = only.update;
        self.prune |= update.prune;
        given(&mut self.prune_limit, update.prune_limit);
        self.accept_incomplete |= update.accept_incomplete;
        self.recheck.extend(update.recheck);
        self.full |= update.full;
        given(&mut self.overlap, update.overlap);
        given(&mut self.lock_wait, update.lock_wait);
        Ok(self)
    }

    /// The settings of a build.
    ///
    /// # Errors
    /// An option is missing or wrong.
    pub fn resolve(mut self, dry_run: bool, run: String) -> Result<BuildSettings, Wrong> {
        fn parse<T: std::str::FromStr>(key: &'static str, text: &str) -> Result<T, Wrong>
        where
            T::Err: ToString,
        {
            text.parse().map_err(|error: T::Err| Wrong::bad(key, error))
        }
        let tile: MgrsTile = parse("tile", &self.tile.ok_or(Wrong::missing("tile"))?)?;
        let level: Level = parse("level", self.level.as_deref().unwrap_or("L2A"))?;
        let source_kind: SourceKind = parse("source-kind", self.source_kind.as_deref().unwrap_or("jp2"))?;
        if self.index.is_empty() && !self.index_missing && source_kind.is_jp2() {
            let hint = "give a TLM index, make one with `s2ice index`, or use --index-missing with --stac";
            return Err(Wrong::Missing { key: "index", hint });
        }
        let datetime = self.datetime.map(|text| parse("datetime", &text)).transpose()?;
        if self.collection.is_some() && self.stac.is_none() {
            return Err(Wrong::bad("collection", "it is one of a catalogue, and `stac` names none"));
        }
        if self.max_cloud_cover.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            return Err(Wrong::bad("max-cloud-cover", "it is a percentage, 0 to 100"));
        }
        Ok(BuildSettings {
            tile,
            level,
            source_kind,
            index: self.index,
            index_missing: self.index_missing,
            index_missing_limit: self.index_missing_limit.unwrap_or(INDEX_MISSING_LIMIT),
            write_index: self.write_index,
            stac: self.stac,
            collection: self.collection,
            datetime,
            max_cloud_cover: self.max_cloud_cover,
            arrays: self.arrays,
            angles: self.angles.unwrap_or(true),
            resolutions: self.resolutions.unwrap_or_default(),
            on_mismatch: self.on_mismatch.unwrap_or_default(),
            headers: self.headers.unwrap_or_default(),
            memory: self.memory.map(MemoryPlace::from).unwrap_or_default(),
            source: mirror::address(&self.source.ok_or(Wrong::missing("source"))?, &mut self.source_options),
            source_options: self.source_options,
            store: self.store,
            store_options: self.store_options,
            checksum: self.checksum.unwrap_or_default(),
            spec: match self.spec {
                Some(1) => Spec::V1,
                None | Some(2) => Spec::V2,
                Some(other) => return Err(Wrong::bad("spec", format!("{other} is unknown, 1 or 2"))),
            },
            container: self.container,
            prune: self.prune,
            prune_limit: match self.prune_limit {
                Some(percent) if percent > 100 => {
                    return Err(Wrong::bad("prune-limit", "it is a percentage, 0 to 100"));
                }
                percent => percent.unwrap_or(PRUNE_LIMIT),
            },
            accept_incomplete: self.accept_incomplete,
            recheck: self.recheck,
            full: self.full,
            overlap: self.overlap.map_or(OVERLAP, |span| span.0),
            lock_wait: self.lock_wait.map_or(LOCK_WAIT, |span| span.0),
            clock: Utc::now,
            dry_run,
            run,
            writer: format!("s2ice {}", env!("CARGO_PKG_VERSION")),
        })
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// It must be given.
    Missing {
        /// Its key.
        key: &'static str,
        /// What to do; empty for the usual.
        hint: &'static str,
    },
    /// Its value makes no sense.
    Bad {
        /// Its key.
        key: &'static str,
        /// Why.
        reason: String,
    },
}

impl Wrong {
    fn missing(key: &'static str) -> Self {
        Self::Missing { key, hint: "" }
    }

    /// A value that makes no sense.
    pub fn bad(key: &'static str, reason: impl ToString) -> Self {
        Self::Bad { key, reason: reason.to_string() }
    }

    /// The key concerned.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Missing { key, .. } | Self::Bad { key, .. } => key,
        }
    }
}

/// As a mistake in the command line.
impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        Self::Usage(match wrong {
            Wrong::Missing { key, hint: "" } => {
                format!("--{key} is missing: give it or set `{key}` in the configuration file")
            }
            Wrong::Missing { key, hint } => format!("--{key} is missing: {hint}"),
            Wrong::Bad { key, reason } => format!("--{key}: {reason}"),
        })
    }
}

/// The text of a configuration file.
///
/// # Errors
/// It cannot be read.
pub fn read_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("configuration file {} cannot be read: {e}", path.display()))
}

/// A file that is not what is expected: its name, the line, the key, the reason.
pub fn misread(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let reason = error.message().lines().next().unwrap_or_default();
    let content = text.lines().nth(line(text, start) - 1).unwrap_or_default();
    let key = content.split_once('=').map(|(key, _)| format!("`{}`", key.trim()));
    match key.filter(|key| key.len() > 2 && !reason.contains(key.as_str())) {
        Some(key) => misplaced(path, text, start, &format!("{key}: {reason}")),
        None => misplaced(path, text, start, reason),
    }
}

/// Something wrong at a place of a configuration file.
pub fn misplaced(path: &Path, text: &str, offset: usize, reason: &str) -> String {
    format!("configuration file {}, line {}: {reason}", path.display(), line(text, offset))
}

/// The line of a byte, from 1.
pub fn line(text: &str, offset: usize) -> usize {
    1 + text.get(..offset).unwrap_or(text).matches('\n').count()
}

/// What only `build` has.
#[derive(Debug, Clone, Default)]
pub struct BuildOnly {
    /// Address of the store.
    pub store: Option<String>,
    /// Checksums.
    pub checksum: Option<ChecksumArg>,
    /// Format.
    pub spec: Option<u8>,
    /// Container name.
    pub container: Option<String>,
    /// What becomes of what does not fit.
    pub on_mismatch: Option<OnMismatchArg>,
    /// How a store that is there is brought up to date.
    pub update: UpdateArgs,
    /// How to reach the store.
    pub options: StoreArgs,
}

/// Resolves the settings of `build` and `manifest`.
///
/// # Errors
/// The configuration file cannot be read, or an option is missing or wrong.
pub fn build(
    selection: SelectionArgs,
    source: &SourceArgs,
    only: BuildOnly,
    run: String,
) -> Result<BuildSettings, Failure> {
    let file = match &selection.config {
        Some(path) => FileConfig::read(path)?,
        None => FileConfig::default(),
    };
    let dry_run = selection.dry_run;
    Ok(file.with_arguments(selection, source, only)?.resolve(dry_run, run)?)
}

/// Options of the source with the command line's on top.
///
/// # Errors
/// A `KEY=VALUE` without `=`.
pub fn source_options(mut options: SourceOptions, args: &SourceArgs) -> Result<SourceOptions, Failure> {
    overlay(&mut options, &args.source_endpoint, &args.source_region, args.source_anonymous, &args.source_option)?;
    options.request_payer |= args.source_requester_pays;
    options.connections = args.connections.map(usize::from).or(options.connections);
    options.layout = args.source_layout.or(options.layout);
    options.requests_per_second = args.requests_per_second.or(options.requests_per_second);
    options.bytes_per_day = args.bytes_per_day.or(options.bytes_per_day);
    Ok(options)
}

/// Options of the store with the command line's on top.
///
/// # Errors
/// A `KEY=VALUE` without `=`.
pub fn store_options(mut options: SourceOptions, args: &StoreArgs) -> Result<SourceOptions, Failure> {
    overlay(&mut options, &args.store_endpoint, &args.store_region, args.store_anonymous, &args.store_option)?;
    Ok(options)
}

fn overlay(
    options: &mut SourceOptions,
    endpoint: &Option<String>,
    region: &Option<String>,
    anonymous: bool,
    extra: &[String],
) -> Result<(), Failure> {
    options.endpoint = endpoint.clone().or(options.endpoint.take());
    options.region = region.clone().or(options.region.take());
    options.anonymous |= anonymous;
    for pair in extra {
        let (key, value) = pair.split_once('=').ok_or_else(|| Failure::usage(format!("{pair:?} is not KEY=VALUE")))?;
        options.extra.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}
