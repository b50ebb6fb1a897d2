//! One trace from the API call to the first good probe, as a collector sees it, and from a visitor through the proxy into
//! the app.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::platform::{Options, Platform, answer, app_image, until, wait};
use crate::receiver::receiver;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A span as it was exported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
}

type Spans = Arc<Mutex<BTreeSet<Span>>>;

/// Takes traces over OTLP/HTTP.
fn collector() -> (String, Spans) {
    let spans = Spans::default();
    let seen = Arc::clone(&spans);
    let address = receiver(move |first_line, body| {
        if first_line.starts_with("post /v1/traces ") {
            seen.lock().expect("no panic").extend(read(body));
        }
        200
    });
    (address, spans)
}

/// The spans of an `ExportTraceServiceRequest`: `resource_spans` (1), `scope_spans` (2), `spans` (2).
fn read(body: &[u8]) -> Vec<Span> {
    let scopes = fields(body, 1).into_iter().flat_map(|resource| fields(resource, 2));
    let spans = scopes.flat_map(|scope| fields(scope, 2));
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, b| format!("{text}{b:02x}"));
    let first = |span: &[u8], number| fields(span, number).first().map(|b| b.to_vec()).unwrap_or_default();
    spans
        .map(|span| Span {
            trace: hex(&first(span, 1)),
            id: hex(&first(span, 2)),
            parent: hex(&first(span, 4)),
            name: String::from_utf8_lossy(&first(span, 5)).into_owned(),
        })
        .collect()
}

/// The fields of a Protocol Buffers message that have this number and a length.
fn fields(mut message: &[u8], number: u64) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let size = match key & 7 {
            0 => {
                varint(&mut message);
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)).expect("a length"),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = message.split_at(size);
        if key == number << 3 | 2 {
            found.push(value);
        }
        message = rest;
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

#[test]
fn one_trace_spans_the_call_the_planner_the_engine_and_the_first_good_probe() {
    let (endpoint, spans) = collector();
    let platform = Platform::with(Options {
        variables: vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)],
        ..Options::default()
    });
    platform.log_in_to_registry();
    platform.app("traced", &serde_json::json!({"health": {"path": "/healthz"}}));
    let path = format!("/v1/deploy?image={}&app=traced&wait=90s", app_image("1"));
    platform
        .call_as(&platform.token(), "POST", &path, None, &[("traceparent", PARENT)])
        .expect(200);

    let ours = until("the whole trace", || {
        let ours: Vec<Span> = spans
            .lock()
            .expect("no panic")
            .iter()
            .filter(|s| s.trace == TRACE)
            .cloned()
            .collect();
        eprintln!(
            "SEEN {:?}",
            ours.iter().map(|s| (&s.name, &s.parent, &s.id)).collect::<Vec<_>>()
        );
        let names = ["api.post", "deploy.run", "engine.apply_group", "deploy.probe"];
        names
            .iter()
            .all(|n| ours.iter().any(|s| s.name.contains(n)))
            .then_some(ours)
    });
    let named = |name: &str| ours.iter().find(|s| s.name.contains(name)).expect("there");
    assert_eq!(named("api.post").parent, CALLER, "the caller's span");
    assert_eq!(named("deploy.run").parent, named("api.post").id);
    assert_eq!(named("engine.apply_group").parent, named("deploy.run").id);
    assert_eq!(named("deploy.probe").parent, named("deploy.run").id);
}

#[test]
fn a_visitors_trace_goes_on_into_the_app_under_the_span_that_is_exported() {
    let (endpoint, spans) = collector();
    let platform = Platform::with(Options {
        variables: vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)],
        ..Options::default()
    });
    platform.log_in_to_registry();
    platform.app("followed", &serde_json::json!({"health": {"path": "/healthz"}}));
    platform.deploy("followed", "1").expect(200);
    let host = "followed.apps.localhost";
    let seen = wait(async {
        let client = platform.browser(host).build().expect("a client");
        let request = client.get(platform.url(host, "/headers")).header("traceparent", PARENT);
        answer(request.send().await.expect("the proxy answers")).await
    });
    let mut lines = seen.text.lines();
    let told = lines.find_map(|l| l.strip_prefix("traceparent: "));
    let told = told.unwrap_or_else(|| panic!("no traceparent in: {}", seen.text));
    let span = until("the proxy's span", || {
        let spans = spans.lock().expect("no panic");
        spans
            .iter()
            .find(|s| s.trace == TRACE && s.name == "proxy.request")
            .cloned()
    });
    assert_eq!(span.parent, CALLER, "the visitor's span");
    assert_eq!(told, format!("00-{TRACE}-{}-01", span.id));
}
