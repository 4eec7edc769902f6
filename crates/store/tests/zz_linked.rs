//! x
use s2ice_store as _;
#[test]
fn linked() {
    let m: zarrs::metadata::v3::MetadataV3 = serde_json::from_str(r#"{"name":"s2ice.jpeg2000","configuration":{}}"#).unwrap();
    let e = zarrs::array::Codec::from_metadata(&m).map(drop).unwrap_err().to_string();
    assert!(e.contains("main_header"), "{e}");
}
