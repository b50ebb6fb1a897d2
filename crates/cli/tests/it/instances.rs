//! What runs: listed, stopped, and what is wrong with it.

use axum::response::Response;
use serde_json::{Value, json};

use crate::api::{Seen, Server, deployment, empty, list, ok, problem, status};
use crate::world::World;

fn instance(id: &str, release: u32, state: &str) -> Value {
    let code = (state == "exited").then_some(143);
    json!({
        "id": id, "release": release, "state": state, "health": "unknown", "started_at": "2026-02-02T02:39:00Z",
        "restarts": 0, "exit_code": code, "last_exit": null, "cpu": null, "memory_bytes": null,
    })
}

#[tokio::test]
async fn what_made_room_for_the_running_release_is_no_row_of_a_table() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/v1/apps/web" => ok(&json!({"name": "web", "environments": []})),
        "/v1/apps/web/instances" => list(&[
            instance("serving", 7, "running"),
            instance("retired", 6, "exited"),
            instance("draining", 6, "running"),
            instance("failing", 8, "exited"),
        ]),
        _ => list(&[]),
    })
    .await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web");
    for command in ["ps", "status"] {
        let outcome = world.run(&[command]).await.succeeded();
        assert!(!outcome.stdout.contains("retired"), "{outcome:?}");
        for id in ["serving", "draining", "failing"] {
            assert!(outcome.stdout.contains(id), "{id}: {outcome:?}");
        }
        let outcome = world.run(&[command, "--json"]).await.succeeded();
        assert!(outcome.stdout.contains("retired"), "{outcome:?}");
    }
}

#[tokio::test]
async fn where_nothing_runs_all_that_has_ended_is_shown() {
    let server = Server::start(|_| list(&[instance("later", 7, "exited"), instance("earlier", 6, "exited")])).await;
    let outcome = World::at(&server.url).run(&["ps", "-a", "web"]).await.succeeded();
    for text in ["later", "earlier", "exited (143)"] {
        assert!(outcome.stdout.contains(text), "{text}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_instance_that_was_started_again_says_how_it_had_ended() {
    let server = Server::start(|_| {
        let (mut failing, mut greedy) = (instance("failing", 7, "running"), instance("greedy", 7, "running"));
        let (mut hung, mut rested) = (instance("hung", 7, "running"), instance("rested", 7, "running"));
        hung["restarts"] = json!(1);
        hung["last_exit"] =
            json!({"exit_code": 137, "oom_killed": false, "unresponsive": true, "at": "2026-02-02T02:39:00Z"});
        rested["last_exit"] = json!({"exit_code": 143, "oom_killed": false, "at": "2026-02-02T02:39:00Z"});
        failing["restarts"] = json!(4);
        failing["last_exit"] = json!({"exit_code": 7, "oom_killed": false, "at": "2026-02-02T02:39:00Z"});
        greedy["restarts"] = json!(2);
        greedy["last_exit"] = json!({"exit_code": 137, "oom_killed": true, "at": "2026-02-02T02:39:00Z"});
        list(&[failing, greedy, hung, rested, instance("calm", 7, "running")])
    })
    .await;
    let outcome = World::at(&server.url).run(&["ps", "-a", "web"]).await.succeeded();
    for (id, text) in [
        ("failing", "4 (last: exit 7)"),
        ("greedy", "2 (last: out of memory)"),
        ("hung", "1 (last: did not answer)"),
    ] {
        let line = outcome.stdout.lines().find(|l| l.starts_with(id)).expect("a row");
        assert!(line.contains(text), "{line}");
    }
    assert_eq!(outcome.stdout.matches("last:").count(), 3, "{outcome:?}");
}

/// A server whose `web` runs until it was waited for.
async fn stopping() -> Server {
    Server::start(|seen| {
        if seen.query.is_empty() {
            status(202, &json!({"name": "production", "state": "stopping"}))
        } else {
            ok(&json!({"name": "production", "state": "stopped"}))
        }
    })
    .await
}

#[tokio::test]
async fn stop_waits_for_the_end_and_says_only_what_is_so() {
    let server = stopping().await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web");
    for words in [&["stop"][..], &["stop", "--timeout", "90s"]] {
        let outcome = world.run(words).await.succeeded();
        assert_eq!(
            outcome.stderr,
            "web: stopping, requests under way finish first\nweb: stopped; `slipway start` brings it back\n"
        );
    }
    let outcome = world.run(&["stop", "--no-wait"]).await.succeeded();
    assert_eq!(
        outcome.stderr,
        "web: is stopping; `slipway status` shows when nothing runs any more\n"
    );
    let queries: Vec<_> = server.seen().into_iter().map(|s| s.query).collect();
    assert_eq!(queries, ["", "wait=10m", "", "wait=90s", ""]);
    assert_eq!(server.seen()[0].body, json!({"environment": "production"}));
}

#[tokio::test]
async fn stop_does_not_announce_what_is_refused_or_done_already() {
    let server = Server::start(|_| problem(409, "nothing_deployed", "Nothing was deployed.")).await;
    let outcome = World::at(&server.url).run(&["stop", "-a", "web"]).await;
    let outcome = outcome.refused(1, &["Nothing was deployed."]);
    assert!(!outcome.stderr.contains("stopping"), "{outcome:?}");
    let server = Server::start(|_| status(202, &json!({"name": "production", "state": "stopped"}))).await;
    let outcome = World::at(&server.url).run(&["stop", "-a", "web"]).await.succeeded();
    assert_eq!(outcome.stderr, "web: stopped; `slipway start` brings it back\n");
}

fn condition(kind: &str, message: &str) -> Value {
    json!({"type": kind, "status": false, "reason": "x", "message": message, "since": "2026-02-02T02:39:00Z"})
}

/// A server whose `web` is in this state.
fn in_state(state: &'static str) -> impl Fn(&Seen) -> Response + Send + Sync {
    move |seen| match seen.path.as_str() {
        "/v1/apps/web" => ok(&json!({"name": "web", "environments": [{"name": "production", "state": state}]})),
        "/v1/apps/web/environments" => list(&[
            json!({"name": "staging", "conditions": [condition("Ready", "another environment")]}),
            json!({"name": "production", "conditions": [
                condition("Available", "another condition"), condition("Ready", "0 of 1 instance is healthy")]}),
        ]),
        "/v1/apps/web/instances" => list(&[]),
        _ => list(&[deployment("succeeded", &[])]),
    }
}

#[tokio::test]
async fn a_bad_state_is_told_with_what_is_wrong_and_only_then_is_it_asked_for() {
    let asked = "GET /v1/apps/web/environments";
    for state in ["degraded", "crash_loop"] {
        let server = Server::start(in_state(state)).await;
        let world = World::at(&server.url).with("SLIPWAY_APP", "web");
        let outcome = world.run(&["status"]).await.succeeded();
        let told = format!("{:<12} {state}\n{:<12} 0 of 1 instance is healthy\n", "state", "");
        assert!(outcome.stdout.contains(&told), "{outcome:?}");
        assert!(!outcome.stdout.contains("another"), "{outcome:?}");
        assert_eq!(server.calls(asked).len(), 1);
        let outcome = world.terminal().run(&["status"]).await.succeeded();
        let red = format!("\u{1b}[31m{state}");
        assert!(outcome.stdout.contains(&red), "{outcome:?}");
    }
    let server = Server::start(in_state("running")).await;
    World::at(&server.url).run(&["status", "-a", "web"]).await.succeeded();
    assert!(server.calls(asked).is_empty());
}

#[tokio::test]
async fn a_bad_state_is_told_even_if_what_is_wrong_cannot_be_had() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/v1/apps/web/environments" => problem(403, "forbidden", "This token may not."),
        _ => in_state("crash_loop")(seen),
    })
    .await;
    let outcome = World::at(&server.url).run(&["status", "-a", "web"]).await.succeeded();
    assert!(outcome.stdout.contains("crash_loop"), "{outcome:?}");
}

#[tokio::test]
async fn to_scale_what_is_stopped_says_that_it_stays_stopped() {
    let server = Server::start(|seen| match seen.line().as_str() {
        "POST /v1/apps/web/scale" => empty(204),
        _ => ok(&json!({"name": "web", "environments": [{"name": "production", "state": "stopped"}]})),
    })
    .await;
    let outcome = World::at(&server.url)
        .run(&["scale", "2", "-a", "web"])
        .await
        .succeeded();
    assert_eq!(
        outcome.stderr,
        "web: scaled to 2; it stays stopped until `slipway start`\n"
    );
}

#[tokio::test]
async fn a_scale_by_one_who_may_not_look_is_told_as_done() {
    let server = Server::start(|seen| match seen.line().as_str() {
        "POST /v1/apps/web/scale" => empty(204),
        _ => problem(403, "forbidden", "This token may not."),
    })
    .await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web");
    let outcome = world.run(&["scale", "2"]).await.succeeded();
    assert_eq!(outcome.stderr, "web: scaled to 2\n");
    world.run(&["scale", "2", "--json"]).await.succeeded();
}
