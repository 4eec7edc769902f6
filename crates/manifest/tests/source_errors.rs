//! Every way in which a source can fail, and the sentence it gives.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Instant;

use s2ice_manifest::source::location::{Source, SourceError, SourceOptions, SourceUrl};
use s2ice_manifest::source::secret::Secret;
use support::{Answer, Server};

const XML: &str = "Content-Type: application/xml\r\n";

fn s3(endpoint: &str) -> Source {
    let options = SourceOptions {
        endpoint: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        anonymous: true,
        ..SourceOptions::default()
    };
    Source::open(&SourceUrl::parse("s3://eodata/root").unwrap(), &options).unwrap()
}

async fn fails(answer: Answer) -> (SourceError, u64) {
    let server = Server::start(move |_, _| answer.clone()).await;
    let error = s3(&server.address).get_range("/a/b.jp2", 0..16).await.unwrap_err();
    (error, server.requests.load(std::sync::atomic::Ordering::SeqCst))
}

#[tokio::test]
async fn statuses_become_sentences() {
    let code = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    let (error, requests) = fails(Answer::new("403 Forbidden", XML, code("AccessDenied"))).await;
    assert_eq!(requests, 1, "a refusal is not asked again");
    assert_eq!(
        error.to_string(),
        "access to s3://eodata/root/a/b.jp2 was refused (403 AccessDenied): check the credentials, or read anonymously if \
         the data is public; a requester-pays bucket needs the requester-pays option"
    );
    let (error, _) = fails(Answer::new("404 Not Found", XML, code("NoSuchKey"))).await;
    assert_eq!(error.to_string(), "s3://eodata/root/a/b.jp2 does not exist");
    let (error, _) = fails(Answer::new("404 Not Found", XML, code("NoSuchBucket"))).await;
    assert!(error.to_string().starts_with("bucket \"eodata\" does not exist at http://127.0.0.1:"), "{error}");
    let (error, _) = fails(Answer::new("404 Not Found", "", "<!DOCTYPE html><html>no</html>")).await;
    assert!(matches!(error, SourceError::WrongEndpoint { .. }), "{error}");
    let (error, _) = fails(Answer::new("301 Moved Permanently", XML, code("PermanentRedirect"))).await;
    assert!(matches!(error, SourceError::WrongRegion { .. }), "{error}");
    let (error, _) = fails(Answer::new("416 Range Not Satisfiable", XML, code("InvalidRange"))).await;
    assert_eq!(error.to_string(), "s3://eodata/root/a/b.jp2 ends before byte 0");
    let (error, _) =
        fails(Answer::new("200 OK", "Last-Modified: Sat, 01 Jan 2022 00:00:00 GMT\r\n", "0123456789")).await;
    assert!(matches!(error, SourceError::NoRange { .. }), "{error}");
    let (error, _) = fails(Answer::new("400 Bad Request", XML, code("AuthorizationHeaderMalformed"))).await;
    assert!(error.to_string().contains("the server answered 400 AuthorizationHeaderMalformed"), "{error}");
}

#[tokio::test]
async fn listings_fail_with_the_same_sentences() {
    for (status, code, what) in [
        ("404 Not Found", "NoSuchBucket", "bucket \"eodata\" does not exist at"),
        ("403 Forbidden", "AccessDenied", "access to s3://eodata/root/x was refused (403 AccessDenied)"),
    ] {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let server = Server::start(move |_, _| Answer::new(status, XML, body.clone())).await;
        let text = s3(&server.address).list("x", 10).await.unwrap_err().to_string();
        assert!(text.starts_with(what), "{text}");
    }
}

#[tokio::test]
async fn more_than_was_asked_for_is_not_taken() {
    let answer = Answer::new("206 Partial Content", "Content-Range: bytes 0-15/1000\r\n", vec![0; 1 << 20]);
    let (error, _) = fails(answer).await;
    assert!(error.to_string().contains("the server sent more than the 16 bytes that it was asked for"), "{error}");
}

#[tokio::test]
async fn size_etag_and_time_come_from_the_range_response() {
    const HEADERS: &str =
        "Content-Range: bytes 2-5/1000\r\nETag: \"abc\"\r\nLast-Modified: Sat, 01 Jan 2022 00:00:00 GMT\r\n";
    let server = Server::start(|_, head| {
        assert!(head.starts_with("GET /eodata/root/a%20b.jp2 "), "{head}");
        assert!(head.to_ascii_lowercase().contains("range: bytes=2-5\r\n"), "{head}");
        Answer::new("206 Partial Content", HEADERS, "2345")
    })
    .await;
    let source = s3(&server.address);
    let fetched = source.get_range("a b.jp2", 2..6).await.unwrap();
    assert_eq!((&fetched.bytes[..], fetched.size, fetched.etag.as_deref()), (&b"2345"[..], 1000, Some("\"abc\"")));
    assert_eq!(fetched.last_modified.unwrap().to_rfc3339(), "2022-01-01T00:00:00+00:00");
    assert_eq!((source.stats().requests(), source.stats().bytes()), (1, 4));
    assert!(source.effective().anonymous && source.effective().allow_http);
}

#[tokio::test]
async fn throttling_is_waited_out() {
    const HEADERS: &str = "Content-Range: bytes 0-3/4\r\nLast-Modified: Sat, 01 Jan 2022 00:00:00 GMT\r\n";
    let server = Server::start(|number, _| match number {
        // The client below gives up after four attempts; the source then waits and begins again.
        0..=4 => Answer::new("429 Too Many Requests", "", ""),
        _ => Answer::new("206 Partial Content", HEADERS, "good"),
    })
    .await;
    assert_eq!(&s3(&server.address).get_range("x", 0..4).await.unwrap().bytes[..], b"good");
}

#[tokio::test]
async fn a_refused_connection_fails_soon() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let start = Instant::now();
    let error = s3(&address).get_range("a", 0..16).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert!(start.elapsed().as_secs() < 6, "{:?}", start.elapsed());
}

#[tokio::test]
async fn web_servers_are_read_but_not_listed() {
    const HEADERS: &str = "Content-Range: bytes 0-3/9\r\n";
    let server = Server::start(|_, head| match head.split(' ').next() {
        Some("GET") if head.starts_with("GET /data/x/a.jp2 ") => Answer::new("206 Partial Content", HEADERS, "abcd"),
        Some("GET") => Answer::new("404 Not Found", "", "<html>nothing</html>"),
        _ => Answer::new("405 Method Not Allowed", "", ""),
    })
    .await;
    let url = SourceUrl::parse(&format!("{}/data", server.address)).unwrap();
    let source = Source::open(&url, &SourceOptions::default()).unwrap();
    let fetched = source.get_range("/x/a.jp2", 0..4).await.unwrap();
    assert_eq!((fetched.size, fetched.etag, fetched.last_modified), (9, None, None));
    assert!(source.get_range("/x/b.jp2", 0..4).await.unwrap_err().is_missing());
    let error = source.list("x", 10).await.unwrap_err();
    assert!(matches!(error, SourceError::CannotList { .. }), "{error}");
}

#[tokio::test]
async fn folders_are_read_without_following_links_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("source");
    std::fs::create_dir_all(root.join("a b")).unwrap();
    std::fs::write(root.join("a b/x.jp2"), b"0123456789").unwrap();
    std::fs::write(folder.path().join("secret"), b"secret").unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), root.join("link")).unwrap();
    std::os::unix::fs::symlink(root.join("a b"), root.join("inside")).unwrap();
    let source = Source::open(&SourceUrl::parse(root.to_str().unwrap()).unwrap(), &SourceOptions::default()).unwrap();

    let fetched = source.get_range("/a b/x.jp2", 8..100).await.unwrap();
    assert_eq!((&fetched.bytes[..], fetched.size), (&b"89"[..], 10));
    assert!(fetched.etag.is_some() && fetched.last_modified.is_some());
    assert!(source.url_of("/a b/x.jp2").unwrap().ends_with("/source/a%20b/x.jp2"));
    assert!(source.get_range("inside/x.jp2", 0..1).await.is_ok());
    let error = source.get_range("link", 0..1).await.unwrap_err();
    assert!(matches!(error, SourceError::BadPath { .. }), "{error}");
    assert!(source.get_range("nothing", 0..1).await.unwrap_err().is_missing());
    let error = source.get_range("a b/x.jp2", 10..12).await.unwrap_err();
    assert!(matches!(error, SourceError::PastEnd { offset: 10, .. }), "{error}");
    assert!(matches!(source.get_all("a b/x.jp2", 9).await, Err(SourceError::TooLarge { size: 10, limit: 9, .. })));

    let listed = source.list("", 10).await.unwrap();
    let paths: Vec<_> = listed.iter().map(|l| l.path.as_str()).collect();
    assert!(paths.contains(&"/a b/x.jp2"), "{paths:?}");
    assert!(matches!(source.list("/", 1).await, Err(SourceError::TooMany { limit: 1, .. })));

    let missing = SourceUrl::parse(root.join("none").to_str().unwrap()).unwrap();
    let error = Source::open(&missing, &SourceOptions::default()).unwrap_err();
    assert!(matches!(error, SourceError::NotAFolder { .. }), "{error}");
}

#[test]
fn options_are_checked() {
    let url = SourceUrl::parse("s3://eodata").unwrap();
    let mut options = SourceOptions::default();
    options.extra.insert("no_such_setting".to_owned(), Secret::new("x"));
    let error = Source::open(&url, &options).unwrap_err();
    assert!(error.to_string().contains("\"no_such_setting\" is no setting"), "{error}");
    let options = SourceOptions { endpoint: Some("eodata.example".to_owned()), ..SourceOptions::default() };
    assert!(Source::open(&url, &options).unwrap_err().to_string().contains("write https://eodata.example"));
}
