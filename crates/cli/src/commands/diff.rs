//! `s2ice diff`: whether a reader can tell two stores, or two states of one, apart.

use s2ice_store::diff::DiffOptions;
use s2ice_store::diff::report::{
    ChunkDifference, ColumnDifference, DiffReport, DiffSide, MetadataDifference, NodeDifference, NodeKind, OnlyIn,
    ProductDifference, ReferenceDifference, ReferenceValue,
};
use serde_json::Value;

use super::{store, summarise};
use crate::args::{DiffArgs, Global};
use crate::clock;
use crate::exit::Failure;
use s2ice_fleet::text;

/// Entries of one kind that are printed; the JSON report has all.
const SHOWN: usize = 10;

/// Characters of a value that are printed.
const VALUE_LENGTH: usize = 60;

/// Runs the command.
pub async fn run(args: DiffArgs, global: &Global) -> Result<(), Failure> {
    let left = store(&args.left, &args.store_options).await?;
    let right = store(&args.right, &args.store_options).await?;
    let options = DiffOptions {
        ignore_sources: args.ignore_sources,
        ignore_checksums: args.ignore_checksums,
        left_at: args.left_at,
        right_at: args.right_at,
    };
    let report = s2ice_store::diff::diff(&left, &right, &options).await?;
    for target in [&left, &right] {
        target.clock(clock::now).warn(target.url());
    }
    summarise(&report, global, render)?;
    if report.is_same() { Ok(()) } else { Err(Failure::Told) }
}

fn render(report: &DiffReport) -> String {
    let mut out = text::table(&[side("left", &report.left), side("right", &report.right)], &[]);
    let products = |only: fn(&ProductDifference) -> bool| report.products.iter().filter(move |p| only(p));
    section(&mut out, "products only left", products(|p| p.right.is_none()), product);
    section(&mut out, "products only right", products(|p| p.left.is_none()), product);
    section(&mut out, "products at other times", products(|p| p.left.is_some() && p.right.is_some()), product);
    let nodes = |only: OnlyIn| report.nodes.iter().filter(move |node| node.only_in == only);
    section(&mut out, "arrays and groups only left", nodes(OnlyIn::Left), node);
    section(&mut out, "arrays and groups only right", nodes(OnlyIn::Right), node);
    let differing = report.metadata.iter().filter(|_| !is_of_another_tile(report));
    section(&mut out, "metadata", differing, metadata);
    section(&mut out, "values", report.columns.iter(), column);
    section(&mut out, "references", report.references.iter(), references);
    let ending = if report.is_same() {
        "the same".to_owned()
    } else if is_of_another_tile(report) {
        "stores of different tiles or levels: nothing else was compared".to_owned()
    } else {
        text::count(report.differences, "difference")
    };
    out + "\n" + &ending + "\n"
}

fn is_of_another_tile(DiffReport { left, right, .. }: &DiffReport) -> bool {
    (&left.tile, &left.level) != (&right.tile, &right.level)
}

fn side(name: &str, side: &DiffSide) -> Vec<String> {
    let DiffSide { store, snapshot, tile, level, times, arrays } = side;
    let held = format!("{}, {}", text::count(*times, "time"), text::count(*arrays, "array"));
    vec![name.to_owned(), format!("{level} of {tile}"), store.clone(), format!("at {snapshot}"), held]
}

fn section<'a, T: 'a>(out: &mut String, title: &str, entries: impl Iterator<Item = &'a T>, line: fn(&T) -> String) {
    let entries: Vec<&T> = entries.collect();
    if entries.is_empty() {
        return;
    }
    out.push_str(&format!("\n{title}: {}\n", text::number(entries.len() as u64)));
    for entry in entries.iter().take(SHOWN) {
        out.push_str(&format!("  {}\n", line(entry)));
    }
    if entries.len() > SHOWN {
        out.push_str(&format!("  and {} more\n", text::number((entries.len() - SHOWN) as u64)));
    }
}

fn product(entry: &ProductDifference) -> String {
    let times: Vec<&str> = [&entry.left, &entry.right].into_iter().flatten().map(String::as_str).collect();
    format!("{} at {}", entry.product, times.join(" -> "))
}

fn node(entry: &NodeDifference) -> String {
    let kind = match entry.node {
        NodeKind::DataArray => "data array",
        NodeKind::Group => "group",
        NodeKind::Array => "coordinate or column",
    };
    format!("{} ({kind})", entry.path)
}

fn metadata(entry: &MetadataDifference) -> String {
    let MetadataDifference { path, pointer, left, right } = entry;
    format!("{path}: {pointer}: {} -> {}", value(left.as_ref()), value(right.as_ref()))
}

fn column(entry: &ColumnDifference) -> String {
    let place = place(&entry.path, entry.product.as_deref());
    match (&entry.left, &entry.right) {
        (None, None) => format!("{place}: other values"),
        (left, right) => format!("{place}: {} -> {}", value(left.as_ref()), value(right.as_ref())),
    }
}

fn references(entry: &ReferenceDifference) -> String {
    let ReferenceDifference { path, product, left, right, first } = entry;
    let counts = format!("{}: {left} here, {right} there", place(path, product.as_deref()));
    let Some(ChunkDifference { chunk, left, right }) = first else { return counts };
    let chunk = chunk.iter().map(u32::to_string).collect::<Vec<_>>().join("/");
    format!("{counts}; chunk {chunk}: {} -> {}", reference(left.as_ref()), reference(right.as_ref()))
}

fn reference(value: Option<&ReferenceValue>) -> String {
    let Some(ReferenceValue { location, offset, length, checksum }) = value else { return "nothing".to_owned() };
    let checksum = checksum.as_ref().map(|checksum| format!(" {checksum}")).unwrap_or_default();
    format!("{location} bytes {offset}+{length}{checksum}")
}

fn place(path: &str, product: Option<&str>) -> String {
    product.map_or_else(|| path.to_owned(), |product| format!("{path} of {product}"))
}

/// A value as JSON, shortened: headers and coordinate systems fill a screen.
fn value(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(VALUE_LENGTH) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> DiffReport {
        let side = |store: &str| DiffSide {
            store: store.to_owned(),
            snapshot: "1CECHNKREP0F1RSTCMT0".to_owned(),
            tile: "33TVN".to_owned(),
            level: "L2A".to_owned(),
            times: 1,
            arrays: 2,
        };
        DiffReport {
            kind: "s2ice.diff".to_owned(),
            version: 1,
            left: side("/a"),
            right: side("/stores/b"),
            ignore_sources: false,
            ignore_checksums: false,
            same: true,
            differences: 0,
            products: vec![],
            nodes: vec![],
            metadata: vec![],
            columns: vec![],
            references: vec![],
        }
    }

    #[test]
    fn what_is_the_same_is_told_in_one_word() {
        insta::assert_snapshot!(render(&report()), @r"
        left   L2A of 33TVN  /a         at 1CECHNKREP0F1RSTCMT0  1 time, 2 arrays
        right  L2A of 33TVN  /stores/b  at 1CECHNKREP0F1RSTCMT0  1 time, 2 arrays

      the same
      ");
    }

    #[test]
    fn differences_are_told_by_kind() {
        let time = |second: u8| Some(format!("2024-05-01T10:06:0{second}.000Z"));
        let product = |name: &str, left, right| ProductDifference { product: name.to_owned(), era: None, left, right };
        let reference = |offset| ReferenceValue {
            location: "s3://eodata/x.jp2".to_owned(),
            offset,
            length: 9,
            checksum: Some("e1".to_owned()),
        };
        let report = DiffReport {
            same: false,
            differences: 20,
            products: vec![product("A", time(1), None), product("B", time(1), time(2)), product("C", None, time(3))],
            nodes: vec![NodeDifference {
                path: "/r60m/b01".to_owned(),
                node: NodeKind::DataArray,
                only_in: OnlyIn::Right,
            }],
            metadata: (0..12)
                .map(|i| MetadataDifference {
                    path: format!("/g{i}"),
                    pointer: "/attributes/units".to_owned(),
                    left: Some("m".repeat(80).into()),
                    right: None,
                })
                .collect(),
            columns: vec![
                ColumnDifference {
                    path: "/cloud_cover".to_owned(),
                    product: Some("B".to_owned()),
                    left: Some(12.5.into()),
                    right: Some("NaN".into()),
                },
                ColumnDifference { path: "/r60m/x".to_owned(), product: None, left: None, right: None },
            ],
            references: vec![
                ReferenceDifference {
                    path: "/r60m/b09".to_owned(),
                    product: Some("B".to_owned()),
                    left: 121,
                    right: 118,
                    first: Some(ChunkDifference { chunk: vec![0, 7], left: Some(reference(5)), right: None }),
                },
                ReferenceDifference {
                    path: "/r60m/b09".to_owned(),
                    product: Some("D".to_owned()),
                    left: 1,
                    right: 1,
                    first: None,
                },
            ],
            ..report()
        };
        insta::assert_snapshot!(render(&report));
    }
}
