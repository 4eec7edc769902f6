#![allow(clippy::unwrap_used)]

use super::*;

const S: Duration = Duration::from_secs(1);

/// Failures of folders at these seconds, each after one second of waiting; whether the host is left alone then.
fn after(fault: Fault, failures: &[(u32, u32)]) -> (Circuit, Instant, bool) {
    let (mut circuit, start) = (Circuit::default(), Instant::now());
    let mut is_closed = false;
    for (second, folder) in failures {
        let now = start + S * *second;
        is_closed |= circuit.failed(fault, u64::from(*second), &folder.to_string(), now, now);
    }
    (circuit, start, is_closed)
}

#[test]
fn files_of_several_products_in_a_row_close_a_host_and_those_of_one_do_not() {
    let closes = |fault, failures: &[(u32, u32)]| after(fault, failures).2;
    assert!(closes(Fault::Silent, &[(1, 1), (1, 2), (1, 3), (1, 4)]));
    assert!(!closes(Fault::Silent, &[(1, 1), (1, 2), (1, 3), (1, 3)]));
    assert!(closes(Fault::Silent, &[(1, 1), (46, 2)]));
    assert!(!closes(Fault::Silent, &[(1, 1), (46, 1), (90, 1)]));
    assert!(closes(Fault::Failing(503), &[(1, 1), (2, 2), (16, 1)]));
    assert!(!closes(Fault::Failing(503), &[(1, 1), (1, 2), (2, 3), (15, 4)]), "throttling is waited out");
    assert!(!closes(Fault::Busy(429), &[(1, 1), (1, 2), (100, 3)]));
    assert!(closes(Fault::Unreachable, &[(1, 1), (2, 1)]));
    assert!(closes(Fault::Denied(401), &[(1, 1), (1, 2), (1, 3), (1, 4)]));
    let prefix: Vec<(u32, u32)> = (0..99).map(|folder| (1, folder)).collect();
    assert!(!closes(Fault::Denied(403), &prefix));
    assert!(closes(Fault::Denied(403), &[&prefix[..], &[(1, 99)]].concat()));
    // What failed long ago belongs to another outage.
    assert!(!closes(Fault::Silent, &[(1, 1), (1, 2), (1, 3), (200, 4)]));
}

#[test]
fn an_answer_in_between_begins_the_count_anew() {
    let (mut circuit, start, _) = after(Fault::Silent, &[(1, 1), (1, 2), (1, 3)]);
    circuit.answered();
    assert!(!circuit.failed(Fault::Silent, 9, "4", start + S, start + S));
}

#[test]
fn one_request_looks_after_a_pause_that_grows() {
    let (mut circuit, start, _) = after(Fault::Silent, &[(0, 1), (0, 2), (0, 3), (0, 4)]);
    let sentence = circuit.check("https://h", "5", start + S * 10).unwrap_err().to_string();
    assert_eq!(
        sentence,
        "https://h failed 4 times in a row (last: no answer in time): it is left alone for another 20 s"
    );
    let now = start + S * 30;
    circuit.check("h", "5", now).unwrap();
    circuit.passes(77);
    circuit.check("h", "5", now).unwrap_err();
    // A look that is broken off tells nothing.
    circuit.gone(77);
    circuit.check("h", "5", now).unwrap();
    circuit.passes(78);
    assert!(!circuit.failed(Fault::Silent, 6, "5", now, now), "of a request from before");
    circuit.failed(Fault::Silent, 78, "5", now, now + S);
    circuit.check("h", "5", now + S * 60).unwrap_err();
    circuit.check("h", "5", now + S * 61).unwrap();
    circuit.passes(79);
    circuit.answered();
    circuit.check("h", "5", now).unwrap();
}

#[test]
fn the_only_product_that_is_asked_for_is_given_up() {
    let (circuit, start, _) = after(Fault::Silent, &[(0, 1), (30, 1)]);
    circuit.check("h", "1", start + S * 31).unwrap();
    let (circuit, start, _) = after(Fault::Silent, &[(0, 1), (60, 1)]);
    let sentence = circuit.check("h", "1", start + S * 61).unwrap_err().to_string();
    assert_eq!(sentence, "h answered nothing for 61 s (last: no answer in time): it is given up for now");
    circuit.check("h", "2", start + S * 61).unwrap();
    circuit.check("h", "1", start + S * 300).unwrap();
}

#[test]
fn folders_are_those_of_products() {
    for (path, wanted) in [
        ("/eodata/Sentinel-2/MSI/L2A/2024/05/01/P.SAFE/GRANULE/g/IMG_DATA/R10m/B02.jp2", "P.SAFE"),
        ("/eodata?list-type=2&prefix=Sentinel-2%2FP.SAFE%2F", "P.SAFE"),
        ("/sentinel-s2-l2a/tiles/33/T/VN/2024/5/1/0/R10m/B02.jp2", "/sentinel-s2-l2a/tiles/33/T/VN/2024/5/1/0"),
        ("/cogs/33/T/VN/2024/5/S2A_1_L2A/B02.tif", "/cogs/33/T/VN/2024/5/S2A_1_L2A"),
        ("/v1", ""),
    ] {
        assert_eq!(folder(path), wanted);
    }
    assert_eq!((bucket("/eodata/a/b"), bucket("/eodata?list-type=2"), bucket("/")), ("eodata", "eodata", ""));
}
