//! Which state of a file lies at an address, without reading it: of index files by one request each, of a product's files
//! by one listing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::location::{Listed, Source, SourceError, SourceOptions, SourceUrl};

/// Most files in the folder of a product; 123 is the most seen.
const MAX_FILES: usize = 4096;

/// The state of an index file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexVersion {
    /// Its address, behind that of the service where several have buckets of one name. Without credentials or a query:
    /// addresses with such are refused.
    pub address: String,
    /// Its size, bytes.
    pub size: u64,
    /// Its ETag; of a local file its inode, modification time and size.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
    /// Its modification time, to the nanosecond where the file is local.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_modified: Option<DateTime<Utc>>,
}

impl IndexVersion {
    /// True where both are one state of one file for certain: a server that tells neither ETag nor time is to be read.
    #[must_use]
    pub fn is_the_same_as(&self, other: &Self) -> bool {
        self == other && (self.etag.is_some() || self.last_modified.is_some())
    }
}

/// The states of index files, in the order of their locations: a request each. To be asked before the files are read, so
/// that one that is replaced meanwhile is read again the next time.
///
/// # Errors
/// [`SourceError`].
pub async fn index_versions(locations: &[String], options: &SourceOptions) -> Result<Vec<IndexVersion>, SourceError> {
    let asked: Vec<_> = locations.iter().map(|location| index_version(location, options).boxed()).collect();
    futures::stream::iter(asked).buffered(options.at_once()).try_collect().await
}

async fn index_version(location: &str, options: &SourceOptions) -> Result<IndexVersion, SourceError> {
    let (url, name) = SourceUrl::parse_file(location)?;
    let source = Source::open(&url, options)?;
    let Listed { size, etag, last_modified, .. } = source.stat(&name).await?;
    Ok(IndexVersion { address: source.cache_key(&name)?, size, etag, last_modified })
}

/// The states of files of one product by their paths, from one listing of the folder that they share, or a request each where
/// the server has no listings; files that are not there are not in it. `None` where they share no folder but the whole
/// source.
///
/// # Errors
/// [`SourceError`].
pub async fn product_versions(
    source: &Source,
    paths: &[&str],
) -> Result<Option<BTreeMap<String, Listed>>, SourceError> {
    if shared_folder(paths).is_none() {
        return Ok(None);
    }
    match listed_versions(source, paths).await? {
        Some(listed) => Ok(Some(listed)),
        None => Ok(Some(named(paths, one_by_one(source, paths).await?))),
    }
}

/// As [`product_versions`], from the listing alone: `None` where the source has none, too.
///
/// # Errors
/// [`SourceError`].
pub async fn listed_versions(source: &Source, paths: &[&str]) -> Result<Option<BTreeMap<String, Listed>>, SourceError> {
    let Some(folder) = shared_folder(paths) else { return Ok(None) };
    let wanted: BTreeSet<&str> = paths.iter().map(|path| plain(path)).collect();
    match source.list_where(&folder, MAX_FILES, |path| wanted.contains(plain(path))).await {
        Err(SourceError::CannotList { .. }) => Ok(None),
        // Some servers know no folders, and say that there is none.
        Ok(listed) if listed.is_empty() && source.url().scheme().is_web() => Ok(None),
        listed => Ok(Some(named(paths, listed?))),
    }
}

fn plain(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// Files by the paths that were asked for.
fn named(paths: &[&str], files: Vec<Listed>) -> BTreeMap<String, Listed> {
    let wanted: BTreeMap<&str, &str> = paths.iter().map(|path| (plain(path), *path)).collect();
    let of = |file: Listed| Some(((*wanted.get(plain(&file.path))?).to_owned(), file));
    files.into_iter().filter_map(of).collect()
}

async fn one_by_one(source: &Source, paths: &[&str]) -> Result<Vec<Listed>, SourceError> {
    let asked: Vec<_> = paths.iter().map(|path| source.stat(path).boxed()).collect();
    let mut answers = futures::stream::iter(asked).buffered(paths.len().max(1));
    let mut out = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Err(SourceError::Missing { .. }) => {}
            answer => out.push(answer?),
        }
    }
    Ok(out)
}

/// The longest folder in which all paths lie.
fn shared_folder(paths: &[&str]) -> Option<String> {
    let folders = |path: &str| -> Vec<String> {
        let (folder, _) = path.trim_start_matches('/').rsplit_once('/').unwrap_or_default();
        folder.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let mut shared = folders(paths.first()?);
    for path in paths {
        let same = shared.iter().zip(folders(path)).take_while(|(mine, other)| **mine == *other).count();
        shared.truncate(same);
    }
    (!shared.is_empty()).then(|| shared.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn local(folder: &std::path::Path) -> Source {
        Source::open(&SourceUrl::parse(folder.to_str().unwrap()).unwrap(), &SourceOptions::default()).unwrap()
    }

    #[tokio::test]
    async fn another_file_is_another_version_even_of_the_same_size_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let (file, new) = (folder.path().join("a b.parquet"), folder.path().join("new"));
        std::fs::write(&file, b"one").unwrap();
        let location = [file.to_str().unwrap().to_owned()];
        let version = async || index_versions(&location, &SourceOptions::default()).await.unwrap().remove(0);
        let first = version().await;
        assert!(first.address.ends_with("/a%20b.parquet") && first.size == 3, "{first:?}");
        assert!(first.is_the_same_as(&version().await));
        let text = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<IndexVersion>(&text).unwrap(), first);

        let time = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::write(&new, b"two").unwrap();
        std::fs::File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
        std::fs::rename(&new, &file).unwrap();
        let replaced = version().await;
        assert_eq!((replaced.size, replaced.last_modified), (first.size, first.last_modified));
        assert!(!first.is_the_same_as(&replaced));
        // An older file is another one too.
        std::fs::write(&new, b"two").unwrap();
        let older = time - std::time::Duration::from_secs(1000);
        std::fs::File::options().write(true).open(&new).unwrap().set_modified(older).unwrap();
        std::fs::rename(&new, &file).unwrap();
        assert!(!replaced.is_the_same_as(&version().await));
        // A server that tells nothing is not believed.
        let silent = IndexVersion { etag: None, last_modified: None, ..first };
        assert!(!silent.is_the_same_as(&silent));
        std::fs::remove_file(&file).unwrap();
        assert!(index_versions(&location, &SourceOptions::default()).await.unwrap_err().is_missing());
    }

    #[tokio::test]
    async fn no_secret_is_kept_or_shown() {
        for location in
            ["https://user:secret@h/a.parquet", "https://h/a.parquet?X-Amz-Signature=secret", "s3://k:secret@b/a"]
        {
            let error = index_versions(&[location.to_owned()], &SourceOptions::default()).await.unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn one_listing_tells_the_states_of_a_products_files() {
        let folder = tempfile::tempdir().unwrap();
        let paths =
            ["/x/P.SAFE/GRANULE/g/a.jp2", "x/P.SAFE/GRANULE/g/R10m/b.jp2", "/x/P.SAFE/MTD.xml", "/x/P.SAFE/gone.jp2"];
        for path in paths.iter().take(3).chain(&["x/Q.SAFE/a.jp2"]) {
            let file = folder.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, path).unwrap();
        }
        let source = local(folder.path());
        let found = product_versions(&source, &paths).await.unwrap().unwrap();
        assert_eq!(source.stats().requests(), 1);
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), [paths[0], paths[2], paths[1]]);
        let fetched = source.get_range(paths[0], 0..1).await.unwrap();
        let listed = &found[paths[0]];
        assert_eq!(
            (listed.size, &listed.etag, listed.last_modified),
            (fetched.size, &fetched.etag, fetched.last_modified)
        );
        assert_eq!(product_versions(&source, &["/a.jp2", "/x/b.jp2"]).await.unwrap(), None);
        assert_eq!(product_versions(&source, &[]).await.unwrap(), None);
    }
}
