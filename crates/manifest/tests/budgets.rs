//! A server that counts: what the budget of its host lets through, object_store's own repeated attempts included.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use s2ice_manifest::source::budget::{BudgetError, Ledger, Limits};
use s2ice_manifest::source::location::{Source, SourceError, SourceOptions, SourceUrl};
use support::{Answer, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const FOUR: &str = "Content-Range: bytes 0-3/4\r\nLast-Modified: Sat, 01 Jan 2022 00:00:00 GMT\r\n";

fn open(address: &str, bucket: &str, options: SourceOptions) -> Source {
    let options =
        SourceOptions { endpoint: Some(address.to_owned()), region: Some("r".to_owned()), anonymous: true, ..options };
    Source::open(&SourceUrl::parse(bucket).unwrap(), &options).unwrap()
}

/// Requests under way, most of them at one time, and when each arrived.
#[derive(Default)]
struct Seen {
    now: usize,
    peak: usize,
    times: Vec<Instant>,
}

/// A server that takes 20 ms for the body of each answer.
async fn slow() -> (String, Arc<Mutex<Seen>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let seen = Arc::clone(&shared);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                if socket.read(&mut buffer).await.unwrap_or(0) == 0 {
                    return;
                }
                {
                    let mut seen = seen.lock().unwrap();
                    seen.now += 1;
                    seen.peak = seen.peak.max(seen.now);
                    seen.times.push(Instant::now());
                }
                let head =
                    format!("HTTP/1.1 206 Partial Content\r\n{FOUR}Content-Length: 4\r\nConnection: close\r\n\r\ngo");
                let _ = socket.write_all(head.as_bytes()).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                // Before the last bytes: the client may be faster than this task.
                seen.lock().unwrap().now -= 1;
                let _ = socket.write_all(b"od").await;
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn sources_of_one_host_share_its_connections() {
    let (address, seen) = slow().await;
    let options = SourceOptions { connections: Some(3), ..SourceOptions::default() };
    let one = open(&address, "s3://a/x", options.clone());
    let two = open(&address, "s3://b/y", options);
    let reads = (0..30).map(|n| if n % 2 == 0 { &one } else { &two }).map(|source| source.get_range("f", 0..4));
    assert!(join_all(reads).await.into_iter().all(|read| &read.unwrap().bytes[..] == b"good"));
    let seen = seen.lock().unwrap();
    assert_eq!((seen.peak, seen.times.len(), seen.now), (3, 30, 0));
    assert_eq!((one.stats().requests(), two.stats().requests()), (15, 15));
}

#[tokio::test]
async fn sources_of_two_ledgers_do_not_know_of_each_other() {
    let (address, seen) = slow().await;
    let own = || SourceOptions { connections: Some(3), ..SourceOptions::default() };
    let (one, two) = (open(&address, "s3://a/x", own()), open(&address, "s3://b/y", own()));
    let reads = (0..30).map(|n| if n % 2 == 0 { &one } else { &two }).map(|source| source.get_range("f", 0..4));
    join_all(reads).await;
    assert!(seen.lock().unwrap().peak > 3, "what the test above shows does not come from elsewhere");
}

#[tokio::test]
async fn requests_are_spaced_over_the_whole_run() {
    let (address, seen) = slow().await;
    let options = SourceOptions { requests_per_second: Some(40.0), ..SourceOptions::default() };
    let one = open(&address, "s3://a/x", options.clone());
    let two = open(&address, "s3://b/y", options);
    let begun = Instant::now();
    join_all((0..20).map(|n| if n % 2 == 0 { &one } else { &two }).map(|source| source.get_range("f", 0..4))).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.times.len(), 20);
    for (n, time) in (0..20).zip(&seen.times) {
        // A busy machine makes a request late, and then the next seem close; none is ever before its turn.
        assert!(*time >= begun + Duration::from_millis(25 * n), "{n}: {:?}", seen.times);
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_by_everyone_on_the_host() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&times);
    let server = Server::start(move |number, _| {
        shared.lock().unwrap().push(Instant::now());
        match number {
            0 => Answer::new("429 Too Many Requests", "Retry-After: 2\r\n", ""),
            _ => Answer::new("206 Partial Content", FOUR, "good"),
        }
    })
    .await;
    let options = SourceOptions::default();
    let (one, two) = (open(&server.address, "s3://a/x", options.clone()), open(&server.address, "s3://b/y", options));
    let later = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        two.get_range("g", 0..4).await
    };
    let (first, second) = tokio::join!(one.get_range("f", 0..4), later);
    assert_eq!((&first.unwrap().bytes[..], &second.unwrap().bytes[..]), (&b"good"[..], &b"good"[..]));
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 3, "one attempt each after the wait");
    assert!(times[1..].iter().all(|time| *time - times[0] >= Duration::from_millis(1990)), "{times:?}");
    assert_eq!((one.stats().requests(), two.stats().requests()), (2, 1), "repeated attempts are counted");
}

#[tokio::test]
async fn a_date_counts_as_a_wait_and_listings_and_sizes_wait_too() {
    const DATE: &str =
        "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nDate: Fri, 31 Dec 1999 23:59:58 GMT\r\nContent-Type: x/y\r\n";
    let server = Server::start(move |number, head| match (number, head.split(' ').next()) {
        (0 | 2, _) => Answer::new("503 Service Unavailable", DATE, ""),
        (_, Some("HEAD")) => Answer::new("200 OK", FOUR, ""),
        _ => Answer::new("200 OK", "", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
    })
    .await;
    let source = open(&server.address, "s3://a/x", SourceOptions::default());
    for what in ["list", "size"] {
        let start = Instant::now();
        if what == "list" {
            assert_eq!(source.list("", 10).await.unwrap(), Vec::new());
        } else {
            source.stat("f").await.unwrap();
        }
        assert!(start.elapsed() >= Duration::from_millis(990), "{what}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_wait_beyond_patience_is_an_error_at_once() {
    let answer = Answer::new("429 Too Many Requests", "Retry-After: 86400\r\n", "");
    let server = Server::start(move |_, _| answer.clone()).await;
    let source = open(&server.address, "s3://a/x", SourceOptions::default());
    let start = Instant::now();
    let error = source.get_range("f", 0..4).await.unwrap_err();
    assert!(matches!(error, SourceError::Budget(BudgetError::WaitTooLong { .. })), "{error}");
    assert!(error.to_string().contains("try again later"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(server.requests.load(std::sync::atomic::Ordering::SeqCst), 1, "it is left alone");
}

#[tokio::test]
async fn the_days_bytes_are_shared_and_their_end_is_named() {
    let server = Server::start(|_, _| Answer::new("206 Partial Content", FOUR, "good")).await;
    let ledger = Ledger::default();
    let options = SourceOptions { bytes_per_day: Some(10), ledger: ledger.clone(), ..SourceOptions::default() };
    let (one, two) = (open(&server.address, "s3://a/x", options.clone()), open(&server.address, "s3://b/y", options));
    one.get_range("f", 0..4).await.unwrap();
    two.get_range("f", 0..4).await.unwrap();
    one.get_range("f", 0..4).await.unwrap();
    let error = two.get_range("f", 0..4).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the limit of 10 bytes per day for {} is used up (bytes-per-day); it renews in 24 h 0 min",
            server.address
        )
    );
    let budget = ledger.budget(&server.address, Limits::default());
    assert_eq!((budget.requests(), budget.bytes()), (3, 12));
}

#[tokio::test]
async fn web_servers_have_a_budget_too() {
    let (address, seen) = slow().await;
    let options = SourceOptions { connections: Some(2), ..SourceOptions::default() };
    let (one, two) = (SourceUrl::parse(&format!("{address}/a")), SourceUrl::parse(&format!("{address}/b")));
    let (one, two) = (Source::open(&one.unwrap(), &options).unwrap(), Source::open(&two.unwrap(), &options).unwrap());
    join_all((0..16).map(|n| if n % 2 == 0 { &one } else { &two }).map(|source| source.get_range("f", 0..4))).await;
    assert_eq!(seen.lock().unwrap().peak, 2);
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = SourceOptions { requests_per_second: Some(rate), ..SourceOptions::default() };
        let error = Source::open(&SourceUrl::parse("https://host/x").unwrap(), &options).unwrap_err();
        assert!(error.to_string().contains("requests per second"), "{error}");
    }
}
