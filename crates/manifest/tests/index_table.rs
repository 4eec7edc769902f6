//! Index tables: written by us, written by others, damaged.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use s2ice_jpeg2000::{TlmEntry, TlmTable};
use s2ice_manifest::source::index_writer::{encode_index, write_index};
use s2ice_manifest::source::location::{SourceError, SourceOptions};
use s2ice_manifest::source::tlm_parquet::{IndexError, IndexFilter, IndexReadReport, read_index};
use s2ice_manifest::tlm::{IndexEntry, IndexRow, TileIndex};

const A: &str = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";
const B: &str = "S2B_MSIL2A_20221010T115359_N0400_R023_T29UNU_20221010T141236";
const OTHER: &str = "S2B_MSIL2A_20221010T115359_N0400_R023_T29UPU_20221010T141236";

fn cell(seed: u32) -> Vec<u8> {
    let entries: Vec<TlmEntry> = (0..4).map(|tile| TlmEntry { tile, length: 100 + seed + u32::from(tile) }).collect();
    IndexEntry { file_size: 10_000, first_sot: 3000, tlm: TlmTable { entries } }.write().unwrap()
}

fn row(product: &str, asset: &str, seed: u32) -> IndexRow {
    IndexRow {
        product: product.parse().unwrap(),
        asset: asset.parse().unwrap(),
        path: format!("/Sentinel-2/{product}.SAFE/GRANULE/g/x_{asset}.jp2"),
        index: TileIndex::from_cell(&cell(seed)),
        main_header: None,
        etag: None,
        last_modified: None,
        nodata: None,
    }
}

async fn read(file: &Path, filter: &IndexFilter) -> Result<(Vec<IndexRow>, IndexReadReport), IndexError> {
    read_index(&[file.to_str().unwrap().to_owned()], &SourceOptions::default(), filter).await
}

/// 2 x 2 tiles of 64 pixels, one 8-bit component, four levels.
fn header() -> Box<[u8]> {
    let mut out = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
    for n in [128u32, 128, 0, 0, 64, 64, 0, 0] {
        out.extend(n.to_be_bytes());
    }
    out.extend([0, 1, 7, 1, 1]);
    out.extend([0xFF, 0x52, 0, 12, 0, 0, 0, 1, 0, 4, 4, 4, 0, 1]);
    out.extend([0xFF, 0x5C, 0, 16, 0x20, 72, 80, 80, 88, 80, 80, 88, 80, 80, 80, 72, 72, 80]);
    out.into()
}

#[tokio::test]
async fn what_is_written_is_read_back_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.parquet");
    let mut full = row(A, "B02_20m", 1);
    full.main_header = Some(header());
    full.etag = Some("\"abc\"".to_owned());
    full.last_modified = Some("2022-10-06T01:02:03.456Z".parse().unwrap());
    full.nodata = Some(vec![1, 3]);
    let mut in_file = row(A, "SCL_20m", 0);
    in_file.index = TileIndex::InFile;
    let rows = [row(B, "B02_10m", 9), row(A, "MSK_DETFOO_B02", 4), in_file.clone(), full.clone(), row(A, "B02_10m", 2)];
    write_index(&file, &rows, false).unwrap();
    let (back, report) = read(&file, &IndexFilter::default()).await.unwrap();
    assert_eq!(back, [row(A, "B02_10m", 2), full, row(A, "MSK_DETFOO_B02", 4), in_file, row(B, "B02_10m", 9)]);
    assert_eq!((report.rows, report.taken, report.rejected), (5, 5, 0));

    write_index(&file, &rows[..1], true).unwrap();
    let (back, _) = read(&file, &IndexFilter::default()).await.unwrap();
    assert_eq!(back, rows[..1]);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(names, ["index.parquet"], "no temporary file is left");
    let error = write_index(&folder.path().join("no/index.parquet"), &rows, false).unwrap_err();
    assert!(error.to_string().contains("no/index.parquet"), "{error}");
}

/// A table as somebody else would write it, in row groups of `group` rows.
fn foreign(path: &Path, columns: Vec<(&str, ArrayRef)>, group: usize) {
    let fields: Vec<Field> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().map(|(_, a)| a).collect()).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[tokio::test]
async fn every_text_and_binary_type_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.parquet");
    let bytes = cell(7);
    let path = format!("/x/{A}.SAFE/T29UNU_20221005T115411_B03_10m.jp2");
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    for (text, binary) in [
        (DataType::Utf8, DataType::Binary),
        (DataType::LargeUtf8, DataType::LargeBinary),
        (DataType::Utf8View, DataType::BinaryView),
        (dictionary, DataType::Binary),
    ] {
        let text = |value: &str| arrow_cast::cast(&texts(&[value]), &text).unwrap();
        let index: ArrayRef = Arc::new(BinaryArray::from(vec![&bytes[..]]));
        let columns = vec![
            ("extra", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            ("index", arrow_cast::cast(&index, &binary).unwrap()),
            ("path", text(&path)),
            ("product_id", text(&format!("{A}.SAFE"))),
            ("band_id", text("B03")),
        ];
        foreign(&file, columns, 10);
        let (rows, _) = read(&file, &IndexFilter::default()).await.unwrap();
        assert_eq!((rows[0].asset.name(), rows[0].index.cell()), ("B03_10m".to_owned(), &bytes[..]), "{binary}");
    }
}

#[tokio::test]
async fn rows_are_filtered_collapsed_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.parquet");
    let p = |product: &str, name: &str| format!("/x/{product}.SAFE/{name}.jp2");
    let rows: Vec<(&str, &str, String, Vec<u8>)> = vec![
        (A, "B02", p(A, "t_B02_10m"), cell(0)),         // 1 taken
        (OTHER, "B02", p(OTHER, "t_B02_10m"), cell(0)), // 2 other tile
        (A, "B02", p(A, "t_B02_10m"), cell(0)),         // 3 the same again
        ("S2A_nonsense", "B02", p(A, "t"), cell(0)),    // 4 rejected: product
        (B, "B03", p(B, "t_B04_10m"), cell(0)),         // 5 rejected: band against path
        (B, "B05", p(A, "t_B05_20m"), cell(0)),         // 6 rejected: path of another product
        (B, "B06", p(B, "t_B06_20m"), cell(1)),         // 7 conflict
        (B, "B06", p(B, "t_B06_20m"), cell(2)),         // 8 conflict
        (B, "B06", p(B, "t_B06_20m"), cell(1)),         // 9 conflict
        (B, "NEW", p(B, "t_NEW_10m"), cell(0)),         // 10 rejected: no known raster
        (B, "B8A", p(B, "B8A"), cell(3)),               // 11 taken
        (B, "B07", "/mirror/7".to_owned(), cell(4)),    // 12 taken, by band_id at its home resolution
    ];
    let columns = |names: [&'static str; 4]| -> Vec<(&'static str, ArrayRef)> {
        vec![
            (names[0], texts(&rows.iter().map(|r| r.0).collect::<Vec<_>>())),
            (names[1], texts(&rows.iter().map(|r| r.1).collect::<Vec<_>>())),
            (names[2], texts(&rows.iter().map(|r| r.2.as_str()).collect::<Vec<_>>())),
            (names[3], Arc::new(BinaryArray::from_iter_values(rows.iter().map(|r| &r.3)))),
        ]
    };
    let filter = IndexFilter { tile: Some("29UNU".parse().unwrap()), ..IndexFilter::default() };
    for group in [2, 5, 100] {
        foreign(&file, columns(["product_id", "band_id", "path", "index"]), group);
        let (taken, report) = read(&file, &filter).await.unwrap();
        let names: Vec<String> = taken.iter().map(|r| r.asset.name()).collect();
        assert_eq!(names, ["B02_10m", "B8A_20m", "B07_20m"]);
        let numbers: Vec<u64> = report.rejected_rows.iter().map(|r| r.row).collect();
        assert_eq!(numbers, [4, 5, 6, 10], "{:?}", report.rejected_rows);
        assert!(report.rejected_rows[1].reason.contains("band_id \"B03\" contradicts raster B04_10m"));
        assert_eq!((report.rows, report.other_products, report.duplicates), (12, 1, 1));
        assert_eq!((report.rejected, report.conflicting, report.conflicts.len()), (4, 3, 1));
        assert_eq!(report.taken + report.other_products + report.duplicates + report.rejected + report.conflicting, 12);
        assert_eq!((report.conflicts[0].product.as_str(), report.conflicts[0].raster.as_str()), (B, "B06_20m"));
    }
    let only_b = IndexFilter { wanted: Some(Arc::new(|product| product.platform() == "S2B")), ..filter.clone() };
    assert_eq!(read(&file, &only_b).await.unwrap().0.len(), 2);

    foreign(&file, columns(["product_id", "band", "path", "tlm"]), 100);
    let text = read(&file, &filter).await.unwrap_err().to_string();
    assert!(
        text.contains("column band_id, index is missing") && text.contains("this file has product_id, band, path, tlm"),
        "{text}"
    );
    foreign(&file, columns(["index", "band_id", "path", "product_id"]), 100);
    let text = read(&file, &filter).await.unwrap_err().to_string();
    assert!(text.contains("column index is Utf8, not binary"), "{text}");
    foreign(&file, columns(["product_id", "band_id", "path", "path"]), 100);
    let text = read(&file, &filter).await.unwrap_err().to_string();
    assert!(text.contains("it has several columns path"), "{text}");
}

/// Files of pyarrow, made by `fixtures/index/make.py`: compressions, encodings, types, case of names, columns of others.
#[tokio::test]
async fn files_of_other_writers_are_read_or_refused_by_their_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/index");
    let filter = IndexFilter { tile: Some("29UNU".parse().unwrap()), ..IndexFilter::default() };
    for name in ["dictionary_zstd", "view_gzip_v2", "large_lz4", "fixed_snappy", "binary_delta"] {
        let (rows, report) = read(&folder.join(format!("{name}.parquet")), &filter).await.unwrap();
        let assets: Vec<String> = rows.iter().map(|row| row.asset.name()).collect();
        assert_eq!(assets, ["B03_10m", "B02_10m"], "{name}");
        assert!(rows.iter().all(|row| row.index.cell() == cell(7) && row.product.to_string() == A), "{name}");
        let counts = (report.rows, report.other_products, report.duplicates, report.rejected);
        assert_eq!(counts, (40, 1, 24, 13), "{name}: every third has no path");
        assert_eq!((report.rejected_by_kind.len(), report.rejected_by_kind[0].first.row), (1, 3), "{name}");
    }
    let text = read(&folder.join("brotli.parquet"), &filter).await.unwrap_err().to_string();
    assert!(text.contains("column index is compressed with Brotli, which is not read here"), "{text}");
}

#[tokio::test]
async fn every_compression_that_is_built_in_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.parquet");
    let bytes = cell(7);
    let path = format!("/x/{A}.SAFE/T29UNU_20221005T115411_B03_10m.jp2");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("index", Arc::new(BinaryArray::from(vec![&bytes[..]]))),
        ("product_id", texts(&[A])),
        ("band_id", texts(&["B03"])),
        ("path", texts(&[&path])),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let properties = WriterProperties::builder().set_compression(codec).build();
        let sink = std::fs::File::create(&file).unwrap();
        let mut writer = ArrowWriter::try_new(sink, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (rows, _) = read(&file, &IndexFilter::default()).await.unwrap();
        assert_eq!(rows[0].index.cell(), &bytes[..], "{codec:?}");
    }
}

#[tokio::test]
async fn names_differ_in_case_but_are_not_ambiguous() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.parquet");
    let bytes = cell(7);
    let path = format!("/x/{A}.SAFE/T29UNU_20221005T115411_B03_10m.jp2");
    let write = |names: [&str; 3]| {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("Index", Arc::new(BinaryArray::from(vec![&bytes[..]]))),
            (names[0], texts(&[A])),
            (names[1], texts(&[OTHER])),
            ("band_id", texts(&["B03"])),
            (names[2], texts(&[&path])),
        ];
        foreign(&file, columns, 10);
    };
    // The very name is preferred to one in other case.
    for names in [["PRODUCT_ID", "other", "PATH"], ["product_id", "PRODUCT_ID", "path"]] {
        write(names);
        let (rows, _) = read(&file, &IndexFilter::default()).await.unwrap();
        assert_eq!(rows[0].product.to_string(), A, "{names:?}");
    }
    write(["Product_Id", "PRODUCT_ID", "path"]);
    let text = read(&file, &IndexFilter::default()).await.unwrap_err().to_string();
    assert!(text.contains("it has several columns product_id"), "{text}");
}

#[tokio::test]
async fn an_index_without_a_usable_row_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.parquet");
    let filter = IndexFilter { tile: Some("29UNU".parse().unwrap()), ..IndexFilter::default() };
    let why = async |products: &[&str], bands: &[&str], paths: &[&str]| {
        let bytes = vec![cell(1); products.len()];
        let index: ArrayRef = Arc::new(BinaryArray::from_iter_values(bytes));
        let columns =
            vec![("product_id", texts(products)), ("band_id", texts(bands)), ("path", texts(paths)), ("index", index)];
        foreign(&file, columns, 2);
        let (_, report) = read(&file, &filter).await.unwrap();
        report.why_nothing("tile 29UNU at level L2A").unwrap_or_default().replace(file.to_str().unwrap(), "i.parquet")
    };
    let begin = "the index has no row of tile 29UNU at level L2A that can be used";
    for (products, bands, paths, words) in [
        (vec![], vec![], vec![], "the index has no rows at all".to_owned()),
        (vec![A], vec!["B02"], vec!["/x_B02_10m.jp2"], String::new()),
        (
            vec![OTHER, OTHER],
            vec!["B02", "B03"],
            vec!["x", "x"],
            "the index has no rows of tile 29UNU at level L2A, but 2 rows of others: name an index of this tile and level"
                .to_owned(),
        ),
        (
            vec![OTHER, A, A, A],
            vec!["B02", "B02", "B03", "B04"],
            vec!["x", "/x_B03_10m.jp2", "", ""],
            format!(
                "{begin} (4 rows in all): 1 row of others; row 3 of i.parquet, the first of 2 rows was refused: path is null or \
                 empty; row 2 of i.parquet was refused: band_id \"B02\" contradicts raster B03_10m of path /x_B03_10m.jp2"
            ),
        ),
        (
            vec![A, A],
            vec!["B02", "B02"],
            vec!["/x_B02_10m.jp2", "/y_B02_10m.jp2"],
            format!(
                "{begin} (2 rows in all): 2 rows contradict each other, such as those of B02_10m of {A}: paths /x_B02_10m.jp2 and \
                 /y_B02_10m.jp2"
            ),
        ),
    ] {
        assert_eq!(why(&products, &bands, &paths).await, words);
    }
}

#[tokio::test]
async fn files_that_are_no_index_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.parquet");
    let error = read(&file, &IndexFilter::default()).await.unwrap_err();
    assert!(matches!(&error, IndexError::Source(SourceError::Missing { .. })), "{error}");
    for bytes in [&b""[..], b"hello, this is no Parquet file at all"] {
        std::fs::write(&file, bytes).unwrap();
        let error = read(&file, &IndexFilter::default()).await.unwrap_err();
        assert!(matches!(&error, IndexError::Parquet { .. }), "{error}");
    }
    let mut whole = Vec::new();
    encode_index(&mut whole, &[row(A, "B02_10m", 0)], false).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(read(&file, &IndexFilter::default()).await, Err(IndexError::Parquet { .. })));
}

/// Public readers (pyarrow) see the four columns and are not disturbed by ours.
#[test]
fn pyarrow_reads_what_we_write() {
    let python = std::env::var("S2ICE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = std::process::Command::new(&python).args(["-c", "import pyarrow.parquet"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {python} has no pyarrow (set S2ICE_PYTHON)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.parquet");
    let mut full = row(A, "B02_10m", 1);
    full.last_modified = Some("2022-10-06T01:02:03.456Z".parse().unwrap());
    write_index(&file, &[full], false).unwrap();
    let script = "import sys, pyarrow.parquet as pq\n\
        t = pq.read_table(sys.argv[1], columns=['product_id','band_id','path','index'])\n\
        print(t.num_rows, t['band_id'][0], len(t['index'][0].as_py()))\n\
        f = pq.ParquetFile(sys.argv[1])\n\
        print(f.schema_arrow.names, f.metadata.metadata[b's2ice:index_layout'].decode())\n\
        r = pq.read_table(sys.argv[1]).to_pylist()[0]\n\
        print(r['last_modified'].isoformat(), r['nodata'])\n";
    let output = std::process::Command::new(&python).args(["-c", script]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "1 B02 38\n['product_id', 'band_id', 'path', 'index', 'asset', 'resolution', 'main_header', 'etag', 'last_modified', \
         'nodata'] 1\n2022-10-06T01:02:03.456000+00:00 None\n"
    );
}
