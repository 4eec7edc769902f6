//! The repository configuration that s2ice persists: reader-safe storage settings, manifest splits along time, and the
//! named container of the source.

use std::collections::HashMap;
use std::num::{NonZeroU16, NonZeroU64};

use icechunk::config::{
    CachingConfig, HttpConfig, ManifestConfig, ManifestPreloadCondition, ManifestPreloadConfig, ManifestSplitCondition,
    ManifestSplitDim, ManifestSplitDimCondition, ManifestSplittingConfig,
    ManifestVirtualChunkLocationCompressionConfig,
};
use icechunk::storage::{ConcurrencySettings, RetriesSettings, Settings};
use icechunk::virtual_chunks::VirtualChunkContainer;
use icechunk::{ObjectStoreConfig, RepositoryConfig};
use s2ice_manifest::source::location::{Effective, Scheme, SourceUrl};

use crate::error::{Error, Result};
use crate::target::s3_options;

/// Time steps in one manifest: the first pixel of a 10 m band reads less than 100 kB of references, an append rewrites at most one
/// half-full window, and a time series of ten years reads some thirty, side by side.
pub const MANIFEST_SPLIT: u32 = 48;

/// Coordinates up to this size stand inside the manifest: no request of their own when a store is opened.
pub(crate) const INLINE_BYTES: u16 = 32 * 1024;

/// The configuration of a store whose chunks lie below `source`.
///
/// # Errors
/// [`Error::Request`] where the container's name or the source cannot be used.
pub fn repository(container: VirtualChunkContainer) -> Result<RepositoryConfig> {
    let mut config = RepositoryConfig {
        inline_chunk_threshold_bytes: Some(INLINE_BYTES),
        // A repository on local disk would otherwise hand its 4 KiB requests without retries to virtual reads.
        storage: Some(Settings {
            concurrency: Some(ConcurrencySettings {
                max_concurrent_requests_for_object: NonZeroU16::new(1),
                ideal_concurrent_request_size: NonZeroU64::new(64 * 1024 * 1024),
            }),
            retries: Some(RetriesSettings {
                max_tries: NonZeroU16::new(10),
                initial_backoff_ms: Some(100),
                max_backoff_ms: Some(30_000),
            }),
            ..Settings::default()
        }),
        manifest: Some(ManifestConfig {
            splitting: Some(ManifestSplittingConfig {
                split_sizes: Some(vec![(
                    ManifestSplitCondition::AnyArray,
                    vec![ManifestSplitDim {
                        condition: ManifestSplitDimCondition::DimensionName("time".to_owned()),
                        num_chunks: MANIFEST_SPLIT,
                    }],
                )]),
            }),
            // A reader of one array shall not fetch the references of others.
            preload: Some(ManifestPreloadConfig {
                max_total_refs: Some(0),
                preload_if: Some(ManifestPreloadCondition::False),
                max_arrays_to_scan: Some(0),
            }),
            // No dictionary for locations: the 121 references of a raster name the same file, which the compression of
            // the whole manifest removes as well. Training and using one took 40 % of the time for no gain in size.
            virtual_chunk_location_compression: Some(ManifestVirtualChunkLocationCompressionConfig {
                min_num_chunks: Some(u16::MAX),
                ..ManifestVirtualChunkLocationCompressionConfig::default()
            }),
            ..ManifestConfig::default()
        }),
        ..RepositoryConfig::default()
    };
    config.set_virtual_chunk_container(container).map_err(Error::Request)?;
    Ok(config)
}

/// A repository that was made on disk and then copied to an object store says that it has no conditional writes; by these
/// alone does one writer there notice another.
pub(crate) fn with_conditional_writes(storage: Settings) -> Settings {
    Settings {
        unsafe_use_conditional_update: Some(true),
        unsafe_use_conditional_create: Some(true),
        unsafe_use_metadata: Some(true),
        ..storage
    }
}

/// References of manifests that a writer keeps in memory: those of small arrays, which many share. Windows are aligned with
/// the others, so that none of them is read again.
const CACHED: u64 = 1 << 12;

/// What only the writer needs: hardly any cache of manifests.
pub fn for_writing(mut config: RepositoryConfig) -> RepositoryConfig {
    config.caching = writer().caching;
    config
}

/// As [`for_writing`], for a repository that is about to be opened.
pub fn writer() -> RepositoryConfig {
    let caching = CachingConfig { num_chunk_refs: Some(CACHED), ..CachingConfig::default() };
    RepositoryConfig { caching: Some(caching), ..RepositoryConfig::default() }
}

/// The container that stands for a source prefix.
///
/// # Errors
/// [`Error::Request`] where Icechunk refuses the name or the prefix.
pub fn container(name: &str, url: &SourceUrl, effective: &Effective) -> Result<VirtualChunkContainer> {
    let store = match url.scheme() {
        Scheme::Local => ObjectStoreConfig::LocalFileSystem(url.local_root().unwrap_or_default()),
        Scheme::S3 => ObjectStoreConfig::S3Compatible(s3_options(effective)),
        Scheme::Gcs => ObjectStoreConfig::Gcs(HashMap::new()),
        Scheme::Azure => {
            ObjectStoreConfig::Azure(effective.account.clone().map(|a| ("account".to_owned(), a)).into_iter().collect())
        }
        Scheme::Http | Scheme::Https => {
            let opts = (url.scheme() == Scheme::Http).then(|| ("allow_http".to_owned(), "true".to_owned()));
            ObjectStoreConfig::Http(HttpConfig { opts: opts.into_iter().collect(), headers: HashMap::new() })
        }
    };
    VirtualChunkContainer::new_named(name.to_owned(), plain_prefix(url)?, store).map_err(Error::Request)
}

/// The prefix without percent-encoding: Icechunk compares it with decoded locations. Characters that mean something in
/// an URL cannot stand in it then.
fn plain_prefix(url: &SourceUrl) -> Result<String> {
    if url.scheme() == Scheme::Local && url.segments().is_empty() {
        return Err(Error::Request(
            "the source is the whole disk, file:///: name the folder in which the product folders lie".to_owned(),
        ));
    }
    let mut prefix = format!("{}://{}/", url.scheme().name(), url.authority());
    for segment in url.segments() {
        if segment.contains(['%', '?', '#']) {
            return Err(Error::Request(format!(
                "the source {url} has a folder named {segment:?}: references cannot point below a name with %, ? or #; \
                 rename it or use another source"
            )));
        }
        prefix.push_str(segment);
        prefix.push('/');
    }
    Ok(prefix)
}

/// The container's name where the operator gives none: what readers re-point to a mirror.
pub fn default_container_name(url: &SourceUrl) -> String {
    match url.scheme() {
        Scheme::Local => "local".to_owned(),
        _ => url
            .authority()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn prefix(url: &str) -> Result<String> {
        let url = SourceUrl::parse(url).unwrap();
        container("c", &url, &Effective::default()).map(|c| c.url_prefix().to_owned())
    }

    #[test]
    fn container_prefixes_are_not_encoded() {
        assert_eq!(prefix("s3://bucket/a%20b").unwrap(), "s3://bucket/a b/");
        assert_eq!(prefix("/no such folder/\u{e9}").unwrap(), "file:///no such folder/\u{e9}/");
        assert!(matches!(prefix("/no such folder/100%"), Err(Error::Request(_))));
    }
}
