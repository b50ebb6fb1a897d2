//! Watching a deployment through broken streams, silence and impatience.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::IntoResponse as _;
use serde_json::json;

use crate::api::{ID, Server, deployment, empty, event, ok, problem, stream};
use crate::world::World;

fn events_path() -> String {
    format!("/v1/deployments/{ID}/events")
}

#[tokio::test]
async fn a_cut_stream_is_resumed_after_the_last_event_seen() {
    let streams = AtomicU32::new(0);
    let finished = std::sync::Arc::new(AtomicU32::new(0));
    let end = finished.clone();
    let server = Server::start(move |seen| {
        if seen.path != events_path() {
            let over = end.load(Ordering::SeqCst) > 0;
            return ok(&if over {
                deployment("succeeded", &[("pull", "succeeded")])
            } else {
                deployment("running", &[("pull", "running")])
            });
        }
        if streams.fetch_add(1, Ordering::SeqCst) == 0 {
            return stream(
                "text/event-stream",
                vec![
                    event(11, "step.started", Some("pull"), ""),
                    "id: 12\nevent: step.prog".into(),
                ],
            );
        }
        end.store(1, Ordering::SeqCst);
        stream("text/event-stream", vec![event(12, "deployment.finished", None, "")])
    })
    .await;
    let outcome = World::at(&server.url)
        .run(&["deployments", "follow", ID])
        .await
        .succeeded();
    assert!(outcome.stderr.contains("pull: ok"), "{outcome:?}");
    let resumed: Vec<_> = server
        .calls(&format!("GET {}", events_path()))
        .iter()
        .map(|s| s.header("last-event-id").map(str::to_owned))
        .collect();
    // What was cut in the middle was not seen, so it is asked for again.
    assert_eq!(resumed, [None, Some("11".to_owned())]);
    assert_eq!(finished.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_a_stream_the_deployment_itself_is_asked_for() {
    let asked = AtomicU32::new(0);
    let server = Server::start(move |seen| {
        if seen.path == events_path() {
            return problem(406, "not_acceptable", "No stream here.");
        }
        ok(&match asked.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => deployment("running", &[("pull", "running")]),
            _ => deployment("succeeded", &[("pull", "succeeded")]),
        })
    })
    .await;
    World::at(&server.url)
        .run(&["deployments", "follow", ID])
        .await
        .succeeded();
}

#[tokio::test]
async fn a_server_that_is_away_for_a_while_does_not_end_the_watch() {
    let asked = AtomicU32::new(0);
    let server = Server::start(move |seen| {
        if seen.path == events_path() {
            return empty(503);
        }
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => ok(&deployment("running", &[("pull", "running")])),
            1 => empty(503),
            _ => ok(&deployment("succeeded", &[("pull", "succeeded")])),
        }
    })
    .await;
    let outcome = World::at(&server.url)
        .run(&["deployments", "follow", ID])
        .await
        .succeeded();
    assert!(outcome.stderr.contains("the server does not answer"), "{outcome:?}");
    assert!(outcome.stderr.contains("the server answers again"), "{outcome:?}");
}

#[tokio::test]
async fn a_refusal_while_watching_ends_the_watch() {
    let asked = AtomicU32::new(0);
    let server = Server::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => ok(&deployment("running", &[])),
        _ => problem(401, "unauthorized", "The token has expired."),
    })
    .await;
    let outcome = World::at(&server.url).run(&["deployments", "follow", ID]).await;
    outcome.refused(1, &["does not accept this token", "slipway login"]);
}

/// A deployment that never ends, with a stream that stays open.
async fn endless() -> Server {
    Server::start(|seen| {
        if seen.path == events_path() {
            let open = futures_util::stream::pending::<Result<String, std::convert::Infallible>>();
            return ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(open)).into_response();
        }
        ok(&deployment("running", &[("health", "running")]))
    })
    .await
}

#[tokio::test]
async fn a_watch_that_takes_too_long_ends_with_3_and_the_deployment_goes_on() {
    let server = endless().await;
    let outcome = World::at(&server.url)
        .run(&["deployments", "follow", ID, "--timeout", "300ms"])
        .await;
    outcome.refused(
        3,
        &[
            "has not ended after 300ms; it goes on without us",
            &format!("follow {ID}"),
        ],
    );
}

#[tokio::test]
async fn an_interrupted_watch_says_how_to_go_on_and_ends_with_130() {
    let server = endless().await;
    let world = World::at(&server.url);
    let interrupt = world.interrupt.clone();
    let running = async { world.run(&["deployments", "follow", ID]).await };
    let stop = async {
        // Only once the stream is open is there something to interrupt.
        let open = async {
            while server.calls(&format!("GET {}", events_path())).is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), open)
            .await
            .expect("the stream is opened");
        interrupt.notify_one();
    };
    let (outcome, ()) = tokio::join!(running, stop);
    outcome.refused(
        130,
        &["the deployment goes on", &format!("slipway deployments follow {ID}")],
    );
}

#[tokio::test]
async fn an_aborted_and_a_superseded_deployment_are_no_success() {
    for (state, said) in [("aborted", "was called off"), ("superseded", "took the place")] {
        let server = Server::start(move |_| ok(&deployment(state, &[]))).await;
        World::at(&server.url)
            .run(&["deployments", "follow", ID])
            .await
            .refused(1, &[said]);
    }
}

#[tokio::test]
async fn without_an_identifier_the_newest_deployment_is_followed() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/v1/apps/web/deployments" => crate::api::list(&[deployment("succeeded", &[])]),
        _ => ok(&deployment("succeeded", &[])),
    })
    .await;
    World::at(&server.url)
        .run(&["deployments", "follow", "-a", "web"])
        .await
        .succeeded();
    let server = Server::start(|_| crate::api::list(&[])).await;
    let outcome = World::at(&server.url)
        .run(&["deployments", "follow", "-a", "web"])
        .await;
    outcome.refused(1, &["there is no deployment yet"]);
}

#[tokio::test]
async fn the_heading_says_what_is_being_done() {
    let image = format!("  registry.example.com/web:1 {ID}");
    let back = format!("  rollback to v4 {ID}");
    for (cause, message, first, second) in [
        ("deploy", "fix", "Deploying web v7 to production", &image),
        ("env", "", "Deploying web v7 to production", &image),
        (
            "rollback",
            "rollback to v4",
            "Rolling web back to production as v7",
            &back,
        ),
        (
            "automatic_rollback",
            "rollback to v4",
            "Rolling web back to production as v7",
            &back,
        ),
        ("restart", "", "Restarting web in production as v7", &image),
        ("scale", "", "Scaling web in production as v7", &image),
    ] {
        let server = Server::start(move |_| {
            let mut document = deployment("succeeded", &[]);
            document["cause"] = json!(cause);
            document["message"] = json!(message);
            ok(&document)
        })
        .await;
        let outcome = World::at(&server.url)
            .run(&["deployments", "follow", ID])
            .await
            .succeeded();
        let told: Vec<&str> = outcome.stderr.lines().take(2).collect();
        assert_eq!(told, [first, second.as_str()], "{cause}");
    }
}

#[tokio::test]
async fn a_canary_is_ended_early_by_promoting_its_deployment() {
    let server = Server::start(|_| ok(&deployment("running", &[("canary", "running")]))).await;
    let world = World::at(&server.url);
    let outcome = world.run(&["deployments", "promote", ID]).await.succeeded();
    assert_eq!(
        outcome.stderr,
        format!("{ID} gets all traffic as soon as its instances are healthy\n")
    );
    let outcome = world.run(&["deployments", "promote", ID, "--json"]).await.succeeded();
    assert_eq!(outcome.json()["id"], ID);
    let line = format!("POST /v1/deployments/{ID}/promote");
    assert_eq!(server.lines(), [line.as_str(), line.as_str()]);
}
