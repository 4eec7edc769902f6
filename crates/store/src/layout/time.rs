//! The per-time columns: the axis itself, what every leaf repeats, and the whole table at the root.

use s2ice_manifest::assemble::Step;

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

/// The columns that stand at the root only.
pub fn root(steps: &[Step], updated: &[Option<String>]) -> Vec<TimeColumn> {
    let text = |f: &dyn Fn(&Step) -> String| Column::Text(steps.iter().map(f).collect());
    let updated = (0..steps.len()).map(|i| updated.get(i).cloned().flatten().unwrap_or_default()).collect();
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
        TimeColumn { name: "source_updated", values: Column::Text(updated) },
        TimeColumn { name: "metadata_source", values: text(&|s| s.metadata.source.to_string()) },
    ]
}
