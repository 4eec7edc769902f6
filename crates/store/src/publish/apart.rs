//! Stores lie apart from what a publication writes: each would take the files of the other for its own.

use futures::StreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::source::location::{Source, SourceOptions, SourceUrl};

use super::subject::name;
use crate::error::{Error, Result};

/// Folders of a publication that belong to no store.
const FOLDERS: [&str; 2] = ["assets", "zones"];

/// Refuses a publication that lies in a store, and a store that lies where the publication writes.
///
/// # Errors
/// [`Error::Request`].
pub(super) fn apart(store: &SourceUrl, place: &SourceUrl) -> Result<()> {
    if (store.scheme(), store.authority()) != (place.scheme(), place.authority()) {
        return Ok(());
    }
    if place.segments().starts_with(store.segments()) {
        return Err(Error::Request(format!(
            "{place} lies in the store {store}, among whose files nothing is published: name another place"
        )));
    }
    match store.segments().strip_prefix(place.segments()) {
        Some([id, copy]) if is_name(id) && copy == "store" => Err(Error::Request(format!(
            "{store} is where {place} has its copy of a store: name the store itself, or publish in another place"
        ))),
        Some([first, ..]) if is_name(first) || FOLDERS.contains(&first.as_str()) => Err(Error::Request(format!(
            "the store {store} lies where {place} has documents, in its folder {first}: publish in another place"
        ))),
        _ => Ok(()),
    }
}

/// Refuses the place of a copy that lies in its original or around it, as a link may lead there.
///
/// # Errors
/// [`Error::Request`].
pub(super) fn beside(store: &SourceUrl, copy: &SourceUrl) -> Result<()> {
    let is_same = (store.scheme(), store.authority()) == (copy.scheme(), copy.authority());
    let (own, other) = (store.segments(), copy.segments());
    if is_same && (own.starts_with(other) || other.starts_with(own)) {
        return Err(Error::Request(format!(
            "{copy}, where {store} is copied to, is not apart from it: name another place"
        )));
    }
    Ok(())
}

/// Refuses a place that is a store or lies in one, also where that store is not named.
///
/// # Errors
/// [`Error::Request`].
pub(super) async fn is_in_no_store(place: &SourceUrl, options: &SourceOptions) -> Result<()> {
    let refused = |store: String| {
        Error::Request(format!(
            "{store} is an Icechunk repository, among whose files nothing is published: name another place"
        ))
    };
    if let Some(root) = place.local_root() {
        let is_store = |folder: &&std::path::Path| folder.join("repo").is_file() && folder.join("snapshots").is_dir();
        return root.ancestors().find(is_store).map_or(Ok(()), |store| Err(refused(store.display().to_string())));
    }
    let source = Source::open(place, options)?;
    for depth in 0..=place.segments().len() {
        let folder = place.segments().iter().take(depth).map(String::as_str);
        let (repo, snapshots) =
            (Path::from_iter(folder.clone().chain(["repo"])), Path::from_iter(folder.chain(["snapshots"])));
        match source.store().head(&repo).await {
            Ok(_) if source.store().list(Some(&snapshots)).next().await.is_some_and(|found| found.is_ok()) => {
                return Err(refused(format!(
                    "the folder of {repo} in {}://{}",
                    place.scheme().name(),
                    place.authority()
                )));
            }
            // Keys may be for the place alone.
            Ok(_) | Err(object_store::Error::NotFound { .. } | object_store::Error::PermissionDenied { .. }) => {}
            // What is wrong with the place is told when it is read.
            Err(_) => break,
        }
    }
    Ok(())
}

/// True for a folder that a publication has of a store.
fn is_name(folder: &str) -> bool {
    let parsed = folder.split_once('-').and_then(|(tile, level)| {
        let (tile, level): (MgrsTile, Level) = (tile.parse().ok()?, level.parse().ok()?);
        Some(name(tile, level))
    });
    parsed.as_deref() == Some(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn copies_lie_beside_and_places_in_no_store() {
        let parse = |text: &str| SourceUrl::parse(text).unwrap();
        for (store, copy, is_beside) in [
            ("/no/s", "/no/p", true),
            ("/no/s", "/no/s/store", false),
            ("/no/p/s", "/no/p", false),
            ("s3://a", "/a", true),
        ] {
            assert_eq!(beside(&parse(store), &parse(copy)).is_ok(), is_beside, "{store} {copy}");
        }
        let store = crate::housekeeping::testing::Store::new(crate::options::Spec::V2).await;
        let root = store.folder.path();
        for (place, is_free) in [("p", true), ("33TVN", false), ("33TVN/refs/p", false)] {
            let place = parse(root.join(place).to_str().unwrap());
            assert_eq!(is_in_no_store(&place, &SourceOptions::default()).await.is_ok(), is_free, "{place}");
        }
    }

    #[test]
    fn stores_and_publications_lie_apart() {
        let told = |store: &str, place: &str| {
            let parse = |text: &str| SourceUrl::parse(text).unwrap();
            apart(&parse(store), &parse(place)).map_err(|error| error.to_string())
        };
        for (store, place, reason) in [
            ("/no/s", "/no/s", "lies in the store"),
            ("/no/s", "/no/s/refs/public", "lies in the store"),
            ("s3://b", "s3://b/public", "lies in the store"),
            ("/no/p/33TVN-L2A", "/no/p", "in its folder 33TVN-L2A"),
            ("/no/p/zones/33", "/no/p", "in its folder zones"),
            ("/no/p/33TVN-L2A/states", "/no/p", "in its folder 33TVN-L2A"),
            ("s3://b/p/33TVN-L2A/store", "s3://b/p", "has its copy of a store"),
        ] {
            let refused = told(store, place).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
        for (store, place) in [
            ("/no/p/stores/33TVN-L2A", "/no/p"),
            ("/no/p/33TVN", "/no/p"),
            ("/no/public", "/no/p"),
            ("s3://a/33TVN-L2A", "s3://b"),
            ("/b/33TVN-L2A", "s3://b"),
        ] {
            assert_eq!(told(store, place), Ok(()), "{store} {place}");
        }
    }
}
