//! Apps that refuse, break off or dawdle, and when a request is sent again.

use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use slipway_domain::routing::{Limits, Queue, RouteState};

use crate::apps;
use crate::client::{Answer, Speak, request};
use crate::world::{LIMITS, Scene, World, within};

const NAME: &str = "web.apps.localhost";

async fn problem(world: &World, method: Method, path: &str) -> (StatusCode, String) {
    let request = request(method, path, &[("accept", "application/json")], "");
    let answer: Answer = world.client.send(Speak::H1, NAME, request).await;
    (
        answer.status,
        answer.json()["code"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn a_refused_connection_goes_to_another_instance() {
    let app = apps::polite("good").await;
    let world = World::start(&Scene::new().serving("web", &[apps::nobody("dead").await, app.upstream()])).await;
    for n in 0..20 {
        let request = request(Method::POST, "/digest", &[], "abc");
        let answer = world.client.send(Speak::H1, NAME, request).await;
        assert_eq!(answer.status, StatusCode::OK, "request {n}");
        assert!(answer.text().starts_with("3 "), "the body came along");
    }
    assert_eq!(app.seen(), 20);
}

#[tokio::test]
async fn with_no_instance_left_the_answer_names_the_reason() {
    let world = World::start(&Scene::new().serving("web", &[apps::nobody("dead").await])).await;
    let expected = (StatusCode::BAD_GATEWAY, "app_refused_connection".to_owned());
    assert_eq!(problem(&world, Method::GET, "/").await, expected);
    let metrics = world.client.admin("/metrics").await;
    assert!(
        metrics
            .text()
            .contains("slipway_proxy_upstream_errors_total{why=\"app_refused_connection\"} 1")
    );
}

#[tokio::test]
async fn a_request_that_may_have_had_an_effect_is_not_sent_again() {
    let (instance, connections) = apps::blunt("rude", "").await;
    let other = apps::polite("other").await;
    let world = World::start(&Scene::new().serving("web", &[instance])).await;
    let expected = (StatusCode::BAD_GATEWAY, "app_broke_connection".to_owned());
    assert_eq!(problem(&world, Method::POST, "/").await, expected);
    assert_eq!(problem(&world, Method::GET, "/").await, expected);
    assert_eq!(
        connections.load(Ordering::SeqCst),
        2,
        "a fresh connection that breaks is not tried again"
    );
    assert_eq!(other.seen(), 0);
}

#[tokio::test]
async fn an_instance_that_fails_again_and_again_stands_back_while_another_answers() {
    let (breaks, _) = apps::blunt("breaks", "").await;
    let (errs, _) = apps::blunt("errs", "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").await;
    let good = apps::polite("good").await;
    for (failing, at_once) in [(breaks, 1), (errs, 5)] {
        let world = World::start(&Scene::new().serving("web", &[failing, good.upstream()])).await;
        let mut failed = 0;
        for _ in 0..200 {
            failed += usize::from(world.client.get(NAME, "/").await.status.is_server_error());
        }
        // It is tried again after 1 s, 3 s, 7 s and 15 s; half of the requests would fail otherwise.
        assert!((at_once..=at_once * 5).contains(&failed), "{failed} of 200");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_the_apps_error() {
    let (instance, _) = apps::blunt("odd", "SSH-2.0-OpenSSH\r\n").await;
    let world = World::start(&Scene::new().serving("web", &[instance])).await;
    assert_eq!(problem(&world, Method::GET, "/").await.0, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_connection_the_app_closed_meanwhile_costs_no_request() {
    // Says keep-alive and closes all the same, as servers do whose idle limit is shorter than ours.
    let says = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (instance, connections) = apps::blunt("brief", says).await;
    let world = World::start(&Scene::new().serving("web", &[instance])).await;
    for n in 0..30 {
        assert_eq!(world.client.get(NAME, "/").await.text(), "ok", "request {n}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 30);
}

#[tokio::test]
async fn an_app_that_does_not_begin_to_answer_times_out() {
    let app = apps::polite("slow").await;
    let limits = Limits {
        first_byte_ms_max: 200,
        ..LIMITS
    };
    let world = World::start(&Scene::new().app("web", RouteState::Serving, &[app.upstream()], limits)).await;
    let expected = (StatusCode::GATEWAY_TIMEOUT, "app_timed_out".to_owned());
    assert_eq!(problem(&world, Method::GET, "/never").await, expected);
    assert_eq!(app.seen(), 1, "a request that timed out is not sent again");
}

#[tokio::test]
async fn an_answer_that_stops_half_way_is_cut() {
    let (instance, _) = apps::blunt("half", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    let world = World::start(&Scene::new().serving("web", &[instance])).await;
    let bytes = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let answer = world.client.raw(NAME, bytes.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("half"),
        "{answer}"
    );
    let metrics = world.client.admin("/metrics").await;
    assert!(
        metrics
            .text()
            .contains("slipway_proxy_upstream_errors_total{why=\"app_broke_body\"} 1")
    );
}

#[tokio::test]
async fn connections_to_instances_are_used_again_and_closed_when_idle() {
    let app = apps::polite("web1").await;
    let limits = slipway_proxy::ProxyLimits {
        upstream_idle_ms_max: 500,
        ..Default::default()
    };
    let world = World::start_with(&Scene::new().serving("web", &[app.upstream()]), limits, &[]).await;
    let idle = |text: &str, count: usize| text.contains(&format!("slipway_proxy_upstream_idle_connections {count}\n"));
    for _ in 0..5 {
        assert_eq!(world.client.get(NAME, "/").await.status, StatusCode::OK);
    }
    let metrics = world.client.admin("/metrics").await;
    let connects = metrics
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("slipway_proxy_upstream_connects_total "));
    assert!(
        connects.and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n < 5),
        "{connects:?}"
    );
    within("the idle connection to close", async {
        while !idle(world.client.admin("/metrics").await.text(), 0) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_app_makes_requests_wait_and_then_says_so() {
    let app = apps::polite("web1").await;
    let limits = slipway_proxy::ProxyLimits {
        upstream_in_flight_max: 1,
        upstream_queue_ms_max: 200,
        ..Default::default()
    };
    let world = World::start_with(&Scene::new().serving("web", &[app.upstream()]), limits, &[]).await;
    let first = world.client.get(NAME, "/wait");
    let second = async {
        app.waiting.notified().await;
        let refused = problem(&world, Method::GET, "/").await;
        app.release.notify_one();
        refused
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.text(), "web1 waited");
    assert_eq!(second, (StatusCode::SERVICE_UNAVAILABLE, "app_overloaded".to_owned()));
}

#[tokio::test]
async fn an_app_that_bounds_its_requests_lets_so_many_wait_and_the_others_are_told_so_at_once() {
    let app = apps::polite("web1").await;
    let limits = Limits {
        queue: Some(Queue {
            in_flight_max: 1,
            waiting_max: 1,
            wait_ms_max: 60_000,
        }),
        ..LIMITS
    };
    let scene = Scene::new().app("web", RouteState::Serving, &[app.upstream()], limits);
    let world = World::start(&scene).await;
    let first = world.client.get(NAME, "/wait");
    let others = async {
        app.waiting.notified().await;
        // One of the two finds the line full and is answered; the other gets its turn when the first has ended.
        let second = Box::pin(world.client.get(NAME, "/"));
        let third = Box::pin(world.client.get(NAME, "/"));
        let (refused, waits) = futures_util::future::select(second, third).await.factor_first();
        app.release.notify_one();
        (refused, waits.await)
    };
    let (first, (refused, waited)) = tokio::join!(first, others);
    assert_eq!(first.text(), "web1 waited");
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(waited.status, StatusCode::OK);
}
