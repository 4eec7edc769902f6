//! A tiny HTTP server and the place of the real data, for the tests of the readers.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

#[path = "../../../../tests/support/real_data.rs"]
mod real_data;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The folder of real data, or `None` (said on stderr) where it is absent.
pub fn data() -> Option<PathBuf> {
    real_data::real_data("golden")?;
    Some(real_data::real_data("")?.canonicalize().unwrap())
}

/// An answer: status line, further headers, body.
#[derive(Clone)]
pub struct Answer {
    pub status: &'static str,
    pub headers: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: &'static str, headers: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers, body: body.into() }
    }
}

/// A server on this machine that gives `answer(request number, request head)`.
pub struct Server {
    pub address: String,
    pub requests: Arc<AtomicU64>,
}

impl Server {
    pub async fn start(answer: impl Fn(u64, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicU64::new(0));
        let (count, answer) = (Arc::clone(&requests), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (count, answer) = (Arc::clone(&count), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    let mut buffer = [0; 4096];
                    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                        match socket.read(&mut buffer).await {
                            Ok(n) if n > 0 => head.extend_from_slice(&buffer[..n]),
                            _ => return,
                        }
                    }
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    let Answer { status, headers, body } = answer(number, &String::from_utf8_lossy(&head));
                    let head = format!(
                        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = socket.write_all(head.as_bytes()).await;
                    let _ = socket.write_all(&body).await;
                });
            }
        });
        Self { address, requests }
    }
}
