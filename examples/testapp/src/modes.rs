//! The ways in which an app goes wrong.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use crate::http::{Request, respond};
use crate::variable;

/// What a release command does: `ok`, `fail` or `hang`.
pub(crate) fn release_command(how: Option<&str>) -> ! {
    println!("release command: {}", how.unwrap_or("ok"));
    match how {
        Some("env") => {
            std::env::vars().for_each(|(name, value)| println!("{name}={value}"));
            std::process::exit(0)
        }
        Some("fail") => std::process::exit(4),
        Some("hang") => loop {
            std::thread::sleep(Duration::from_secs(60));
        },
        _ => std::process::exit(0),
    }
}

/// Goes wrong before it listens, or says where to listen.
pub(crate) fn before_listening(port: u16) -> SocketAddr {
    match variable("MODE").as_str() {
        "exit" => {
            println!("reading the configuration\nconnecting to the database\nthe database refuses: giving up");
            std::thread::sleep(Duration::from_millis(200));
            std::process::exit(3);
        }
        "no-listen" => loop {
            std::thread::sleep(Duration::from_secs(60));
        },
        "slow-start" => {
            let ms = variable("START_MS").parse().unwrap_or(2000);
            std::thread::sleep(Duration::from_millis(ms));
        }
        "oom" => eat_memory(),
        "write-root" => {
            if let Err(error) = std::fs::write("/state", "x") {
                println!("cannot write /state: {error}");
                std::process::exit(1);
            }
        }
        "need-env" if variable("DATABASE_URL").is_empty() => {
            println!("Error: DATABASE_URL is not set");
            std::process::exit(1);
        }
        "loopback" => return ([127, 0, 0, 1], port).into(),
        "wrong-port" => return ([0, 0, 0, 0], 9999).into(),
        _ => {}
    }
    ([0, 0, 0, 0], port).into()
}

fn eat_memory() -> ! {
    println!("loading everything into memory");
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 1 << 20]);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The health path, well or not.
pub(crate) fn health(request: &mut Request) -> std::io::Result<bool> {
    match variable("MODE").as_str() {
        "never-healthy" => respond(request, 500, "text/plain", b"not ready: the database is down\n"),
        // Well for as long as a file is not there.
        "ill-later" if std::fs::exists("/tmp/ill")? => {
            respond(request, 503, "text/plain", b"the queue is full\n")
        }
        "redirect" => {
            request.drain()?;
            request.stream().write_all(
                b"HTTP/1.1 301 -\r\nlocation: https://example.com/\r\ncontent-length: 0\r\n\r\n",
            )?;
            Ok(true)
        }
        _ => respond(request, 200, "text/plain", b"ok\n"),
    }
}
