//! From arguments and configuration file to resolved settings; the command line wins.

use std::path::{Path, PathBuf};

use s2ice_manifest::assemble::Resolutions;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::source::location::SourceOptions;
use s2ice_store::build::{BuildSettings, HeaderPolicy};
use s2ice_store::commit::{ChecksumPolicy, Spec};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::args::{ChecksumArg, HeadersArg, ResolutionsArg, SelectionArgs, SourceArgs, StoreArgs};
use crate::exit::Failure;

/// The configuration file: every option of `build` and `manifest`, by its long name.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "s2ice configuration")]
pub struct FileConfig {
    /// MGRS tile, such as 29UNU.
    tile: Option<String>,
    /// Processing level: L2A or L1C.
    level: Option<String>,
    /// TLM index files or URLs.
    index: Vec<String>,
    /// STAC items that choose the products.
    stac: Option<String>,
    /// Collection of the STAC API.
    collection: Option<String>,
    /// Interval of time, A/B.
    datetime: Option<String>,
    /// Greatest cloud cover, percent.
    max_cloud_cover: Option<f64>,
    /// Globs of array paths.
    arrays: Vec<String>,
    /// Which copies of a raster to take.
    resolutions: Option<Resolutions>,
    /// Where main headers come from.
    headers: Option<HeaderPolicy>,
    /// Cache file, or `none`.
    cache: Option<String>,
    /// Prefix of the product files.
    source: Option<String>,
    /// How to reach the product files.
    source_options: SourceOptions,
    /// Address of the store.
    store: Option<String>,
    /// How to reach the store.
    store_options: SourceOptions,
    /// What readers check a reference's file against.
    checksum: Option<ChecksumPolicy>,
    /// Icechunk format, 1 or 2.
    #[schemars(range(min = 1, max = 2))]
    spec: Option<u8>,
    /// Name of the virtual chunk container.
    container: Option<String>,
}

impl FileConfig {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::fault(format!("configuration file {} cannot be read: {e}", path.display())))?;
        toml::from_str(&text).map_err(|e| {
            let line =
                1 + e.span().and_then(|span| text.get(..span.start)).map_or(0, |before| before.matches('\n').count());
            let reason = e.message().lines().next().unwrap_or_default().to_owned();
            Failure::fault(format!("configuration file {}, line {line}: {reason}", path.display()))
        })
    }
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
    let need = |value: Option<String>, name: &str| {
        value.ok_or_else(|| {
            Failure::usage(format!("--{name} is missing: give it or set `{name}` in the configuration file"))
        })
    };
    let tile: MgrsTile = need(selection.tile.or(file.tile), "tile")?.parse().map_err(Failure::usage)?;
    let level: Level =
        selection.level.or(file.level).unwrap_or_else(|| "L2A".to_owned()).parse().map_err(Failure::usage)?;
    let index = if selection.index.is_empty() { file.index } else { selection.index };
    if index.is_empty() {
        return Err(Failure::usage("--index is missing: give a TLM index, or make one with `s2ice index`"));
    }
    let datetime = selection.datetime.or(file.datetime).map(|text| text.parse()).transpose().map_err(Failure::usage)?;
    let max_cloud_cover = selection.max_cloud_cover.or(file.max_cloud_cover);
    if max_cloud_cover.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
        return Err(Failure::usage("--max-cloud-cover is a percentage, 0 to 100"));
    }
    let source_options = source_options(file.source_options, source)?;
    let cache = match selection.cache.or(file.cache).as_deref() {
        Some("none") => None,
        Some(path) => Some(PathBuf::from(path)),
        None => default_cache().map(|folder| folder.join(format!("{tile}-{level}.ndjson"))),
    };
    Ok(BuildSettings {
        tile,
        level,
        index,
        stac: selection.stac.or(file.stac),
        collection: selection.collection.or(file.collection),
        datetime,
        max_cloud_cover,
        arrays: if selection.arrays.is_empty() { file.arrays } else { selection.arrays },
        resolutions: selection.resolutions.map(Into::into).or(file.resolutions).unwrap_or_default(),
        headers: selection.headers.map(Into::into).or(file.headers).unwrap_or_default(),
        cache,
        source: need(source.source.clone().or(file.source), "source")?,
        source_options,
        store: only.store.or(file.store),
        store_options: store_options(file.store_options, &only.options)?,
        checksum: only.checksum.map(Into::into).or(file.checksum).unwrap_or_default(),
        spec: match only.spec.or(file.spec) {
            Some(1) => Spec::V1,
            None | Some(2) => Spec::V2,
            Some(other) => return Err(Failure::usage(format!("spec {other} is unknown: 1 or 2"))),
        },
        container: only.container.or(file.container),
        dry_run: selection.dry_run,
        run,
        writer: format!("s2ice {}", env!("CARGO_PKG_VERSION")),
    })
}

/// Options of the source with the command line's on top.
///
/// # Errors
/// A `KEY=VALUE` without `=`.
pub fn source_options(mut options: SourceOptions, args: &SourceArgs) -> Result<SourceOptions, Failure> {
    overlay(&mut options, &args.source_endpoint, &args.source_region, args.source_anonymous, &args.source_option)?;
    options.request_payer |= args.source_requester_pays;
    if let Some(connections) = args.connections {
        options.connections = connections.max(1);
    }
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

/// `$XDG_CACHE_HOME/s2ice`, or `~/.cache/s2ice`.
fn default_cache() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("s2ice"))
}

impl From<ResolutionsArg> for Resolutions {
    fn from(arg: ResolutionsArg) -> Self {
        match arg {
            ResolutionsArg::Best => Self::Best,
            ResolutionsArg::All => Self::All,
        }
    }
}

impl From<HeadersArg> for HeaderPolicy {
    fn from(arg: HeadersArg) -> Self {
        match arg {
            HeadersArg::Read => Self::Read,
            HeadersArg::Index => Self::Index,
            HeadersArg::Assume => Self::Assume,
        }
    }
}

impl From<ChecksumArg> for ChecksumPolicy {
    fn from(arg: ChecksumArg) -> Self {
        match arg {
            ChecksumArg::Etag => Self::Etag,
            ChecksumArg::Modified => Self::Modified,
            ChecksumArg::None => Self::None,
        }
    }
}
