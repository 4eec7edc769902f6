//! Opening a store for zarrs.

use std::collections::HashMap;
use std::sync::Arc;

use icechunk::config::{AzureCredentials, Credentials, GcsCredentials};
use icechunk::format::SnapshotId;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::repository::{RepositoryError, RepositoryErrorKind, VersionInfo};
use icechunk::virtual_chunks::VirtualChunkContainer;
use icechunk::{ObjectStoreConfig, Repository, RepositoryConfig};
use s2ice_manifest::source::location::{Effective, Scheme, Source, SourceUrl};
use zarrs_icechunk::AsyncIcechunkStore;

use super::{SourceOptions, WholeValues};
use crate::config;
use crate::error::{Error, Result, icechunk_error};
use crate::target::{Target, s3_credentials};

/// Opens the newest state of a store, for [`Array::async_open`](zarrs::array::Array::async_open).
///
/// `store` is its address and how that is reached. `sources` are the places that hold its product files: the name that the
/// store has for each, the address, and how that is reached. Of a place, nothing but its name is taken from the store, so
/// that no store leads its reader to hosts that he did not name, and a mirror is read by naming it. What lies in a source
/// that is not named cannot be read.
///
/// # Errors
/// [`Error::Location`] for an address or options that cannot be used, [`Error::NoStore`] where there is none,
/// [`Error::Request`] for a source that the store does not have, [`Error::Icechunk`] where reading fails.
pub async fn open<'a>(
    store: (&str, SourceOptions),
    sources: impl IntoIterator<Item = (&'a str, &'a str, SourceOptions)>,
) -> Result<Arc<WholeValues<AsyncIcechunkStore>>> {
    let target = Target::open(SourceUrl::parse(store.0)?, store.1).await?;
    let failed = |error: RepositoryError| icechunk_error("opening the store", target.url(), &error);
    let repository = match Repository::open(target.storage()).execute().await {
        Ok(repository) => repository,
        Err(error) => {
            target.probe().await?;
            return Err(match error.kind {
                RepositoryErrorKind::RepositoryDoesntExist => Error::NoStore { url: target.url().to_string() },
                _ => failed(error),
            });
        }
    };
    let known: Vec<&str> = repository.config().virtual_chunk_containers().filter_map(|c| c.name()).collect();
    let (mut containers, mut access) = (HashMap::new(), HashMap::new());
    for (name, address, options) in sources {
        if !known.contains(&name) {
            let (url, known) = (target.url(), known.join(", "));
            return Err(Error::Request(format!("{url} has no source {name:?}; it has {known}")));
        }
        let url = SourceUrl::parse(address)?;
        let effective = Source::check(&url, &options)?;
        let container = config::container(name, &url, &effective)?;
        let container = if url.scheme() == Scheme::Local { container } else { confined(container, &repository)? };
        let granted = credentials(&url, &options, &effective).map_err(Error::Request)?;
        access.insert(container.url_prefix().to_owned(), Some(granted));
        containers.insert(name.to_owned(), container);
    }
    let config = RepositoryConfig { virtual_chunk_containers: Some(containers), ..RepositoryConfig::default() };
    let repository = repository.reopen(Some(config), Some(access)).await.map_err(failed)?;
    let main = VersionInfo::BranchTipRef("main".to_owned());
    let session = repository.readonly_session(&main).await.map_err(failed)?;
    Ok(Arc::new(WholeValues::new(AsyncIcechunkStore::new(session))))
}

/// The container under a prefix that no reference can guess, as the package for Python has it: Icechunk compares prefixes with
/// decoded locations, so that `https://good.org%2F@evil.org/` would lie below `https://good.org/` and lead elsewhere.
fn confined(container: VirtualChunkContainer, repository: &Repository) -> Result<VirtualChunkContainer> {
    let name = container.name().unwrap_or_default().to_owned();
    if repository.spec_version() < SpecVersionBin::V2 {
        // Their references are whole addresses.
        return match container.store {
            ObjectStoreConfig::Http(_) => Err(Error::Request(format!(
                "the references of this store are whole addresses (Icechunk format 1), which cannot be held to {}: if you \
                 trust the store, open it with icechunk, authorise {name}, and wrap the session in `WholeValues`",
                container.url_prefix()
            ))),
            _ => Ok(container),
        };
    }
    let plain = container.url_prefix();
    let prefix = plain.replacen("://", &format!("://s2ice-{}@", SnapshotId::random()), 1);
    VirtualChunkContainer::new_named(name, prefix, container.store).map_err(Error::Request)
}

/// What a place is reached with; a folder and a web server need nothing.
fn credentials(
    url: &SourceUrl,
    options: &SourceOptions,
    effective: &Effective,
) -> std::result::Result<Credentials, String> {
    let anonymous = effective.anonymous;
    Ok(match url.scheme() {
        Scheme::Local => Credentials::LocalFileSystemAccess,
        Scheme::Http | Scheme::Https => Credentials::HttpAccess,
        Scheme::S3 => Credentials::S3(s3_credentials(options, effective)?),
        Scheme::Gcs if anonymous => Credentials::Gcs(GcsCredentials::Anonymous),
        Scheme::Gcs => Credentials::Gcs(GcsCredentials::FromEnv),
        Scheme::Azure if anonymous => Credentials::Azure(AzureCredentials::Anonymous),
        Scheme::Azure => Credentials::Azure(AzureCredentials::FromEnv),
    })
}
