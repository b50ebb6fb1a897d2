//! Deploying: what is sent, what is shown, how it ends.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::response::Response;
use serde_json::{Value, json};

use crate::api::{ID, Seen, Server, deployment, event, ok, problem, status, stream};
use crate::world::World;

/// The drain goes on after the end: nobody waits for it, and nothing is said of it.
const STEPS: [(&str, &str); 5] = [
    ("pull", "succeeded"),
    ("start", "succeeded"),
    ("health", "succeeded"),
    ("switch", "succeeded"),
    ("drain", "running"),
];

/// A server on which every deployment ends like this after two events.
fn ends_as(finished: Value) -> impl Fn(&Seen) -> Response + Send + Sync {
    let asked = AtomicU32::new(0);
    move |seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", _) => status(202, &deployment("pending", &[])),
        ("GET", "/v1/apps/web") => ok(&json!({
            "name": "web", "environments": [{"name": "production", "url": "https://web.apps.localhost"}],
        })),
        ("GET", path) if path.ends_with("/events") => stream(
            "text/event-stream",
            vec![
                event(1, "step.started", Some("pull"), ""),
                event(2, "step.progress", Some("pull"), "12 MiB of 40 MiB"),
                event(3, "deployment.finished", None, ""),
            ],
        ),
        _ if asked.fetch_add(1, Ordering::SeqCst) == 0 => ok(&deployment("running", &[("pull", "running")])),
        _ => ok(&finished),
    }
}

#[tokio::test]
async fn a_deploy_is_shown_step_by_step_and_ends_with_the_address() {
    let server = Server::start(ends_as(deployment("succeeded", &STEPS))).await;
    let outcome = World::at(&server.url)
        .run(&["deploy", "registry.example.com/web:1", "-a", "web"])
        .await
        .succeeded();
    assert_eq!(
        outcome.stdout,
        "ok web v7 is live in production after 3.0s\n  https://web.apps.localhost\n"
    );
    let told: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(
        told,
        [
            "Deploying web v7 to production",
            "  registry.example.com/web:1 dep_01k0000000000000000000000",
            "pull: started",
            "pull: ok, 1.5s",
            "start: ok, 1.5s",
            "health: ok, 1.5s",
            "switch: ok, 1.5s",
        ]
    );
    let post = &server.calls("POST /v1/apps/web/deployments")[0];
    assert_eq!(post.body, json!({"image": "registry.example.com/web:1"}));
    assert!(post.header("idempotency-key").is_some_and(|k| k.starts_with("cli-")));
    assert!(
        post.header("authorization")
            .is_some_and(|a| a.starts_with("Bearer slw_pat_"))
    );
}

#[tokio::test]
async fn on_a_terminal_the_step_under_way_has_a_spinner_and_signs_are_coloured() {
    let server = Server::start(ends_as(deployment("succeeded", &STEPS))).await;
    let world = World::at(&server.url).with("LANG", "en_US.UTF-8").terminal();
    let outcome = world
        .run(&["deploy", "registry.example.com/web:1", "-a", "web"])
        .await
        .succeeded();
    assert!(outcome.stdout.contains("\u{1b}[32m✓\u{1b}[39m"), "{outcome:?}");
    assert!(
        outcome.stderr.contains('✓') && outcome.stderr.contains("health"),
        "{outcome:?}"
    );

    let world = World::at(&server.url)
        .with("NO_COLOR", "1")
        .with("LANG", "C")
        .terminal();
    let outcome = world
        .run(&["deploy", "registry.example.com/web:1", "-a", "web"])
        .await
        .succeeded();
    assert_eq!(
        outcome.stdout.lines().next(),
        Some("ok web v7 is live in production after 3.0s")
    );
    assert!(
        !outcome.stderr.contains("[32m") && outcome.stderr.is_ascii(),
        "{outcome:?}"
    );

    let world = World::at(&server.url).with("TERM", "dumb").terminal();
    let outcome = world
        .run(&["deploy", "registry.example.com/web:1", "-a", "web"])
        .await
        .succeeded();
    assert!(
        !outcome.stderr.contains('\u{1b}') && !outcome.stdout.contains('\u{1b}'),
        "{outcome:?}"
    );
}

fn failed() -> Value {
    let mut document = deployment(
        "failed",
        &[("pull", "succeeded"), ("start", "succeeded"), ("health", "failed")],
    );
    document["reason"] = json!({
        "code": "exited", "detail": "The process ended with exit code 3 before it listened on port 8080.",
        "hint": "Read the last lines it wrote.", "exit_code": 3, "oom_killed": false,
        "last_probe": {"at": "2026-02-02T02:39:59Z", "target": "10.210.0.3:8080", "error": "connection refused"},
        "log_tail": ["starting", "\u{1b}[31mKeyError: DATABASE_URL\u{1b}[0m"],
    });
    document
}

#[tokio::test]
async fn a_failed_deploy_says_why_and_what_to_try_and_ends_with_1() {
    let server = Server::start(ends_as(failed())).await;
    let outcome = World::at(&server.url)
        .run(&["deploy", "registry.example.com/web:1", "-a", "web"])
        .await;
    let outcome = outcome.refused(
        1,
        &[
            "health: failed",
            "web: not deployed after 3.0s; what served before is left alone",
            "The process ended with exit code 3 before it listened on port 8080. [exited]",
            "Read the last lines it wrote.",
            "Exit code: 3",
            "Last probe: 10.210.0.3:8080 connection refused",
            "  | starting\n  | KeyError: DATABASE_URL\n",
            "Try next: slipway deployments show dep_",
        ],
    );
    assert_eq!(outcome.stdout, "");
    assert!(!outcome.stderr.contains('\u{1b}'));
}

#[tokio::test]
async fn with_json_the_deployment_is_the_result_whether_it_succeeded_or_not() {
    let server = Server::start(ends_as(failed())).await;
    let words = ["deploy", "registry.example.com/web:1", "-a", "web", "--json", "-q"];
    let outcome = World::at(&server.url).run(&words).await;
    assert_eq!(outcome.code, 1);
    assert_eq!(outcome.json(), failed());

    let server = Server::start(ends_as(deployment("succeeded", &STEPS))).await;
    let outcome = World::at(&server.url).run(&words).await.succeeded();
    assert_eq!(outcome.json()["state"], "succeeded");
    assert_eq!(outcome.stderr, "");
}

#[tokio::test]
async fn without_waiting_the_identifier_is_the_result() {
    let server = Server::start(ends_as(failed())).await;
    let outcome = World::at(&server.url)
        .run(&["deploy", "web:1", "-a", "web", "--no-wait"])
        .await
        .succeeded();
    assert_eq!(outcome.stdout.trim(), ID);
    assert!(
        outcome.stderr.contains("slipway deployments follow dep_"),
        "{outcome:?}"
    );
    assert_eq!(server.lines(), ["POST /v1/apps/web/deployments"]);
}

#[tokio::test]
async fn options_travel_in_the_body_and_without_an_app_the_server_finds_it() {
    let server = Server::start(ends_as(failed())).await;
    let world = World::at(&server.url).with("SLIPWAY_ENVIRONMENT", "staging");
    world
        .run(&["deploy", "web:1", "-a", "web", "--local", "-m", "fix", "--no-wait"])
        .await
        .succeeded();
    world
        .run(&["deploy", "registry.example.com/team/web:1", "--no-wait"])
        .await
        .succeeded();
    let seen = server.seen();
    assert_eq!(
        seen[0].body,
        json!({"image": "web:1", "environment": "staging", "pull": "local", "message": "fix"})
    );
    assert_eq!(seen[1].line(), "POST /v1/deploy");
    assert_eq!(
        seen[1].query,
        "image=registry.example.com%2Fteam%2Fweb%3A1&environment=staging"
    );
}

#[tokio::test]
async fn a_call_that_is_tried_again_carries_the_same_key_and_the_next_command_another() {
    let tries = AtomicU32::new(0);
    let server = Server::start(move |_| {
        if tries.fetch_add(1, Ordering::SeqCst) < 2 {
            let mut response = problem(503, "database_unavailable", "The database does not answer.");
            response
                .headers_mut()
                .insert("retry-after", "0".parse().expect("a header"));
            return response;
        }
        status(202, &deployment("pending", &[]))
    })
    .await;
    let world = World::at(&server.url);
    world
        .run(&["deploy", "web:1", "-a", "web", "--no-wait"])
        .await
        .succeeded();
    world
        .run(&["deploy", "web:1", "-a", "web", "--no-wait"])
        .await
        .succeeded();
    let keys: Vec<_> = server
        .seen()
        .iter()
        .map(|s| s.header("idempotency-key").expect("a key").to_owned())
        .collect();
    assert_eq!(keys.len(), 4);
    assert!(
        keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3],
        "{keys:?}"
    );
}

#[tokio::test]
async fn a_refusal_without_retry_after_is_told_at_once() {
    let server = Server::start(|_| problem(503, "engine_unavailable", "The container engine does not answer.")).await;
    let outcome = World::at(&server.url).run(&["deploy", "web:1", "-a", "web"]).await;
    outcome.refused(
        1,
        &["error: The container engine does not answer.", "request id: req_test"],
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn rollback_and_promote_send_what_they_were_told() {
    let server = Server::start(ends_as(deployment("succeeded", &STEPS))).await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web");
    world.run(&["rollback", "v3"]).await.succeeded();
    world.run(&["rollback"]).await.succeeded();
    world
        .run(&["promote", "--from", "staging", "--to", "production"])
        .await
        .succeeded();
    let bodies: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|s| s.method == "POST")
        .map(|s| (s.path, s.body))
        .collect();
    assert_eq!(
        bodies,
        [
            (
                "/v1/apps/web/rollback".to_owned(),
                json!({"environment": "production", "release": 3})
            ),
            ("/v1/apps/web/rollback".to_owned(), json!({"environment": "production"})),
            (
                "/v1/apps/web/promote".to_owned(),
                json!({"from": "staging", "to": "production"})
            ),
        ]
    );
    world
        .run(&["promote", "--from", "staging", "--to", "staging"])
        .await
        .refused(2, &["two different environments"]);
}

#[tokio::test]
async fn the_image_may_come_from_the_manifest() {
    let server = Server::start(ends_as(failed())).await;
    let world = World::at(&server.url);
    world
        .run(&["deploy"])
        .await
        .refused(2, &["which image?", "slipway.toml"]);
    world.file("slipway.toml", "app = \"web\"\n");
    world
        .run(&["deploy"])
        .await
        .refused(2, &["slipway.toml names no image"]);
    world.file(
        "slipway.toml",
        "app = \"web\"\nimage = \"registry.example.com/web:2\"\n",
    );
    world.run(&["deploy", "--no-wait"]).await.succeeded();
    assert_eq!(server.seen()[0].body, json!({"image": "registry.example.com/web:2"}));
    assert_eq!(server.lines(), ["POST /v1/apps/web/deployments"]);
}

#[tokio::test]
async fn a_strategy_for_this_once_travels_in_the_body_and_a_wrong_word_is_usage() {
    let server = Server::start(ends_as(failed())).await;
    let world = World::at(&server.url);
    let words = ["deploy", "web:1", "-a", "web", "--strategy", "canary", "--no-wait"];
    world.run(&words).await.succeeded();
    let words = ["deploy", "web:1", "--strategy", "bluegreen", "--no-wait"];
    world.run(&words).await.succeeded();
    let seen = server.seen();
    assert_eq!(seen[0].body, json!({"image": "web:1", "strategy": "canary"}));
    assert_eq!(seen[1].line(), "POST /v1/deploy");
    assert_eq!(seen[1].body, json!({"strategy": "bluegreen"}));
    world.run(&["deploy", "web:1", "--strategy", "blue"]).await.refused(
        2,
        &[
            "`blue` is no strategy",
            "`rolling`, `bluegreen`, `canary` or `recreate`",
        ],
    );
}

#[tokio::test]
async fn the_record_of_a_failure_does_not_propose_to_look_at_itself() {
    let server = Server::start(|_| {
        let mut document = failed();
        document["warnings"] = json!(["no health path"]);
        ok(&document)
    })
    .await;
    let outcome = World::at(&server.url)
        .run(&["deployments", "show", ID])
        .await
        .succeeded();
    assert!(outcome.stdout.contains("Exit code: 3"), "{outcome:?}");
    assert!(outcome.stdout.contains("no health path"), "{outcome:?}");
    assert!(!outcome.stdout.contains("Try next"), "{outcome:?}");
}

#[tokio::test]
async fn a_deploy_that_fails_says_whether_anything_serves() {
    for (serving, told) in [
        (json!(null), "nothing serves"),
        (json!(6), "what served before goes on serving"),
    ] {
        let ends = ends_as(failed());
        let app = json!({"name": "web", "environments": [{"name": "production", "release": serving}]});
        let server = Server::start(move |seen| match seen.path.as_str() {
            "/v1/apps/web" => ok(&app),
            _ => ends(seen),
        })
        .await;
        let outcome = World::at(&server.url).run(&["deploy", "web:1", "-a", "web"]).await;
        outcome.refused(1, &["not deployed after 3.0s", told]);
    }
}
