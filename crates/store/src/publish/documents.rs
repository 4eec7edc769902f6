//! The documents of a publication: which there are, and where.

use bytes::Bytes;
use serde_json::Value;

use super::files::{CATALOG, MAP, TABLE};
use super::ledger::Document;
use super::preview::{self, Preview};
use super::row::Row;
use super::settings::Publishing;
use super::subject::Subject;
use super::{page, stac, table};
use crate::error::{Error, Result};

/// Those of a store, but for its picture.
pub(super) fn of_store(subject: &Subject, preview: &Preview, settings: &Publishing) -> Result<Vec<Document>> {
    let mut documents = vec![page::tile(subject, preview, settings)?];
    for (path, state) in stac::states(subject, settings) {
        documents.push(json(path, &state)?);
    }
    let mut beside: Vec<String> = documents.iter().map(|document| document.path.clone()).collect();
    if let Preview::Made(_) = preview {
        beside.push(preview::path(&subject.id));
    }
    documents.push(json(format!("{}/collection.json", subject.id), &stac::collection(subject, settings, &beside))?);
    Ok(documents)
}

/// Those of a zone.
pub(super) fn of_zone(zone: &str, rows: &[Row], settings: &Publishing) -> Result<Vec<Document>> {
    let catalog = json(format!("zones/{zone}/catalog.json"), &stac::of_zone(zone, rows, settings))?;
    Ok(vec![catalog, page::zone(zone, rows, settings)?])
}

/// Those of the whole publication.
pub(super) fn of_all(rows: &[Row], settings: &Publishing) -> Result<Vec<Document>> {
    let mut documents = vec![
        json(CATALOG.to_owned(), &stac::catalog(rows, settings))?,
        Document { path: TABLE.to_owned(), bytes: table::parquet(rows, settings)? },
        Document { path: MAP.to_owned(), bytes: table::map(rows)? },
        page::front(rows, settings)?,
        page::status(rows, settings)?,
    ];
    documents.extend(page::assets());
    Ok(documents)
}

/// Paths of those of a zone.
pub(super) fn names_of_zone(zone: &str) -> impl Iterator<Item = String> {
    ["catalog.json", "index.html"].into_iter().map(move |name| format!("zones/{zone}/{name}"))
}

/// Paths of those of the whole publication.
pub(super) fn names_of_all() -> impl Iterator<Item = String> {
    let own = [CATALOG, TABLE, MAP, "index.html", "status.html"].into_iter().map(str::to_owned);
    own.chain(page::assets().map(|document| document.path))
}

fn json(path: String, value: &Value) -> Result<Document> {
    let text = serde_json::to_vec(value).map_err(|error| Error::Input(format!("{path}: {error}")))?;
    Ok(Document { path, bytes: Bytes::from(text) })
}
