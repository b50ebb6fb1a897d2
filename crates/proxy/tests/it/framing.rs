//! Requests that could be read in two ways, as bytes on the wire.

use crate::apps;
use crate::client::Speak;
use crate::world::{Scene, World, within};

const NAME: &str = "web.apps.localhost";

fn with_host(rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {NAME}\r\n{rest}")
}

fn framing_cases() -> Vec<(&'static str, String)> {
    let old = format!("POST / HTTP/1.0\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    vec![
        (
            "CL.TE",
            with_host("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
        ),
        (
            "TE.CL",
            with_host("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG"),
        ),
        (
            "unknown coding",
            with_host("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "two lengths",
            with_host("Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ),
        ("space before colon", with_host("Content-Length : 0\r\n\r\n")),
        ("folded header", with_host("X-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n")),
        ("NUL in value", with_host("X-A: \0\r\nContent-Length: 0\r\n\r\n")),
        ("chunked in 1.0", old),
    ]
}

fn host_cases() -> Vec<(&'static str, String)> {
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    vec![
        (
            "two hosts",
            with_host("Host: blog.apps.localhost\r\nContent-Length: 0\r\n\r\n"),
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n".into()),
        ("no host in 1.0", "GET / HTTP/1.0\r\n\r\n".into()),
        ("other host in target", get("http://blog.apps.localhost/", NAME)),
        ("user in host", get("/", &format!("x@{NAME}"))),
        ("path in host", get("/", &format!("{NAME}/x"))),
        (
            "CONNECT",
            format!("CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\n\r\n"),
        ),
    ]
}

fn size_cases() -> Vec<(&'static str, String)> {
    let long = "x".repeat(70_000);
    let many = (0..200).fold(String::new(), |all, n| format!("{all}X-{n}: 1\r\n"));
    vec![
        (
            "long header",
            with_host(&format!("X-Long: {long}\r\nContent-Length: 0\r\n\r\n")),
        ),
        ("many headers", with_host(&format!("{many}Content-Length: 0\r\n\r\n"))),
    ]
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_never_reach_the_app() {
    let app = apps::polite("web1").await;
    let world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    for (status, cases) in [(400, framing_cases()), (400, host_cases()), (431, size_cases())] {
        for (what, bytes) in cases {
            let answer = world.client.raw(NAME, bytes.as_bytes()).await;
            let line = answer.get(..12).unwrap_or_default();
            assert!(
                line.starts_with("HTTP/1.") && line.ends_with(&status.to_string()),
                "{what}: {answer}"
            );
            assert_eq!(
                answer.matches("HTTP/1.").count(),
                1,
                "{what}: one answer only: {answer}"
            );
        }
    }
    assert_eq!(app.seen(), 0);
}

#[tokio::test]
async fn an_ambiguous_request_behind_good_ones_is_found_too() {
    let app = apps::polite("web1").await;
    let world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    let get = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let chunked = with_host("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let sized = with_host("Content-Length: 3\r\n\r\nabc");
    let bad = with_host("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let answer = world
        .client
        .raw(NAME, format!("{get}{chunked}{sized}{bad}{get}").as_bytes())
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400").count(), 1, "{answer}");
    assert_eq!(app.seen(), 3);
}

#[tokio::test]
async fn a_slow_head_and_an_idle_connection_are_closed() {
    let app = apps::polite("web1").await;
    let limits = slipway_proxy::ProxyLimits {
        head_ms_max: 300,
        keep_alive_ms_max: 300,
        ..Default::default()
    };
    let world = World::start_with(&Scene::new().serving("web", &[app.upstream()]), limits, &[]).await;
    assert_eq!(world.client.raw(NAME, b"GET / HTTP/1.1\r\nHost: web").await, "");
    assert_eq!(world.client.raw(NAME, b"").await, "");
    let idle = world
        .client
        .raw(NAME, format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes())
        .await;
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
}

#[tokio::test]
async fn a_silent_peer_does_not_hold_a_handshake_open() {
    use tokio::io::AsyncReadExt as _;
    let limits = slipway_proxy::ProxyLimits {
        handshake_ms_max: 200,
        ..Default::default()
    };
    let world = World::start_with(&Scene::new(), limits, &[]).await;
    let mut stream = tokio::net::TcpStream::connect(world.client.https)
        .await
        .expect("a connection");
    let mut buffer = [0; 8];
    let read = within("the proxy to hang up", stream.read(&mut buffer)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let metrics = world.client.admin("/metrics").await;
    assert!(
        metrics
            .text()
            .contains("slipway_proxy_tls_handshake_failures_total{reason=\"timeout\"} 1")
    );
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let limits = slipway_proxy::ProxyLimits {
        connections_per_ip_max: 2,
        ..Default::default()
    };
    let world = World::start_with(&Scene::new(), limits, &[]).await;
    let first = world.client.tls(NAME, Speak::H1).await.expect("room");
    let _second = world.client.tls(NAME, Speak::H1).await.expect("room");
    assert!(world.client.tls(NAME, Speak::H1).await.is_err());
    drop(first);
    within("room again", async {
        while world.client.tls(NAME, Speak::H1).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
