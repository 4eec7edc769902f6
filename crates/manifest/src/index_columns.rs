//! The columns of an index table: the one place where they are named and described.

use serde_json::{Value, json};

/// Arrow type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// `utf8`.
    Utf8,
    /// `binary`.
    Binary,
    /// `uint16`.
    UInt16,
    /// `timestamp[ms, UTC]`.
    TimestampMs,
    /// `list<uint32>` with nullable items.
    ListUInt32,
}

impl ColumnKind {
    /// As Arrow's documentation writes it.
    #[must_use]
    pub fn arrow_name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
            Self::UInt16 => "uint16",
            Self::TimestampMs => "timestamp[ms, UTC]",
            Self::ListUInt32 => "list<uint32>",
        }
    }
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// Type as written; readers take wider relatives too (large, view, dictionary).
    pub kind: ColumnKind,
    /// True for the four of the public layout, which every index must have; ours may be absent or null.
    pub public: bool,
    /// What it holds.
    pub meaning: &'static str,
}

macro_rules! columns {
    ($($constant:ident $name:literal $kind:ident $public:literal $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $constant: &str = $name;)*
        /// All columns in the order in which they are written.
        pub const COLUMNS: &[Column] = &[
            $(Column { name: $name, kind: ColumnKind::$kind, public: $public, meaning: $meaning },)*
        ];
    };
}

columns! {
    PRODUCT_ID "product_id" Utf8 true "Product name without `.SAFE`.";
    BAND_ID "band_id" Utf8 true "Band without a resolution (`B02`, `B8A`, `SCL`, `TCI`); of a mask, its asset.";
    PATH "path" Utf8 true "Path of the JP2 file: its address is the source's plus this without its leading slash.";
    INDEX "index" Binary true
        "Big-endian u64 file size, u64 offset of the first SOT, u32 length of the rest, TLM segments; empty: the file carries its own TLM.";
    ASSET "asset" Utf8 false
        "Which raster of the product: `B02_20m`, `SCL_20m`, `MSK_DETFOO_B02`, `MSK_CLDPRB_20m`.";
    RESOLUTION "resolution" UInt16 false "Pixel size in metres.";
    MAIN_HEADER "main_header" Binary false "The codestream from SOC to the byte in front of the first SOT.";
    ETAG "etag" Utf8 false "ETag of the response that gave the main header.";
    LAST_MODIFIED "last_modified" TimestampMs false "Last-Modified of that response.";
    NODATA "nodata" ListUInt32 false
        "Tiles in raster order that were decoded and hold nothing but 0; null where none was looked at.";
}

/// JSON Schema of a row, with binary as base64; `x-arrow-type` gives the type in the Parquet file.
#[must_use]
pub fn index_schema() -> Value {
    let mut properties = serde_json::Map::new();
    for column in COLUMNS {
        let base = match column.kind {
            ColumnKind::Utf8 => json!({"type": "string"}),
            ColumnKind::Binary => json!({"type": "string", "contentEncoding": "base64"}),
            ColumnKind::UInt16 => json!({"type": "integer", "minimum": 0, "maximum": 65535}),
            ColumnKind::TimestampMs => json!({"type": "string", "format": "date-time"}),
            ColumnKind::ListUInt32 => {
                json!({"type": "array", "items": {"type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX}})
            }
        };
        let mut property = base.as_object().cloned().unwrap_or_default();
        if !column.public
            && let Some(kind) = property.get("type").cloned()
        {
            property.insert("type".to_owned(), json!([kind, "null"]));
        }
        property.insert("description".to_owned(), json!(column.meaning));
        property.insert("x-arrow-type".to_owned(), json!(column.kind.arrow_name()));
        properties.insert(column.name.to_owned(), Value::Object(property));
    }
    let required: Vec<&str> = COLUMNS.iter().filter(|c| c.public).map(|c| c.name).collect();
    sorted(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "TLM index row",
        "description": "One raster file of one Sentinel-2 product. Columns beyond the required four are s2ice's own and ignored by public readers.",
        "type": "object",
        "properties": properties,
        "required": required,
    }))
}

/// Objects with their keys in order, whether or not some crate asks serde_json to keep the order of insertion.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(String, Value)> = object.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// `schemas/index.schema.json` is written by the command from [`index_schema`], with an `$id` of its own.
    #[test]
    fn the_schema_on_disk_is_this_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/index.schema.json");
        let mut found: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        found.as_object_mut().unwrap().remove("$id");
        assert_eq!(found, index_schema(), "renew the file: make schemas");
    }

    #[test]
    fn the_guide_describes_every_column() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats/index.md");
        let guide = std::fs::read_to_string(path).unwrap_or_default();
        for column in COLUMNS {
            let row = format!("| `{}` | {} |", column.name, column.kind.arrow_name());
            assert!(guide.contains(&row), "docs/formats/index.md lacks the row {row}");
        }
    }
}
