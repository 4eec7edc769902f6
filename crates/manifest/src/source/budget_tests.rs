#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use super::super::budget_grant::Demand;
use super::*;

fn limits(connections: usize) -> Limits {
    Limits { connections: Some(connections), ..Limits::default() }
}

#[test]
fn hosts_have_their_usual_limits_and_the_lowest_wish_holds() {
    let ledger = Ledger::default();
    let of = |origin: &str| ledger.budget(origin, Limits::default()).limits();
    assert_eq!(of("https://eodata.dataspace.copernicus.eu").connections, Some(4));
    assert_eq!(of("https://eodata.dataspace.copernicus.eu:443").connections, Some(4));
    assert_eq!(of("https://stac.dataspace.copernicus.eu").requests_per_second, Some(5.0));
    assert_eq!(of("http://127.0.0.1:9000"), Limits { connections: Some(8), ..Limits::default() });
    let wished = ledger.budget("http://127.0.0.1:9000", limits(20));
    assert_eq!(wished.limits().connections, Some(20), "a wish may be above what is usual");
    ledger.budget("http://127.0.0.1:9000", limits(2));
    ledger.budget("http://127.0.0.1:9000", limits(5));
    assert_eq!(wished.limits().connections, Some(2));
    let other = Ledger::default().budget("http://127.0.0.1:9000", Limits::default());
    assert_eq!(other.limits().connections, Some(8), "another ledger knows nothing of it");
}

#[tokio::test]
async fn no_more_permits_than_connections_even_for_many_waiters() {
    let budget = Ledger::default().budget("http://h", limits(3));
    let peak = Arc::new(Mutex::new((0, 0)));
    let tasks = (0..60).map(|_| {
        let (budget, peak) = (Arc::clone(&budget), Arc::clone(&peak));
        async move {
            let _permit = budget.enter(&Arc::default(), "/b/f").await.unwrap();
            {
                let mut peak = peak.lock().unwrap();
                peak.0 += 1;
                peak.1 = peak.1.max(peak.0);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            peak.lock().unwrap().0 -= 1;
        }
    });
    tokio::time::timeout(Duration::from_secs(5), futures::future::join_all(tasks)).await.unwrap();
    assert_eq!(*peak.lock().unwrap(), (0, 3));
    assert_eq!(budget.requests(), 60);
}

#[tokio::test]
async fn a_waiter_that_gives_up_takes_no_connection_with_it() {
    let budget = Ledger::default().budget("http://h", limits(1));
    let first = budget.enter(&Arc::default(), "/b/f").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(5), budget.enter(&Arc::default(), "/b/f")).await.is_err());
    drop(first);
    tokio::time::timeout(Duration::from_secs(1), budget.enter(&Arc::default(), "/b/f")).await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_are_spaced_by_the_rate() {
    let rate = Limits { requests_per_second: Some(50.0), ..Limits::default() };
    let budget = Ledger::default().budget("http://h", rate);
    let start = Instant::now();
    for _ in 0..11 {
        budget.enter(&Arc::default(), "/b/f").await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(199), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_pause_holds_for_all_and_a_long_one_is_an_error() {
    let ledger = Ledger::default();
    let budget = ledger.budget("http://h", Limits::default());
    budget.pause(Duration::from_millis(80));
    let start = Instant::now();
    ledger.budget("http://h", Limits::default()).enter(&Arc::default(), "/b/f").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(80));
    let start = Instant::now();
    ledger.budget("http://other", Limits::default()).enter(&Arc::default(), "/b/f").await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(50), "another host is not paused");
    budget.pause(Duration::from_secs(3600));
    let error = budget.enter(&Arc::default(), "/b/f").await.unwrap_err().to_string();
    assert!(
        error.starts_with("http://h asks to be left alone for 3599 s, longer than is waited for (120 s)"),
        "{error}"
    );
}

#[tokio::test]
async fn the_days_bytes_run_out_and_renew() {
    let limit = Limits { bytes_per_day: Some(100), ..Limits::default() };
    let budget = Ledger::default().budget("http://h", limit);
    let permit = budget.enter(&Arc::default(), "/b/f").await.unwrap();
    permit.received(99);
    budget.enter(&Arc::default(), "/b/f").await.unwrap();
    permit.received(1);
    let error = budget.enter(&Arc::default(), "/b/f").await.unwrap_err().to_string();
    assert_eq!(
        error,
        "the limit of 100 bytes per day for http://h is used up (bytes-per-day); it renews in 24 h 0 min"
    );
    assert_eq!(budget.bytes(), 100);
    let state = budget.state();
    let (start, _) = state.day.unwrap();
    assert!(state.exhausted(start + DAY - Duration::from_secs(1)).is_some());
    assert!(state.exhausted(start + DAY).is_none());
}

#[test]
fn waits_are_spread_without_a_common_beat() {
    let spreads: Vec<f64> = (0..1000).map(spread).collect();
    assert!(spreads.iter().all(|s| (0.75..=1.25).contains(s)));
    let mean = spreads.iter().sum::<f64>() / spreads.len() as f64;
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
    assert!(spreads.windows(2).all(|pair| (pair[0] - pair[1]).abs() > 0.1));
}

#[test]
fn retry_after_reads_seconds_and_dates() {
    let headers = |pairs: &[(reqwest::header::HeaderName, &str)]| {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    };
    assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "2")])), Some(Duration::from_secs(2)));
    let date = [(RETRY_AFTER, "Fri, 31 Dec 1999 23:59:59 GMT"), (DATE, "Fri, 31 Dec 1999 23:59:29 GMT")];
    assert_eq!(retry_after(&headers(&date)), Some(Duration::from_secs(30)));
    assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "soon")])), None);
    assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "99999999999999999999999")])), None);
}

#[tokio::test]
async fn a_shared_budget_is_used_as_far_as_it_is_granted() {
    let ledger = Ledger::shared();
    let (budget, free) = (ledger.budget("http://h", limits(4)), ledger.budget("http://free", Limits::default()));
    // Nobody limits the other host: each process has its own manners.
    drop(free.enter(&Arc::default(), "/b/f").await.unwrap());
    let soon = Duration::from_millis(20);
    let party = Arc::default();
    let enter = || tokio::time::timeout(soon, budget.enter(&party, "/b/f"));
    assert!(enter().await.is_err(), "nothing was granted yet");
    let waits = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.enter(&Arc::default(), "/b/f").await }
    });
    tokio::time::sleep(soon).await;
    let demands = ledger.demands();
    assert_eq!(demands.len(), 1);
    let Demand { origin, in_use, waiting, limits, .. } = &demands[0];
    assert_eq!((origin.as_str(), *in_use, *waiting, limits.connections), ("http://h", 0, 1, Some(4)));
    ledger.grant("http://h", Grant { connections: 1, bytes: Some(100), is_last: false });
    let permit = waits.await.unwrap().unwrap();
    assert!(enter().await.is_err(), "one was granted");
    permit.received(100);
    drop(permit);
    assert!(enter().await.is_err(), "its bytes are used up");
    ledger.grant("http://h", Grant { connections: 2, bytes: Some(200), is_last: false });
    drop(enter().await.unwrap().unwrap());
    ledger.grant("http://h", Grant { connections: 2, bytes: Some(100), is_last: true });
    assert!(matches!(enter().await, Ok(Err(BudgetError::Exhausted { .. }))));
}

#[tokio::test]
async fn a_share_of_the_connections_is_a_share_of_the_rate() {
    let ledger = Ledger::shared();
    let budget =
        ledger.budget("http://h", Limits { connections: Some(4), requests_per_second: Some(4.0), ..Limits::default() });
    let start = Instant::now();
    ledger.grant("http://h", Grant { connections: 2, bytes: None, is_last: false });
    for _ in 0..10 {
        drop(budget.enter(&Arc::default(), "/b/f").await.unwrap());
    }
    // Fifty a second, and the first one not at once.
    assert!(start.elapsed() >= Duration::from_millis(195), "{:?}", start.elapsed());
}
