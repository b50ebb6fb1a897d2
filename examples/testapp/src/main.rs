//! The app that the tests deploy: it answers, echoes who it is, and misbehaves on demand (`MODE`).

mod http;
mod modes;
mod websocket;

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use http::{Request, respond};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == "release") {
        modes::release_command(arguments.get(1).map(String::as_str));
    }
    let port = variable("PORT").parse().unwrap_or(8080);
    let address = modes::before_listening(port);
    let listener = TcpListener::bind(address).unwrap_or_else(|error| {
        println!("cannot listen on {address}: {error}");
        std::process::exit(1);
    });
    println!("listening on {address}");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let _ = http::serve(stream, answer);
        });
    }
}

/// Answers one request; false when the connection is of no more use.
fn answer(request: &mut Request) -> std::io::Result<bool> {
    let path = request.path.clone();
    match path.as_str() {
        "/healthz" => modes::health(request),
        "/echo" if variable("MODE") == "errors" => respond(request, 500, "text/plain", b"it went wrong\n"),
        "/echo" => {
            request.drain()?;
            let body = format!(
                "{{\"app\":\"{}\",\"environment\":\"{}\",\"release\":\"{}\",\"instance\":\"{}\",\"id\":\"{}\"}}",
                variable("SLIPWAY_APP"),
                variable("SLIPWAY_ENVIRONMENT"),
                variable("SLIPWAY_RELEASE"),
                variable("SLIPWAY_INSTANCE"),
                request.query("id").unwrap_or_default(),
            );
            respond(request, 200, "application/json", body.as_bytes())
        }
        "/env" => {
            let all: String = std::env::vars().map(|(k, v)| format!("{k}={v}\n")).collect();
            respond(request, 200, "text/plain", all.as_bytes())
        }
        "/headers" => {
            let all: String = request.headers.iter().map(|(k, v)| format!("{k}: {v}\n")).collect();
            respond(request, 200, "text/plain", all.as_bytes())
        }
        "/file" => file(request),
        "/log" => {
            println!("{}", request.query("line").unwrap_or_default());
            respond(request, 200, "text/plain", b"written\n")
        }
        "/upload" => {
            let (length, sum) = request.measure()?;
            respond(request, 200, "application/json", format!("{{\"length\":{length},\"sum\":\"{sum:016x}\"}}").as_bytes())
        }
        "/slow" => {
            let ms = request.query("ms").and_then(|m| m.parse().ok()).unwrap_or(1000);
            std::thread::sleep(Duration::from_millis(ms));
            respond(request, 200, "text/plain", b"at last\n")
        }
        "/sse" => events(request),
        "/ws" => websocket::serve(request),
        "/exit" => std::process::exit(7),
        "/ask" => {
            let asked = request.query("domain").unwrap_or_default();
            println!("asked about {asked}");
            let is_ours = variable("DOMAINS").split(' ').any(|own| own == asked);
            respond(request, if is_ours { 200 } else { 404 }, "text/plain", b"\n")
        }
        "/" => respond(request, 200, "text/plain", b"the test app\n"),
        _ => respond(request, 404, "text/plain", b"no such page\n"),
    }
}

fn file(request: &mut Request) -> std::io::Result<bool> {
    let path = request.query("path").unwrap_or_default();
    let done = match request.query("write") {
        Some(text) => std::fs::write(&path, text).map(|()| "written\n".to_owned()),
        None => std::fs::read_to_string(&path),
    };
    match done {
        Ok(text) => respond(request, 200, "text/plain", text.as_bytes()),
        Err(error) => respond(request, 500, "text/plain", error.to_string().as_bytes()),
    }
}

fn events(request: &mut Request) -> std::io::Result<bool> {
    let count: u32 = request.query("n").and_then(|n| n.parse().ok()).unwrap_or(3);
    let stream = request.stream();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")?;
    for n in 0..count {
        write!(stream, "id: {n}\ndata: event {n}\n\n")?;
        stream.flush()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    // The end of the connection is the end of the stream.
    stream.shutdown(Shutdown::Write)?;
    Ok(false)
}
