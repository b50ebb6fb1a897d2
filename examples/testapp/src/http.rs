//! As much of HTTP/1.1 as the tests need: keep-alive, bodies with a length and in chunks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A request whose body is still to be read.
pub(crate) struct Request {
    pub(crate) path: String,
    query: String,
    pub(crate) headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
    unread: bool,
}

type Handler = fn(&mut Request) -> std::io::Result<bool>;

/// Serves a connection until either side has enough.
pub(crate) fn serve(stream: TcpStream, handler: Handler) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let Some(mut request) = read(reader)? else { return Ok(()) };
        let close = request.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
        if !handler(&mut request)? || close {
            return Ok(());
        }
        request.drain()?;
        reader = request.reader;
    }
}

fn read(mut reader: BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let target = line.split_whitespace().nth(1).unwrap_or("/").to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    Ok(Some(Request { path: path.to_owned(), query: query.to_owned(), headers, reader, unread: true }))
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A parameter, percent-decoded.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let value = self.query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='))?;
        let mut bytes = Vec::new();
        let mut rest = value.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                other => other,
            });
        }
        String::from_utf8(bytes).ok()
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.reader.get_mut()
    }

    pub(crate) fn reader(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.reader
    }

    pub(crate) fn drain(&mut self) -> std::io::Result<()> {
        self.measure().map(drop)
    }

    /// Reads the body to its end: its length and its FNV-1a sum.
    pub(crate) fn measure(&mut self) -> std::io::Result<(u64, u64)> {
        let mut total = (0, 0xcbf2_9ce4_8422_2325);
        if !std::mem::take(&mut self.unread) {
            return Ok(total);
        }
        if self.header("expect").is_some() {
            self.stream().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if self.header("transfer-encoding").is_some() {
            loop {
                let mut line = String::new();
                self.reader.read_line(&mut line)?;
                let size = u64::from_str_radix(line.trim().split(';').next().unwrap_or("0"), 16).unwrap_or(0);
                self.take(size, &mut total)?;
                self.reader.read_line(&mut String::new())?;
                if size == 0 {
                    return Ok(total);
                }
            }
        }
        let length = self.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        self.take(length, &mut total)?;
        Ok(total)
    }

    fn take(&mut self, length: u64, total: &mut (u64, u64)) -> std::io::Result<()> {
        let mut part = self.reader.by_ref().take(length);
        let mut buffer = [0; 65536];
        loop {
            let n = part.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            total.0 += n as u64;
            for byte in &buffer[..n] {
                total.1 = (total.1 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
}

/// Answers with a body; the connection stays of use.
pub(crate) fn respond(request: &mut Request, status: u16, kind: &str, body: &[u8]) -> std::io::Result<bool> {
    request.drain()?;
    let head = format!("HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    let stream = request.stream();
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    Ok(true)
}
