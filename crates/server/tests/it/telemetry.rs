//! Traces really leave the process: a collector on a socket receives what the exporter sends over OTLP.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use slipway_server::config::LogFormat;
use slipway_server::telemetry::{self, Output};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Takes one request and gives its head and body.
fn collector() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut bytes = Vec::new();
            let mut chunk = [0; 4096];
            let (head, length) = loop {
                let n = stream.read(&mut chunk).expect("a request");
                bytes.extend(&chunk[..n]);
                let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
                    assert!(n > 0, "the request was cut off");
                    continue;
                };
                let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
                let length: usize = length.and_then(|l| l.trim().parse().ok()).expect("a length");
                bytes.drain(..end + 4);
                break (head, length);
            };
            while bytes.len() < length {
                let n = stream.read(&mut chunk).expect("the body");
                assert!(n > 0, "the body was cut off");
                bytes.extend(&chunk[..n]);
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .expect("answered");
            let _ = send.send((head, bytes));
        }
    });
    (format!("http://{address}"), receive)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

/// In a process of its own, as the exporter is configured by the standard environment variable.
#[test]
fn spans_reach_the_collector_in_the_callers_trace_at_the_latest_at_the_end() {
    let (endpoint, received) = collector();
    let status = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "telemetry::sends_a_span", "--nocapture"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .status()
        .expect("this program runs");
    assert!(status.success());
    let (head, body) = received
        .recv_timeout(crate::place::DEADLINE)
        .expect("something was exported");
    assert!(head.starts_with("post /v1/traces"), "{head}");
    let trace: Vec<u8> = (0..16)
        .map(|i| u8::from_str_radix(&TRACE[2 * i..2 * i + 2], 16).expect("hex"))
        .collect();
    assert!(contains(&body, &trace), "in the caller's trace");
    for text in [
        "slipway-control",
        "deploy.accept",
        "service.version",
        "db.within",
        "deploy.later",
    ] {
        assert!(contains(&body, text.as_bytes()), "{text}");
    }
    for text in ["library.noise", "db.alone"] {
        assert!(!contains(&body, text.as_bytes()), "{text} stays here");
    }
}

/// Run by the test above with an endpoint; by itself it exports nothing and proves that nothing is needed for it.
#[test]
fn sends_a_span() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let otlp = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let guard = telemetry::init("slipway-control", "info", LogFormat::Json, Output::Stderr, otlp).expect("begun");
        let span = tracing::info_span!(target: "slipway_api", "deploy.accept");
        let mut headers = http::HeaderMap::new();
        headers.insert(
            "traceparent",
            format!("00-{TRACE}-b7ad6b7169203331-01").parse().expect("a value"),
        );
        let carried = telemetry::continue_trace(&span, &headers).expect("a trace");
        assert!(carried.starts_with(&format!("00-{TRACE}-")), "{carried}");
        assert_eq!(
            otlp,
            !carried.contains("b7ad6b7169203331"),
            "a span of our own only when there is an exporter"
        );
        span.in_scope(|| {
            drop(tracing::info_span!(target: "hyper", "library.noise"));
            drop(tracing::debug_span!(target: "slipway_store", "db.within"));
        });
        drop(span);
        drop(tracing::debug_span!(target: "slipway_store", "db.alone"));
        // A library that only asks does not take anything away from what comes next.
        let _ = tracing::enabled!(target: "library", tracing::Level::DEBUG);
        drop(tracing::info_span!(target: "slipway_api", "deploy.later"));
        drop(guard);
    });
}

/// In a process of its own, as logging begins once in each.
#[test]
fn a_line_is_written_also_after_a_library_only_asked_whether_it_would_be() {
    let output = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "telemetry::writes_a_line", "--nocapture"])
        .output()
        .expect("this program runs");
    let written = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{written}");
    for line in ["the first", "the second"] {
        assert!(written.contains(line), "{line} is missing in {written}");
    }
}

/// Run by the test above.
#[test]
fn writes_a_line() {
    let filter = "info,elsewhere=debug";
    let _guard = telemetry::init("slipway-control", filter, LogFormat::Json, Output::Stderr, false).expect("begun");
    for line in ["the first", "the second"] {
        assert!(tracing::enabled!(target: "slipway_api", tracing::Level::INFO));
        let _ = tracing::enabled!(target: "library", tracing::Level::DEBUG);
        tracing::info!(target: "slipway_api", "{line}");
    }
}
