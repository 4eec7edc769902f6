//! Where a store is written: the Icechunk storage behind an address, and the lock that local stores need.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use icechunk::Storage;
use icechunk::config::{GcsCredentials, S3Credentials, S3Options, S3StaticCredentials};
use icechunk::storage::{
    new_azure_blob_storage, new_gcs_storage, new_http_storage, new_local_filesystem_storage,
    new_s3_object_store_storage,
};
use s2ice_manifest::era::Era;
use s2ice_manifest::source::location::{Effective, Scheme, Source, SourceError, SourceOptions, SourceUrl};

use crate::error::{Error, Result, one_line};

/// How often the lock of another process is looked at.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// An address at which a store is or shall be.
pub struct Target {
    url: SourceUrl,
    options: SourceOptions,
    storage: Arc<dyn Storage + Send + Sync>,
    /// True for a folder that was there before: it is the operator's, whatever becomes of the store in it.
    kept: bool,
}

impl Target {
    /// Opens the storage; nothing is read or written yet.
    ///
    /// # Errors
    /// [`Error::Location`] for an address or options that cannot be used, [`Error::Icechunk`] where the client cannot
    /// be made.
    pub async fn open(url: SourceUrl, options: SourceOptions) -> Result<Self> {
        let kept = url.local_root().is_some_and(|root| root.exists());
        let storage = storage(&url, &options).await.map_err(|detail| Error::Icechunk {
            what: "opening the storage",
            url: url.to_string(),
            detail,
        })?;
        Ok(Self { url, options, storage, kept })
    }

    /// The place of an era of the store.
    ///
    /// # Errors
    /// As [`Target::open`]; [`Error::Request`] where the store takes a whole bucket.
    pub async fn era(&self, era: &Era) -> Result<Self> {
        Self::open(self.era_url(era)?, self.options.clone()).await
    }

    /// The address of an era of the store.
    ///
    /// # Errors
    /// [`Error::Request`] where the store takes a whole bucket.
    pub(crate) fn era_url(&self, era: &Era) -> Result<SourceUrl> {
        self.url.sibling(&format!(".era-{era}")).ok_or_else(|| {
            Error::Request(format!(
                "{} takes a whole bucket, so there is no place beside it for the era {era}: name a prefix in the bucket, \
                 or use --on-mismatch refuse",
                self.url
            ))
        })
    }

    /// The address.
    pub fn url(&self) -> &SourceUrl {
        &self.url
    }

    /// How it is reached.
    pub(crate) fn options(&self) -> &SourceOptions {
        &self.options
    }

    /// Icechunk's view of it.
    pub fn storage(&self) -> Arc<dyn Storage + Send + Sync> {
        Arc::clone(&self.storage)
    }

    /// Asks a remote place for the file that every repository has, so that a wrong endpoint, bucket or credentials are
    /// told in the words of [`SourceError`] and not in Icechunk's. That there is no such file is no error.
    ///
    /// # Errors
    /// [`Error::Location`]; [`Error::Occupied`] where a local place is a file.
    pub async fn probe(&self) -> Result<()> {
        if let Some(root) = self.url.local_root() {
            return if root.is_file() { Err(Error::Occupied { url: self.url.to_string() }) } else { Ok(()) };
        }
        let web = matches!(self.url.scheme(), Scheme::Http | Scheme::Https);
        match Source::open(&self.url, &self.options)?.get_range("repo", 0..1).await {
            Ok(_) | Err(SourceError::Missing { .. }) => Ok(()),
            Err(SourceError::NoRange { .. }) if web => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lock of a local store: Icechunk loses commits silently when two processes write one there. Other
    /// stores have conditional writes and need none.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process holds it.
    pub fn lock(&self) -> Result<Lock> {
        let Some(root) = self.url.local_root() else { return Ok(Lock { _file: None }) };
        let path = lock_path(&root);
        let failed = |source| Error::File { what: "creating", path: path.display().to_string(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: Some(file) }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::Locked { path: root.display().to_string(), lock: path.display().to_string() })
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// As [`Target::lock`], but waits for another process to be done.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process still holds it after `patience`.
    pub async fn lock_within(&self, patience: Duration) -> Result<Lock> {
        let asked = tokio::time::Instant::now();
        let mut told = false;
        loop {
            match self.lock() {
                Err(Error::Locked { path, .. }) if asked.elapsed() < patience => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("another s2ice process is writing {path}: waiting for it");
                    }
                    tokio::time::sleep(LOCK_POLL).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The names of files and folders at the top of the place; none where it is not there.
    ///
    /// # Errors
    /// [`Error::Location`] or [`Error::Icechunk`] where it cannot be listed.
    pub(crate) async fn names(&self) -> Result<Vec<String>> {
        if let Some(root) = self.url.local_root() {
            let failed = |source| Error::File { what: "listing", path: root.display().to_string(), source };
            return match std::fs::read_dir(&root) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(failed(error)),
                Ok(entries) => entries
                    .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()).map_err(failed))
                    .collect(),
            };
        }
        let source = Source::open(&self.url, &self.options)?;
        let prefix = object_store::path::Path::from_iter(self.url.segments().iter().map(String::as_str));
        top(&source, &prefix).await.map_err(|error| Error::Icechunk {
            what: "listing the store",
            url: self.url.to_string(),
            detail: one_line(&error),
        })
    }

    /// Removes what an unfinished first build left: everything below the address. Called only for a place that this
    /// run found empty.
    ///
    /// # Errors
    /// [`Error::Location`] where listing fails, [`Error::Icechunk`] where deleting does.
    pub async fn remove_all(&self) -> Result<()> {
        use futures::{StreamExt, TryStreamExt};
        if let Some(root) = self.url.local_root() {
            let removed = if self.kept { empty(&root) } else { std::fs::remove_dir_all(&root) };
            return match removed {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::File { what: "removing", path: root.display().to_string(), source })
                }
                _ => Ok(()),
            };
        }
        let source = Source::open(&self.url, &self.options)?;
        let prefix = object_store::path::Path::from_iter(self.url.segments().iter().map(String::as_str));
        let store = Arc::clone(source.store());
        let found = store.list(Some(&prefix)).map_ok(|meta| meta.location).boxed();
        store.delete_stream(found).try_for_each(|_| async { Ok(()) }).await.map_err(|error| Error::Icechunk {
            what: "removing an unfinished store",
            url: self.url.to_string(),
            detail: one_line(&error),
        })
    }
}

/// The names at the top of a listing.
async fn top(source: &Source, prefix: &object_store::path::Path) -> object_store::Result<Vec<String>> {
    let listed = source.store().list_with_delimiter(Some(prefix)).await?;
    let paths = listed.common_prefixes.into_iter().chain(listed.objects.into_iter().map(|object| object.location));
    Ok(paths.filter_map(|path| path.filename().map(str::to_owned)).collect())
}

/// Removes what is in a folder, and leaves the folder.
fn empty(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Held while a local store is written. The operating system frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: Option<File>,
}

/// The lock stands beside the store, since Icechunk creates repositories in clean folders only.
fn lock_path(root: &Path) -> PathBuf {
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    root.with_file_name(format!(".{name}.s2ice-lock"))
}

/// S3 settings as Icechunk persists them, without credentials.
pub(crate) fn s3_options(effective: &Effective) -> S3Options {
    let mut options = S3Options::default();
    options.region = effective.region.clone();
    options.endpoint_url = effective.endpoint.clone();
    options.anonymous = effective.anonymous;
    options.allow_http = effective.allow_http;
    options.force_path_style = !effective.virtual_hosted && effective.endpoint.is_some();
    options.requester_pays = effective.request_payer;
    options
}

async fn storage(
    url: &SourceUrl,
    options: &SourceOptions,
) -> std::result::Result<Arc<dyn Storage + Send + Sync>, String> {
    let prefix = (!url.segments().is_empty()).then(|| url.segments().join("/"));
    let text = |error: icechunk::StorageError| one_line(&error);
    if let Some(root) = url.local_root() {
        return new_local_filesystem_storage(&root).await.map_err(text);
    }
    let effective = Source::open(url, options).map_err(|e| e.to_string())?.effective().clone();
    let bucket = url.authority().to_owned();
    match url.scheme() {
        Scheme::S3 => {
            let credentials = s3_credentials(options, &effective);
            let config = s3_options(&effective);
            new_s3_object_store_storage(config, bucket, prefix, Some(credentials), vec![], vec![]).await.map_err(text)
        }
        Scheme::Gcs => {
            let credentials = if effective.anonymous { GcsCredentials::Anonymous } else { GcsCredentials::FromEnv };
            let config = client_config(options, &effective, "base_url");
            new_gcs_storage(bucket, prefix, Some(credentials), Some(config), vec![], vec![]).map_err(text)
        }
        Scheme::Azure => {
            let account = effective.account.clone().ok_or("no account: set AZURE_STORAGE_ACCOUNT_NAME")?;
            let config = client_config(options, &effective, "endpoint");
            new_azure_blob_storage(account, bucket, prefix, None, Some(config)).await.map_err(text)
        }
        Scheme::Http | Scheme::Https => {
            new_http_storage(&url.prefix(), Some(HashMap::from([("allow_http".into(), "true".into())])), None)
                .map_err(text)
        }
        Scheme::Local => Err("a local store without a folder".to_owned()),
    }
}

fn s3_credentials(options: &SourceOptions, effective: &Effective) -> S3Credentials {
    if effective.anonymous {
        return S3Credentials::Anonymous;
    }
    let extra = |name: &str| options.extra.get(&format!("aws_{name}")).or_else(|| options.extra.get(name)).cloned();
    match (extra("access_key_id"), extra("secret_access_key")) {
        (Some(id), Some(secret)) => S3Credentials::Static(S3StaticCredentials {
            access_key_id: id,
            secret_access_key: secret,
            session_token: extra("session_token").or_else(|| extra("token")),
            expires_after: None,
        }),
        _ => S3Credentials::FromEnv,
    }
}

fn client_config(options: &SourceOptions, effective: &Effective, endpoint_key: &str) -> HashMap<String, String> {
    let mut config: HashMap<String, String> = options.extra.clone().into_iter().collect();
    if let Some(endpoint) = &effective.endpoint {
        config.insert(endpoint_key.to_owned(), endpoint.clone());
    }
    if effective.allow_http {
        config.insert("allow_http".to_owned(), "true".to_owned());
    }
    if effective.anonymous {
        config.insert("skip_signature".to_owned(), "true".to_owned());
    }
    config
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("33TVN");
        let url = SourceUrl::parse(path.to_str().unwrap()).unwrap();
        let target = Target::open(url, SourceOptions::default()).await.unwrap();
        let lock = target.lock().unwrap();
        assert!(matches!(target.lock(), Err(Error::Locked { .. })));
        drop(lock);
        target.lock().unwrap();
        assert!(!path.join(".33TVN.s2ice-lock").exists(), "the lock stands beside the store");
    }

    #[tokio::test]
    async fn only_a_folder_that_was_not_there_is_removed_itself() {
        let folder = tempfile::tempdir().unwrap();
        for (name, there) in [("old", true), ("new", false)] {
            let path = folder.path().join(name);
            if there {
                std::fs::create_dir(&path).unwrap();
            }
            let url = SourceUrl::parse(path.to_str().unwrap()).unwrap();
            let target = Target::open(url, SourceOptions::default()).await.unwrap();
            std::fs::create_dir_all(path.join("chunks/a")).unwrap();
            std::fs::write(path.join("repo"), "").unwrap();
            target.remove_all().await.unwrap();
            assert_eq!(path.exists(), there);
            assert!(!path.join("chunks").exists() && !path.join("repo").exists());
        }
    }
}
