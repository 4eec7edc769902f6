//! Where a store is written: the Icechunk storage behind an address, and the lock that local stores need.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use icechunk::Storage;
use icechunk::config::{GcsCredentials, S3Credentials, S3Options, S3StaticCredentials};
use icechunk::storage::{
    new_azure_blob_storage, new_gcs_storage, new_http_storage, new_local_filesystem_storage,
    new_s3_object_store_storage,
};
use s2ice_manifest::source::location::credentials::ClientSettings;
use s2ice_manifest::source::location::{Effective, Heard, Scheme, Source, SourceError, SourceOptions, SourceUrl};

use crate::clock::StoreClock;
use crate::error::{Error, Result, one_line};

/// How often the lock of another process is looked at.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The folder beside a repository in which s2ice keeps files of its own. Icechunk knows no such name.
const BESIDE: &str = "s2ice";

/// Those files.
pub(crate) const OWN_FILES: [&str; 2] = ["s2ice/last-run.json", "s2ice/memory.parquet"];

/// An address at which a store is or shall be.
pub struct Target {
    url: SourceUrl,
    options: SourceOptions,
    storage: Arc<dyn Storage + Send + Sync>,
    /// What was in a local folder before: it is the operator's, whatever becomes of the store in it. `None` where there was
    /// no folder.
    before: Option<BTreeSet<OsString>>,
    /// The time that the place told when it was first asked.
    heard: OnceLock<Heard>,
}

impl Target {
    /// Opens the storage; nothing is read or written yet.
    ///
    /// # Errors
    /// [`Error::Location`] for an address or options that cannot be used, [`Error::Icechunk`] where the client cannot
    /// be made.
    pub async fn open(url: SourceUrl, options: SourceOptions) -> Result<Self> {
        let before = url.local_root().and_then(|root| contents(&root).ok());
        let storage = storage(&url, &options).await.map_err(|detail| Error::Icechunk {
            what: "opening the storage",
            url: url.to_string(),
            detail,
        })?;
        Ok(Self { url, options, storage, before, heard: OnceLock::new() })
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

    /// The clock of the place beside this host's: that of its service since [`Target::probe`], that of its file system since
    /// [`Target::lock`], the host's before.
    pub fn clock(&self, host: fn() -> DateTime<Utc>) -> StoreClock {
        StoreClock::new(self.heard.get().copied(), host)
    }

    /// Takes over what another answer of the same place told of its clock: it need not be asked for that any more.
    pub(crate) fn hear(&self, heard: Option<Heard>) {
        if let Some(heard) = heard {
            self.heard.get_or_init(|| heard);
        }
    }

    /// Asks a remote place for the file that every repository has, so that a wrong endpoint, bucket or credentials are
    /// told in the words of [`SourceError`] and not in Icechunk's, and its clock is known. That there is no such file is no
    /// error. A place that has answered is not asked again.
    ///
    /// # Errors
    /// [`Error::Location`]; [`Error::Occupied`] where a local place is a file.
    pub async fn probe(&self) -> Result<()> {
        if let Some(root) = self.url.local_root() {
            return if root.is_file() { Err(Error::Occupied { url: self.url.to_string() }) } else { Ok(()) };
        }
        if self.heard.get().is_some() {
            return Ok(());
        }
        let web = matches!(self.url.scheme(), Scheme::Http | Scheme::Https);
        let source = Source::open(&self.url, &self.options)?;
        match source.get_range("repo", 0..1).await {
            Ok(_) | Err(SourceError::Missing { .. }) => {}
            Err(SourceError::NoRange { .. }) if web => {}
            Err(error) => return Err(error.into()),
        }
        self.hear(source.stats().heard());
        Ok(())
    }

    /// Takes the lock of a local store: Icechunk loses commits silently when two processes write one there. Other
    /// stores have conditional writes and need none.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process holds it.
    pub fn lock(&self) -> Result<Lock> {
        let Some(root) = self.url.local_root() else { return Ok(Lock { _file: None }) };
        let (lock, heard) = Lock::beside(&root)?;
        self.heard.get_or_init(|| heard);
        Ok(lock)
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

    /// Paths and sizes, bytes, of files below the place, `most` at the most; none where it is not there.
    ///
    /// # Errors
    /// [`Error::Location`] or [`Error::Icechunk`] where it cannot be listed.
    pub(crate) async fn files(&self, most: usize) -> Result<Vec<(String, u64)>> {
        use futures::{StreamExt, TryStreamExt};
        if self.url.local_root().is_some_and(|root| !root.is_dir()) {
            return Ok(Vec::new());
        }
        let source = Source::open(&self.url, &self.options)?;
        let prefix = object_store::path::Path::from_iter(self.url.segments().iter().map(String::as_str));
        let prefix = if self.url.local_root().is_some() { object_store::path::Path::default() } else { prefix };
        let listed = source.store().list(Some(&prefix)).take(most).map_ok(|meta| (meta.location, meta.size));
        let found: Vec<(object_store::path::Path, u64)> = listed.try_collect().await.map_err(|error| {
            Error::Icechunk { what: "listing the store", url: self.url.to_string(), detail: one_line(&error) }
        })?;
        let below = |(path, size): &(object_store::path::Path, u64)| {
            let parts: Vec<_> = path.prefix_match(&prefix)?.map(|part| part.as_ref().to_owned()).collect();
            // Some programs make an object for the folder itself.
            (!parts.is_empty()).then(|| (parts.join("/"), *size))
        };
        Ok(found.iter().filter_map(below).collect())
    }

    /// Removes what an unfinished first build made in a local folder, and nothing that was there before, nor what it has
    /// learned of the source. Other places are
    /// left as they are: what stands there may be another run's.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remove_made(&self) -> Result<()> {
        let Some(root) = self.url.local_root() else { return Ok(()) };
        let removed = match &self.before {
            None if !root.join(BESIDE).exists() => std::fs::remove_dir_all(&root),
            None => remove_new(&root, &BTreeSet::new()),
            Some(before) => remove_new(&root, before),
        };
        match removed {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::File { what: "removing", path: root.display().to_string(), source })
            }
            _ => Ok(()),
        }
    }
}

/// Names of what is in a folder.
fn contents(folder: &Path) -> std::io::Result<BTreeSet<OsString>> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Removes what is in a folder, except what was there before and what is remembered of the source.
fn remove_new(folder: &Path, before: &BTreeSet<OsString>) -> std::io::Result<()> {
    let now = contents(folder)?;
    let new = now.difference(before).filter(|name| *name != BESIDE);
    new.map(|name| folder.join(name)).try_for_each(|path| remove(&path))
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.symlink_metadata()?.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
}

/// The time that a file system gives: that of a change of the lock file. It may be another host's.
fn touch(mut file: &File) -> std::io::Result<Heard> {
    let at = Instant::now();
    file.rewind()?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    Ok(Heard { time: file.metadata()?.modified()?.into(), at })
}

/// Held while a local store is written. The operating system frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: Option<File>,
}

impl Lock {
    /// Takes the lock of a folder; tells the time of its file system.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process holds it.
    pub(crate) fn beside(root: &Path) -> Result<(Self, Heard)> {
        let path = lock_path(root);
        let failed = |source| Error::File { what: "creating", path: path.display().to_string(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                let heard = touch(&file).map_err(failed)?;
                Ok((Self { _file: Some(file) }, heard))
            }
            Err(TryLockError::WouldBlock) => {
                Err(Error::Locked { path: root.display().to_string(), lock: path.display().to_string() })
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
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
            let credentials = s3_credentials(options, &effective)?;
            let config = s3_options(&effective);
            new_s3_object_store_storage(config, bucket, prefix, Some(credentials), vec![], vec![]).await.map_err(text)
        }
        Scheme::Gcs => {
            let credentials = if effective.anonymous { GcsCredentials::Anonymous } else { GcsCredentials::FromEnv };
            let config = client_config(options, url.scheme(), &effective, "base_url")?;
            new_gcs_storage(bucket, prefix, Some(credentials), Some(config), vec![], vec![]).map_err(text)
        }
        Scheme::Azure => {
            let account = effective.account.clone().ok_or("no account: set AZURE_STORAGE_ACCOUNT_NAME")?;
            let config = client_config(options, url.scheme(), &effective, "endpoint")?;
            new_azure_blob_storage(account, bucket, prefix, None, Some(config)).await.map_err(text)
        }
        Scheme::Http | Scheme::Https => {
            // Icechunk puts a slash behind it; buckets take two for another key.
            new_http_storage(&url.bare(), Some(HashMap::from([("allow_http".into(), "true".into())])), None)
                .map_err(text)
        }
        Scheme::Local => Err("a local store without a folder".to_owned()),
    }
}

/// What a bucket is reached with; one sentence where that cannot be told.
pub(crate) fn s3_credentials(
    options: &SourceOptions,
    effective: &Effective,
) -> std::result::Result<S3Credentials, String> {
    if effective.anonymous {
        return Ok(S3Credentials::Anonymous);
    }
    if options.instance_role && std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        // Icechunk's client looks there first.
        return Err(
            "the instance-role of a store cannot be used while the environment has AWS_ACCESS_KEY_ID: give other \
                    places keys of their own, by profile or ${NAME}"
                .to_owned(),
        );
    }
    let ClientSettings { from_environment, settings } = options.client(Scheme::S3)?;
    let setting = |name: &str| settings.get(&format!("aws_{name}")).or_else(|| settings.get(name)).cloned();
    match (setting("access_key_id"), setting("secret_access_key")) {
        (Some(id), Some(secret)) => Ok(S3Credentials::Static(S3StaticCredentials {
            access_key_id: id,
            secret_access_key: secret,
            session_token: setting("session_token").or_else(|| setting("token")),
            expires_after: None,
        })),
        _ if from_environment || options.instance_role => Ok(S3Credentials::FromEnv),
        _ => Err("the store's own keys need both aws_access_key_id and aws_secret_access_key".to_owned()),
    }
}

fn client_config(
    options: &SourceOptions,
    scheme: Scheme,
    effective: &Effective,
    endpoint_key: &str,
) -> std::result::Result<HashMap<String, String>, String> {
    let mut config: HashMap<String, String> = options.client(scheme)?.settings.into_iter().collect();
    if let Some(endpoint) = &effective.endpoint {
        config.insert(endpoint_key.to_owned(), endpoint.clone());
    }
    if effective.allow_http {
        config.insert("allow_http".to_owned(), "true".to_owned());
    }
    if effective.anonymous {
        config.insert("skip_signature".to_owned(), "true".to_owned());
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::TimeDelta;

    use super::*;

    #[tokio::test]
    async fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("33TVN");
        let url = SourceUrl::parse(path.to_str().unwrap()).unwrap();
        let target = Target::open(url, SourceOptions::default()).await.unwrap();
        let lock = target.lock().unwrap();
        assert!(target.clock(Utc::now).skew().abs() < TimeDelta::seconds(5), "this file system has this host's clock");
        assert!(matches!(target.lock(), Err(Error::Locked { .. })));
        drop(lock);
        target.lock().unwrap();
        assert!(!path.join(".33TVN.s2ice-lock").exists(), "the lock stands beside the store");
    }

    #[tokio::test]
    async fn only_what_was_not_there_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        // Names that a repository has too are the operator's as well, where they were there before.
        for (name, there) in [("old", vec!["notes", "s2ice/mine.txt", "config.yaml", "chunks/x"]), ("new", vec![])] {
            let path = folder.path().join(name);
            for file in &there {
                std::fs::create_dir_all(path.join(file).parent().unwrap()).unwrap();
                std::fs::write(path.join(file), "mine").unwrap();
            }
            let url = SourceUrl::parse(path.to_str().unwrap()).unwrap();
            let target = Target::open(url, SourceOptions::default()).await.unwrap();
            std::fs::create_dir_all(path.join("snapshots/a")).unwrap();
            std::fs::write(path.join("repo"), "").unwrap();
            target.remove_made().unwrap();
            assert_eq!(path.exists(), !there.is_empty());
            assert!(!path.join("snapshots").exists() && !path.join("repo").exists());
            for file in &there {
                assert_eq!(std::fs::read_to_string(path.join(file)).unwrap(), "mine", "{file}");
            }
        }
    }
}
