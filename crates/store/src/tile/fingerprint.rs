//! Fingerprints by which a run recognises what it need not do again.

use std::collections::BTreeSet;

use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::geometry::AngleArray;
use s2ice_manifest::source::mirror::Layout;
use s2ice_manifest::stac::StacItem;
use s2ice_manifest::tlm::IndexRow;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::inputs::{Gathered, Stated};
use super::wanted::Wanted;
use super::{Bearing, BuildSettings};

/// Of a fingerprint, the bits that tell the rows; those above tell the question.
const ROWS: i64 = (1 << 40) - 1;

/// The question to a product: what gives other references from the same rows (container, source, checksums and the like), and
/// which rows are wanted.
#[derive(Debug, Clone)]
pub struct Salt(String);

impl Salt {
    /// `container` and `source` are those that the references get; `resolutions` says which of a product's rows are taken;
    /// `angles` which arrays are made of its XML.
    pub fn new(
        settings: &BuildSettings,
        container: &str,
        source: &str,
        resolutions: Resolutions,
        angles: &BTreeSet<AngleArray>,
    ) -> Self {
        let mut values = settings.bearing_on(Bearing::References);
        let worked_out = [
            ("container", json!(container)),
            ("source", json!(source)),
            ("resolutions", json!(resolutions)),
            ("angles", json!(angles.iter().map(|array| array.name()).collect::<Vec<_>>())),
        ];
        values.extend(worked_out.map(|(name, value)| (name.to_owned(), value)));
        Self(Value::Object(values).to_string())
    }

    /// The same of these rasters, whose paths are made as this layout has them.
    #[must_use]
    pub fn of(mut self, wanted: &Wanted, layout: Option<Layout>) -> Self {
        wanted.assets().for_each(|asset| self.0 += &format!("\n{asset}"));
        self.0 += &format!("\n{layout:?}");
        self
    }

    /// True where a fingerprint is of this question, whatever its rows are.
    pub fn asks_the_same(&self, fingerprint: i64) -> bool {
        (fingerprint ^ self.of_rows(0)) & !ROWS == 0
    }

    /// The fingerprint of rows that hash to a number.
    fn of_rows(&self, hash: i64) -> i64 {
        (Fields::new("question", self).finish() & !ROWS) | (hash & ROWS)
    }
}

/// Fingerprint of a question and the index rows of a product; 0 stands for "ask again".
fn inputs(salt: &Salt, rows: &[IndexRow]) -> i64 {
    let mut rows: Vec<&IndexRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.asset);
    let mut hash = Fields::new("inputs", salt);
    for row in rows {
        hash.text(&row.asset.name());
        hash.text(&row.path);
        hash.bytes(row.index.cell());
        hash.bytes(row.main_header.as_deref().unwrap_or_default());
        hash.text(row.etag.as_deref().unwrap_or_default());
        hash.number(row.last_modified.map_or(i64::MIN, |t| t.timestamp_millis()));
        let nodata = row.nodata.as_deref();
        hash.number(nodata.map_or(-1, |tiles| i64::try_from(tiles.len()).unwrap_or(i64::MAX)));
        nodata.unwrap_or_default().iter().for_each(|tile| hash.number(i64::from(*tile)));
    }
    salt.of_rows(hash.finish())
}

/// Fingerprint of a product: of its rows, and of what its item states where that is all there is.
pub fn of_product(salt: &Salt, product: &Gathered) -> i64 {
    let rows = inputs(salt, &product.rows);
    let Some(Stated { metadata, changed, sizes, .. }) = &product.stated else { return rows };
    let mut hash = Fields::new("item", salt);
    hash.number(rows);
    hash.text(changed.as_deref().unwrap_or_default());
    hash.number(metadata.sensing_time_us);
    hash.text(metadata.datastrip_id.as_deref().unwrap_or_default());
    hash.number(metadata.add_offset.into());
    hash.text(&metadata.quantification.to_string());
    hash.text(&metadata.cloud_cover.map(|percent| percent.to_string()).unwrap_or_default());
    for (asset, size) in sizes {
        hash.text(&asset.name());
        hash.text(&size.to_string());
    }
    salt.of_rows(hash.finish())
}

/// Fingerprint of what an item says of its product, and of when it last changed.
pub fn of_item(item: &StacItem) -> i64 {
    let mut hash = Fields(Sha256::new());
    hash.text(&format!("{:?}", item.collection));
    hash.text(&format!("{:?}", item.changed()));
    hash.text(&format!("{:?}", item.datetime));
    hash.text(&format!("{:?}", item.cloud_cover));
    hash.text(&format!("{:?}", item.datastrip_id));
    hash.finish()
}

/// SHA-256, hexadecimal, of the settings that change something.
pub fn of_settings(settings: &BuildSettings, what: Bearing) -> String {
    let mut hash = Fields(Sha256::new());
    hash.settings(settings, what);
    hash.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first bytes of that hash as a number.
pub fn number_of_settings(settings: &BuildSettings, what: Bearing) -> i64 {
    let mut hash = Fields(Sha256::new());
    hash.settings(settings, what);
    hash.finish()
}

/// Hashes fields so that no two lists of them run together.
struct Fields(Sha256);

impl Fields {
    fn new(kind: &str, salt: &Salt) -> Self {
        let mut fields = Self(Sha256::new());
        fields.text(kind);
        fields.text(&salt.0);
        fields
    }

    fn settings(&mut self, settings: &BuildSettings, what: Bearing) {
        self.text(&Value::Object(settings.bearing_on(what)).to_string());
        match what {
            Bearing::Outcome => self.text(&settings.occasion.writer),
            Bearing::Refusals => self.text(&format!("{:?}", settings.source_options.layout)),
            Bearing::Question | Bearing::References => {}
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.0.update(number.to_le_bytes());
    }

    fn finish(self) -> i64 {
        let digest = self.0.finalize();
        let number = digest.first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes));
        if number == 0 { 1 } else { number }
    }
}
