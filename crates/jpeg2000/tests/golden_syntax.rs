//! Heads, tile lengths and TLM bytes of all real files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod common;

use common::head;

use s2ice_jpeg2000::{CodecConfig, MainHeader, Scan, TlmEntry, TlmTable, scan_file_head};

#[test]
fn heads_and_tlm_bytes_of_all_files() {
    let Some(dir) = common::data() else { return };
    let files = common::golden(&dir);
    assert_eq!(files.len(), 110);
    for file in &files {
        let head = head(&file.bytes);
        assert_eq!(head.first_sot, file.number("first_sot"), "{}", file.path);
        assert_eq!(head.codestream_end, None);
        let grid = head.header.grid().unwrap();
        let tile = &file.facts["tile"];
        let siz = head.header.siz();
        let size = [siz.tile_width, siz.tile_height].map(u64::from);
        assert_eq!(size, [0, 1].map(|axis| tile[axis].as_u64().unwrap()));
        let shape: Vec<u64> = file.facts["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        let geometry = grid.zarr_geometry().unwrap();
        assert_eq!(shape[..2], [u64::from(geometry.height), u64::from(geometry.width)]);
        assert_eq!(shape.get(2).copied().unwrap_or(1), u64::from(geometry.components));
        assert_eq!(file.facts["dtype"], if geometry.sample_bytes() == 1 { "uint8" } else { "uint16" });

        let parts = common::hop(&file.bytes, head.first_sot);
        let entries = parts.iter().map(|(_, sot)| TlmEntry { tile: sot.tile, length: sot.psot }).collect();
        let table = TlmTable { entries };
        let written = table.write().unwrap();
        assert_eq!(TlmTable::parse(&written).unwrap(), table);
        let golden = dir.join("golden/tlm-index").join(&file.path).with_extension("tlm");
        let mut index = (file.bytes.len() as u64).to_be_bytes().to_vec();
        index.extend(head.first_sot.to_be_bytes());
        index.extend((written.len() as u32).to_be_bytes());
        index.extend(&written);
        assert!(std::fs::read(golden).unwrap() == index, "TLM bytes of {}", file.path);

        let spans = table.tile_spans(head.first_sot, file.bytes.len() as u64, grid.tiles()).unwrap();
        assert_eq!(spans.len(), parts.len());
        for (tile, offset, psot, _) in file.tiles() {
            let span = spans[usize::from(tile)];
            assert_eq!((span.offset, span.length), (offset, u64::from(psot)), "tile {tile} of {}", file.path);
        }
        let last = spans.last().unwrap();
        assert_eq!(file.bytes[(last.offset + last.length) as usize..], [0xFF, 0xD9]);
    }
}

#[test]
fn prefixes_grow_to_the_head() {
    let Some(dir) = common::data() else { return };
    for file in common::golden(&dir).iter().filter(|f| f.path.contains("60m") || f.path.contains("odd")) {
        let whole = head(&file.bytes);
        let (mut length, mut asked) = (0, 0);
        let found = loop {
            match scan_file_head(&file.bytes[..length], None).unwrap() {
                Scan::Done(found) => break found,
                Scan::NeedMore { up_to } => {
                    assert!(up_to > length as u64);
                    length = up_to as usize;
                    asked += 1;
                }
            }
        };
        assert_eq!(found, whole);
        assert!(length as u64 <= whole.first_sot + 12, "{length} bytes asked for in {asked} steps");
        // Cut one byte in front of the first SOT's marker, the end of the file is an error.
        let cut = whole.first_sot as usize + 1;
        let error = scan_file_head(&file.bytes[..cut], Some(cut as u64)).unwrap_err();
        assert!(error.to_string().contains("SOT"), "{error}");
    }
}

#[test]
fn files_with_tlm_agree_with_their_twins() {
    let Some(dir) = common::data() else { return };
    let files = common::golden(&dir);
    let mut seen = 0;
    for entry in std::fs::read_dir(dir.join("golden/with-tlm")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().replace("_with_TLM", "");
        let bytes = std::fs::read(&path).unwrap();
        let with = head(&bytes);
        let twin = files.iter().find(|f| f.path.ends_with(&name)).unwrap();
        let plain = head(&twin.bytes);
        assert_eq!(plain.header.tlm(), None);
        let table = with.header.tlm().unwrap();
        let tiles = with.header.grid().unwrap().tiles();
        let spans = table.tile_spans(with.first_sot, bytes.len() as u64, tiles).unwrap();
        let shift = with.first_sot - plain.first_sot;
        assert_eq!(shift, (bytes.len() - twin.bytes.len()) as u64);
        for (tile, offset, psot, _) in twin.tiles() {
            let span = spans[usize::from(tile)];
            assert_eq!((span.offset, span.length), (offset + shift, u64::from(psot)));
        }
        assert_eq!(with.header.codec_header(), plain.header.codec_header());
        assert_eq!(with.header.profile(), plain.header.profile());
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn codec_headers_match_the_known_classes() {
    let Some(dir) = common::data() else { return };
    let classes: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("golden/header_classes.json")).unwrap()).unwrap();
    let keys: Vec<&str> = classes.as_array().unwrap().iter().map(|c| c["key"].as_str().unwrap()).collect();
    let mut headers: Vec<MainHeader> = Vec::new();
    for file in common::golden(&dir) {
        let header = head(&file.bytes).header;
        let small = header.codec_header();
        let hex: String = small[2..].iter().map(|b| format!("{b:02x}")).collect();
        assert!(keys.contains(&hex.as_str()), "{}", file.path);
        assert_eq!(MainHeader::parse(&small).unwrap().codec_header(), small);
        let config = CodecConfig::from_header(&header, 0);
        assert_eq!(config.header().unwrap().profile(), header.profile());
        headers.push(header);
    }
    for a in &headers {
        for b in &headers {
            let same = a.codec_header() == b.codec_header();
            assert_eq!(a.profile() == b.profile(), same);
            assert_eq!(a.profile().difference(&b.profile()).is_empty(), same);
        }
    }
}
