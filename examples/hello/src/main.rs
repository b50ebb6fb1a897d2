//! The smallest app worth deploying: one page that says who it is, and a health check.
//!
//! It shows what the platform expects of an app, and nothing else: listen on all addresses at `PORT`, answer the health
//! path when ready, log to standard output, keep nothing on the root file system.

use std::env::var;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

/// A request's head may have so many lines, each so long; more is not from a browser.
const HEAD_LINES_MAX: usize = 100;
const LINE_BYTES_MAX: u64 = 8 * 1024;
/// A connection that says nothing for so long is closed.
const IDLE_MS_MAX: u64 = 75_000;

fn main() -> std::io::Result<()> {
    let port = var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    // Not 127.0.0.1: that would be the container's own, where nobody else reaches it.
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    println!("hello listens on port {port}");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            if let Err(error) = serve(stream) {
                println!("connection ended: {error}");
            }
        });
    }
    Ok(())
}

/// Answers request after request until the client closes or falls silent.
fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(IDLE_MS_MAX)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(path) = read_path(&mut reader)? {
        let (status, kind, body) = match path.split('?').next() {
            Some("/healthz") => ("200 OK", "text/plain", "ok\n".to_owned()),
            Some("/") => ("200 OK", "text/html; charset=utf-8", page()),
            _ => (
                "404 Not Found",
                "text/plain",
                "There is only / and /healthz here.\n".to_owned(),
            ),
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}");
        reader.get_mut().write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// The path of the next request, or nothing when the connection is of no more use.
fn read_path(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut path = None;
    for _ in 0..HEAD_LINES_MAX {
        let mut line = String::new();
        let read = std::io::Read::take(&mut *reader, LINE_BYTES_MAX).read_line(&mut line);
        match read {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        if path.is_none() {
            path = Some(line.split_whitespace().nth(1).unwrap_or_default().to_owned());
        } else if line.trim_end().is_empty() {
            return Ok(path);
        }
    }
    Ok(None)
}

/// What the platform told us, each in its own line.
fn page() -> String {
    let rows: String = [
        "SLIPWAY_APP",
        "SLIPWAY_ENVIRONMENT",
        "SLIPWAY_RELEASE",
        "SLIPWAY_INSTANCE",
    ]
    .iter()
    .map(|name| {
        format!(
            "<dt>{name}<dd>{}",
            escape(&var(name).unwrap_or_else(|_| "not set".to_owned()))
        )
    })
    .collect();
    format!("<!doctype html><html lang=en><title>Hello</title><h1>Hello from a container</h1><dl>{rows}</dl>\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
