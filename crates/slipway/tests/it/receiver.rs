//! Somebody who takes what the platform sends over HTTP: a collector of traces, a receiver of alerts.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// Listens, and answers each request with what `answer` says of its first line and its body. Gives its address.
pub(crate) fn receiver(answer: impl Fn(&str, &[u8]) -> u16 + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || take(stream, answer.as_ref()));
        }
    });
    format!("http://{address}")
}

/// Requests of one connection, until it is closed.
fn take(mut stream: TcpStream, answer: &dyn Fn(&str, &[u8]) -> u16) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            match stream.read(&mut chunk) {
                Ok(n) if n > 0 => bytes.extend(&chunk[..n]),
                _ => return,
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
        let length: usize = length.and_then(|l| l.trim().parse().ok()).expect("a length");
        bytes.drain(..end + 4);
        while bytes.len() < length {
            let n = stream.read(&mut chunk).expect("the body");
            assert!(n > 0, "the body was cut off");
            bytes.extend(&chunk[..n]);
        }
        let body: Vec<u8> = bytes.drain(..length).collect();
        let status = answer(head.lines().next().unwrap_or_default(), &body);
        let answered = stream.write_all(format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n").as_bytes());
        if answered.is_err() {
            return;
        }
    }
}
