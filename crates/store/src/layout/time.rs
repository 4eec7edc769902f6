//! The per-time columns: the axis itself, what every leaf repeats, and the whole table of products.

use s2ice_manifest::assemble::Step;
use s2ice_manifest::manifest::HeaderTrust;

/// Values of a one-dimensional array along `time`.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// 64-bit integers.
    I64(Vec<i64>),
    /// 32-bit unsigned integers.
    U32(Vec<u32>),
    /// 16-bit unsigned integers.
    U16(Vec<u16>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 32-bit floats; NaN where unknown.
    F32(Vec<f32>),
    /// Text; empty where unknown.
    Text(Vec<String>),
}

/// A named column.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeColumn {
    /// Array name.
    pub name: &'static str,
    /// Values by time step.
    pub values: Column,
}

/// The time axis: milliseconds since 1970-01-01.
pub fn axis(steps: &[Step]) -> TimeColumn {
    TimeColumn { name: "time", values: Column::I64(steps.iter().map(|s| s.time_ms).collect()) }
}

/// Small numeric columns that stand in every leaf, since a DataTree hands down indexed coordinates only.
pub fn leaf(steps: &[Step]) -> Vec<TimeColumn> {
    // Percentages need no more than single precision.
    #[allow(clippy::cast_possible_truncation)]
    let cloud = |step: &Step| step.metadata.cloud_cover.map_or(f32::NAN, |percent| percent as f32);
    vec![
        TimeColumn { name: "cloud_cover", values: Column::F32(steps.iter().map(cloud).collect()) },
        TimeColumn {
            name: "relative_orbit",
            values: Column::U16(steps.iter().map(|s| s.id.relative_orbit()).collect()),
        },
        TimeColumn {
            name: "processing_baseline",
            values: Column::U16(steps.iter().map(|s| s.id.baseline().number()).collect()),
        },
    ]
}

/// What a store remembers of each time step beyond the product's own metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepFacts {
    /// When the catalogue last changed the item, RFC 3339.
    pub updated: Option<String>,
    /// How the least certain of the step's main headers is known.
    pub headers: HeaderTrust,
    /// Fingerprint of the index rows that gave the step.
    pub inputs: i64,
    /// True where something of the product was refused: a later run may be able to add it.
    pub partial: bool,
    /// Fingerprint of the rasters as they were referenced.
    pub content: i64,
    /// Bytes that the references of the step stand for.
    pub bytes: u64,
}

/// The columns that stand in the table of products only.
pub fn table(steps: &[Step], facts: &[StepFacts]) -> Vec<TimeColumn> {
    let text = |f: &dyn Fn(&Step) -> String| Column::Text(steps.iter().map(f).collect());
    let fact_text = |f: &dyn Fn(&StepFacts) -> String| Column::Text(facts.iter().map(f).collect());
    let fact = |f: &dyn Fn(&StepFacts) -> i64| Column::I64(facts.iter().map(f).collect());
    vec![
        TimeColumn { name: "product_id", values: text(&|s| s.id.to_string()) },
        TimeColumn { name: "platform", values: text(&|s| s.id.platform()) },
        TimeColumn { name: "datastrip_id", values: text(&|s| s.metadata.datastrip_id.clone().unwrap_or_default()) },
        TimeColumn {
            name: "boa_add_offset",
            values: Column::I32(steps.iter().map(|s| s.metadata.add_offset).collect()),
        },
        TimeColumn {
            name: "sensing_time_us",
            values: Column::I64(steps.iter().map(|s| s.metadata.sensing_time_us).collect()),
        },
        TimeColumn { name: "metadata_source", values: text(&|s| s.metadata.source.to_string()) },
        TimeColumn { name: "source_updated", values: fact_text(&|f| f.updated.clone().unwrap_or_default()) },
        TimeColumn { name: "headers", values: fact_text(&|f| f.headers.name().to_owned()) },
        TimeColumn { name: "referenced_bytes", values: fact(&|f| i64::try_from(f.bytes).unwrap_or(i64::MAX)) },
        TimeColumn { name: "content", values: fact(&|f| f.content) },
        TimeColumn { name: "inputs", values: fact(&|f| f.inputs) },
        TimeColumn { name: "partial", values: Column::U16(facts.iter().map(|f| u16::from(f.partial)).collect()) },
    ]
}
