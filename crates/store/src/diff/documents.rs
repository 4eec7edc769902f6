//! The differences of two `zarr.json` as JSON pointers with both values.

use serde_json::Value;

use super::DiffOptions;
use super::report::MetadataDifference;
use crate::plan::{BOOKKEEPING, stamp_of_mut};

/// The document without what is not compared: bookkeeping, and the length of the time axis, which is told once and not
/// for each array. An array whose length is not that of its own store's axis keeps it.
pub(super) fn comparable(path: &str, document: &Value, steps: usize, options: &DiffOptions) -> Value {
    let mut document = document.clone();
    if path == "/"
        && let Some(stamp) = stamp_of_mut(&mut document).and_then(Value::as_object_mut)
    {
        let ignored = |key: &str| BOOKKEEPING.contains(&key) || (options.ignore_sources && key == "sources");
        stamp.retain(|key, _| !ignored(key));
    }
    if is_along_time(&document)
        && let Some(length) = document.pointer_mut("/shape/0")
        && length.as_u64() == u64::try_from(steps).ok()
    {
        *length = "time".into();
    }
    document
}

/// True where the first dimension is `time`.
pub(super) fn is_along_time(document: &Value) -> bool {
    document.pointer("/dimension_names/0").and_then(Value::as_str) == Some("time")
}

/// Appends the differences of two documents.
pub(super) fn compare(path: &str, left: &Value, right: &Value, out: &mut Vec<MetadataDifference>) {
    walk(path, &mut String::new(), Some(left), Some(right), out);
}

fn walk(
    path: &str,
    pointer: &mut String,
    left: Option<&Value>,
    right: Option<&Value>,
    out: &mut Vec<MetadataDifference>,
) {
    if left == right {
        return;
    }
    let length = pointer.len();
    match (left, right) {
        (Some(Value::Object(l)), Some(Value::Object(r))) => {
            let mut keys: Vec<&String> = l.keys().chain(r.keys().filter(|key| !l.contains_key(*key))).collect();
            keys.sort();
            for key in keys {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                walk(path, pointer, l.get(key), r.get(key), out);
                pointer.truncate(length);
            }
        }
        (Some(Value::Array(l)), Some(Value::Array(r))) if l.len() == r.len() => {
            for (index, (l, r)) in l.iter().zip(r).enumerate() {
                pointer.push_str(&format!("/{index}"));
                walk(path, pointer, Some(l), Some(r), out);
                pointer.truncate(length);
            }
        }
        _ => out.push(MetadataDifference {
            path: path.to_owned(),
            pointer: pointer.clone(),
            left: left.cloned(),
            right: right.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_by_pointer() {
        let left = json!({ "a/b": 1, "list": [1, 2], "grown": [1], "gone": null, "same": { "x": [] } });
        let right = json!({ "a/b": 2, "list": [1, 3], "grown": [1, 2], "new": 0, "same": { "x": [] } });
        let mut out = Vec::new();
        compare("/g", &left, &right, &mut out);
        let told: Vec<_> = out.iter().map(|d| (d.pointer.as_str(), d.left.clone(), d.right.clone())).collect();
        assert_eq!(
            told,
            [
                ("/a~1b", Some(json!(1)), Some(json!(2))),
                ("/gone", Some(json!(null)), None),
                ("/grown", Some(json!([1])), Some(json!([1, 2]))),
                ("/list/1", Some(json!(2)), Some(json!(3))),
                ("/new", None, Some(json!(0))),
            ]
        );
    }

    #[test]
    fn bookkeeping_and_the_length_of_time_are_left_out() {
        let options = DiffOptions::default();
        let root = |writer: &str, url: &str| {
            json!({ "attributes": { "s2ice": {
                "writer": writer, "catalogue": { "seen": writer }, "sources": { "c": url }, "tile": "33TVN" } } })
        };
        let seen = |document: &Value, options| comparable("/", document, 3, options);
        assert_eq!(seen(&root("a", "s3://b/"), &options), seen(&root("b", "s3://b/"), &options));
        assert_ne!(seen(&root("a", "s3://b/"), &options), seen(&root("a", "s3://c/"), &options));
        let mirrors = DiffOptions { ignore_sources: true, ..DiffOptions::default() };
        assert_eq!(seen(&root("a", "s3://b/"), &mirrors), seen(&root("a", "s3://c/"), &mirrors));

        let array = |steps: u64| json!({ "shape": [steps, 9], "dimension_names": ["time", "x"] });
        assert_eq!(comparable("/a", &array(3), 3, &options), comparable("/a", &array(4), 4, &options));
        assert_ne!(comparable("/a", &array(3), 3, &options), comparable("/a", &array(3), 4, &options));
    }
}
