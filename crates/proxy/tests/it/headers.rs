//! What an app is told about its client, and what a client cannot make up.

use http::{Method, StatusCode};

use crate::apps;
use crate::client::{Answer, Speak, request};
use crate::world::{Scene, World};

const NAME: &str = "web.apps.localhost";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn told(answer: &Answer, name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_client_cannot_make_up_what_the_proxy_vouches_for() {
    let app = apps::polite("web1").await;
    let world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    let spoofed = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.test"),
        ("x_forwarded_for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("x-request-id", "mine"),
        ("traceparent", TRACE),
        ("tracestate", "vendor=1"),
        ("connection", "x-forwarded-for, x-secret"),
        ("x-secret", "1"),
    ];
    let answer = world
        .client
        .send(Speak::H1, NAME, request(Method::GET, "/headers", &spoofed, ""))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(told(&answer, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(told(&answer, "x-forwarded-proto"), ["https"]);
    assert_eq!(told(&answer, "x-forwarded-host"), [NAME]);
    assert_eq!(told(&answer, "host"), [NAME]);
    for absent in ["x_forwarded_for", "forwarded", "x-real-ip", "x-secret", "connection"] {
        assert!(told(&answer, absent).is_empty(), "{absent}: {}", answer.text());
    }
    let id = told(&answer, "x-request-id");
    assert!(id.len() == 1 && id[0].starts_with("req_"), "{id:?}");
    assert_eq!(answer.header("x-request-id"), id[0]);
    let trace = told(&answer, "traceparent");
    assert!(
        trace.len() == 1 && trace[0].starts_with(&TRACE[..36]) && trace[0] != TRACE,
        "{trace:?}"
    );
    assert_eq!(told(&answer, "tracestate"), ["vendor=1"]);
}

#[tokio::test]
async fn a_trusted_peer_is_believed() {
    let app = apps::polite("web1").await;
    let scene = Scene::new().serving("web", &[app.upstream()]);
    let world = World::start_with(&scene, slipway_proxy::ProxyLimits::default(), &["127.0.0.0/8"]).await;
    let headers = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-request-id", "edge-1"),
        ("x-forwarded-host", "shop.test"),
    ];
    let answer = world
        .client
        .send(Speak::H1, NAME, request(Method::GET, "/headers", &headers, ""))
        .await;
    assert_eq!(told(&answer, "x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(told(&answer, "x-forwarded-host"), ["shop.test"]);
    assert_eq!(told(&answer, "x-request-id"), ["edge-1"]);
}

#[tokio::test]
async fn the_api_hears_the_request_id_its_client_chose() {
    let api = apps::polite("api").await;
    let world = World::start(&Scene::new().api("console.test", api.address)).await;
    let headers = [("x-request-id", "ci-42"), ("x-forwarded-for", "10.0.0.1")];
    let answer = world
        .client
        .send(
            Speak::H2,
            "console.test",
            request(Method::GET, "/headers", &headers, ""),
        )
        .await;
    assert_eq!(told(&answer, "x-request-id"), ["ci-42"]);
    assert_eq!(told(&answer, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(answer.header("x-request-id"), "ci-42");
}

#[tokio::test]
async fn cookies_split_by_http2_arrive_as_one() {
    let app = apps::polite("web1").await;
    let world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    let headers = [("cookie", "a=1"), ("cookie", "b=2")];
    let answer = world
        .client
        .send(Speak::H2, NAME, request(Method::GET, "/headers", &headers, ""))
        .await;
    assert_eq!(told(&answer, "cookie"), ["a=1; b=2"]);
    assert_eq!(told(&answer, "host"), [NAME]);
}

#[tokio::test]
async fn what_concerns_one_connection_is_not_passed_back() {
    let app = apps::polite("web1").await;
    let world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    let answer = world.client.get(NAME, "/hop").await;
    assert_eq!(answer.header("x-kept"), "1");
    assert!(!answer.headers.contains_key("x-internal"));
    assert!(!answer.headers.contains_key("connection"));
}

#[tokio::test]
async fn a_head_request_keeps_the_length_and_has_no_body() {
    let app = apps::polite("web1").await;
    let world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    for name in [NAME, "nobody.apps.localhost"] {
        let answer = world
            .client
            .send(Speak::H1, name, request(Method::HEAD, "/", &[], ""))
            .await;
        assert!(answer.body.is_empty());
        assert!(
            answer
                .header("content-length")
                .parse::<u64>()
                .is_ok_and(|length| length > 0),
            "{name}"
        );
    }
}
