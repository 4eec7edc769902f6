//! A web server for tests: one thread, one handler, a record of what was asked; and the parts of a STAC API.
// Every test file uses its own part.
#![allow(dead_code)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use s2ice_manifest::source::stac_file::StacOptions;
use s2ice_manifest::stac::{StacLoad, StacQuery};
use serde_json::{Value, json};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path with query.
    pub path: String,
    /// All header lines.
    pub headers: String,
    /// Body as JSON, null without one.
    pub body: Value,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    cut: bool,
}

impl Answer {
    pub fn json(body: &Value) -> Self {
        Self::status(200, &body.to_string())
    }

    pub fn status(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.to_owned(), cut: false }
    }

    /// A response that ends before its body does.
    pub fn cut() -> Self {
        Self { cut: true, ..Self::status(200, "{\"type\": ") }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn send(&self, mut stream: &TcpStream) {
        let length = self.body.len() + if self.cut { 100 } else { 0 };
        let mut text = format!("HTTP/1.1 {} x\r\nconnection: close\r\ncontent-length: {length}\r\n", self.status);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        // The client may have gone: that is its affair.
        let _ = stream.write_all(format!("{text}\r\n{}", self.body).as_bytes());
    }
}

/// A server that answers until it is dropped.
pub struct Server {
    host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(handler: impl Fn(&Asked) -> Answer + Send + 'static) -> Self {
        Self::start_at(move |asked, _| handler(asked))
    }

    /// The handler is also told the server's own `http://host:port`.
    pub fn start_at(handler: impl Fn(&Asked, &str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (record, stopped, own) = (Arc::clone(&asked), Arc::clone(&stop), host.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Some((stream, request)) = stream.ok().and_then(read) else { continue };
                let answer = handler(&request, &own);
                record.lock().unwrap().push(request);
                answer.send(&stream);
            }
        });
        Self { host, asked, stop, thread: Some(thread) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.host)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread from waiting for a connection.
        let _ = TcpStream::connect(self.host.trim_start_matches("http://"));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn read(stream: TcpStream) -> Option<(TcpStream, Asked)> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        headers += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some((reader.into_inner(), Asked { method, path, headers, body }))
}

pub fn page(items: &[Value], next: Option<Value>) -> Answer {
    Answer::json(
        &json!({"type": "FeatureCollection", "features": items, "links": next.into_iter().collect::<Vec<_>>()}),
    )
}

pub const CQL2: &str = "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter";
pub const CQL2_JSON: &str = "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json";
pub const QUERY: &str = "https://api.stacspec.org/v1.0.0/item-search#query";

pub fn landing(conforms: &[&str], methods: &[&str]) -> Answer {
    let search = |method: &&str| json!({"rel": "search", "href": "/v1/search", "method": method});
    let links: Vec<_> = methods.iter().map(search).collect();
    Answer::json(&json!({"type": "Catalog", "id": "a", "conformsTo": conforms, "links": links}))
}

pub fn query() -> StacQuery {
    let (tile, level) = ("29UNU".parse().unwrap(), "L2A".parse().unwrap());
    StacQuery { tile, level, datetime: None, max_cloud_cover: None, collection: None, updated_since: None }
}

pub fn fast() -> StacOptions {
    StacOptions { requests_per_second: 1000.0, backoff_seconds: 0.001, timeout_seconds: 10.0, ..StacOptions::default() }
}

pub fn days(load: &StacLoad) -> Vec<String> {
    load.items.iter().map(|item| item.datetime.format("%d").to_string()).collect()
}

pub fn searches(asked: &[Asked]) -> Vec<&Asked> {
    asked.iter().filter(|asked| asked.path.starts_with("/v1/search")).collect()
}
