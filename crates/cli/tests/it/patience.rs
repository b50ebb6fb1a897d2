//! A server that is not ready: it is asked again for a while, not silently, and no longer than was allowed.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::response::Response;

use crate::api::{Seen, Server, empty, list, problem};
use crate::world::World;

const AWAY: &str = "The platform's database does not answer at the moment. Apps keep serving; try again shortly.";

/// With the request to come back after so many seconds.
fn later(mut response: Response, seconds: u32) -> Response {
    let after = seconds.to_string().parse().expect("a header");
    response.headers_mut().insert("retry-after", after);
    response
}

/// A server whose database is away for so many calls.
fn away_for(times: u32) -> impl Fn(&Seen) -> Response + Send + Sync {
    let calls = AtomicU32::new(0);
    move |_| {
        if calls.fetch_add(1, Ordering::SeqCst) < times {
            later(problem(503, "database_unavailable", AWAY), 0)
        } else {
            list(&[])
        }
    }
}

#[tokio::test]
async fn that_the_server_is_not_ready_is_said_once_and_with_quiet_never() {
    let server = Server::start(away_for(2)).await;
    let words = ["apps", "list", "--json"];
    let outcome = World::at(&server.url).run(&words).await.succeeded();
    assert_eq!(
        outcome.stderr,
        "the server is not ready (503), trying again: The platform's database does not answer at the moment.\n"
    );
    assert_eq!(server.seen().len(), 3);

    let server = Server::start(away_for(2)).await;
    let words = ["apps", "list", "--json", "--quiet"];
    let outcome = World::at(&server.url).run(&words).await.succeeded();
    assert_eq!(outcome.stderr, "");
}

#[tokio::test]
async fn a_proxy_that_gives_no_reason_is_told_by_its_status() {
    let server = Server::start(|_| later(empty(503), 0)).await;
    let outcome = World::at(&server.url).run(&["apps", "list"]).await;
    let outcome = outcome.refused(1, &["the server is not ready (503), trying again\n"]);
    assert_eq!(outcome.stderr.matches("trying again").count(), 1, "{outcome:?}");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_registry_that_is_away_is_asked_for_once_more_only() {
    let server = Server::start(|_| {
        let refusal = problem(503, "registry_unavailable", "The registry does not answer.");
        later(refusal, 0)
    })
    .await;
    World::at(&server.url)
        .run(&["deploy", "web:1", "-a", "web"])
        .await
        .refused(1, &["error: The registry does not answer."]);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn nothing_is_tried_again_beyond_the_time_limit_of_the_command() {
    let server = Server::start(|_| later(problem(503, "database_unavailable", AWAY), 5)).await;
    let outcome = World::at(&server.url)
        .run(&["deploy", "web:1", "-a", "web", "--timeout", "2s"])
        .await;
    let outcome = outcome.refused(1, &["error: The platform's database does not answer"]);
    assert!(!outcome.stderr.contains("trying again"), "{outcome:?}");
    assert_eq!(server.seen().len(), 1);
}
