//! Live looks: instances and logs.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use slipway_domain::clock::testing::at;
use slipway_domain::ids::{EnvironmentId, ReleaseId};
use slipway_domain::observed::{Instance, InstanceState};
use slipway_domain::ports::{LogLine, LogStream};
use slipway_domain::{Epoch, ReleaseNumber};
use slipway_store::{InstanceRecord, LastExit};

use crate::world::{World, id_of, in_world};

/// The environment and release of a deployment.
async fn placed(world: &World, deployment: &Value) -> (EnvironmentId, ReleaseId) {
    let row = world
        .tx()
        .await
        .deployment(id_of(deployment))
        .await
        .expect("reads")
        .expect("is there");
    (row.environment, row.release)
}

fn instance(id: &str, place: (EnvironmentId, ReleaseId), slot: u32, state: InstanceState) -> Instance {
    Instance {
        id: id.into(),
        environment: place.0,
        release: place.1,
        release_number: ReleaseNumber(1),
        slot,
        epoch: Epoch(1),
        state,
        address: None,
    }
}

#[tokio::test]
async fn instances_show_what_the_engine_and_the_probes_say() {
    in_world(async |world| {
        let deployment = world.deployed("web", "web:1").await.json;
        let place = placed(&world, &deployment).await;
        let exited = InstanceState::Exited {
            exit_code: 137,
            oom_killed: true,
            finished_at: None,
        };
        *world.ports.engine.instances.lock().expect("not poisoned") = vec![
            instance("bbb", place, 1, exited),
            instance("aaa", place, 0, InstanceState::Running { started_at: at(5) }),
        ];
        let mut tx = world.scheduler_tx().await;
        let mut status = tx.status(place.0).await.expect("reads").expect("is there");
        status.instances = vec![InstanceRecord {
            instance: "aaa".into(),
            release: place.1,
            slot: 0,
            address: None,
            health: "healthy".into(),
            restarts: 4,
            last_exit: Some(LastExit {
                at: at(4),
                exit_code: 7,
                oom_killed: false,
                unresponsive: false,
            }),
        }];
        tx.save_status(place.0, &status).await.expect("saves");
        tx.commit().await.expect("commits");

        let listed = world.get("/v1/apps/web/instances").await;
        assert_eq!(listed.column("id"), ["aaa", "bbb"]);
        assert_eq!(listed.column("state"), ["running", "exited"]);
        assert_eq!(listed.column("health"), ["healthy", "unknown"]);
        assert_eq!(
            (
                &listed.json["items"][0]["cpu"],
                &listed.json["items"][0]["memory_bytes"]
            ),
            (&json!(0.25), &json!(4096))
        );
        let ended =
            json!({"at": "1970-01-01T00:00:00.004Z", "exit_code": 7, "oom_killed": false, "unresponsive": false});
        let first = &listed.json["items"][0];
        assert_eq!((&first["restarts"], &first["last_exit"]), (&json!(4), &ended));
        assert!(listed.json["items"][0].get("exit_code").is_none());
        assert_eq!(
            (
                &listed.json["items"][1]["exit_code"],
                &listed.json["items"][1]["oom_killed"]
            ),
            (&json!(137), &json!(true))
        );
        assert!(listed.json["items"][1]["cpu"].is_null());

        *world.ports.engine.away.lock().expect("not poisoned") = true;
        for path in ["/v1/apps/web/instances", "/v1/apps/web/logs"] {
            let away = world.get(path).await;
            assert_eq!(
                (away.status, away.code().as_str()),
                (503, "engine_unavailable"),
                "{path}"
            );
            assert!(!away.text.contains("secret.sock"), "{}", away.text);
        }
    })
    .await;
}

fn line(text: &str, stream: LogStream) -> LogLine {
    LogLine {
        time: at(1_700_000_000_000),
        stream,
        instance: "aaa".into(),
        release: ReleaseNumber(1),
        line: text.into(),
    }
}

#[tokio::test]
async fn logs_are_one_document_a_line_and_the_query_reaches_the_engine() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        *world.ports.engine.lines.lock().expect("not poisoned") = vec![
            line("plain", LogStream::Stdout),
            line(r#"{"level": "info", "n": 1}"#, LogStream::Stderr),
            line("{not json", LogStream::Stdout),
        ];
        let path = "/v1/apps/web/logs?since=10m&query=x&stream=stderr&release=v1&tail=5";
        let answer = world.ask("GET", path).send_unchecked().await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/x-ndjson")
        );
        let lines: Vec<Value> = answer
            .text
            .lines()
            .map(|l| serde_json::from_str(l).expect("JSON"))
            .collect();
        for line in &lines {
            world.document.check_shape("LogLine", line).expect("a line");
        }
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1]["fields"], json!({"level": "info", "n": 1}));
        assert!(lines[0].get("fields").is_none() && lines[2].get("fields").is_none());
        let query = world
            .ports
            .engine
            .query
            .lock()
            .expect("not poisoned")
            .clone()
            .expect("asked");
        assert_eq!(
            (query.contains.as_deref(), query.stream),
            (Some("x"), Some(LogStream::Stderr))
        );
        assert_eq!(
            (query.release, query.tail_lines_max, query.follow),
            (Some(ReleaseNumber(1)), 5, false)
        );
        assert!(query.since.is_some() && query.until.is_none());
    })
    .await;
}

#[tokio::test]
async fn followed_logs_stay_open_until_the_server_ends() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        *world.ports.engine.lines.lock().expect("not poisoned") = vec![line("first", LogStream::Stdout)];
        let mut body = world
            .ask("GET", "/v1/apps/web/logs?follow=true")
            .open()
            .await
            .into_body();
        let first = body
            .frame()
            .await
            .expect("a line")
            .expect("no error")
            .into_data()
            .expect("data");
        assert!(first.ends_with(b"\n") && first.windows(5).any(|w| w == b"first"));
        world.shutdown.send_replace(true);
        let end = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
        assert!(end.expect("the stream ends").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_mistyped_name_is_answered_with_the_nearest_that_the_token_may_see() {
    in_world(async |world| {
        for name in ["billing", "bullying"] {
            world.post("/v1/apps", json!({"name": name})).await;
        }
        let new = json!({"name": "staging"});
        world.post("/v1/apps/billing/environments", new).await;
        let narrow = world.token(&["read:app"], json!({"apps": ["bullying"]})).await;
        for (token, path, meant) in [
            (None, "/v1/apps/biling", Some("billing")),
            (None, "/v1/apps/billing/instances?environment=stagin", Some("staging")),
            (None, "/v1/apps/nothing-like-it", None),
            (Some(&narrow), "/v1/apps/biling", Some("bullying")),
            (Some(&narrow), "/v1/apps/billing", Some("bullying")),
        ] {
            let ask = world.ask("GET", path);
            let answer = match token {
                Some(token) => ask.token(token).send().await,
                None => ask.send().await,
            };
            let said = meant.map(|name| format!("Did you mean `{name}`?"));
            let detail = answer.text_at("/detail");
            assert_eq!(answer.code(), "not_found", "{path}");
            assert_eq!(detail.contains("Did you mean"), said.is_some(), "{path}: {detail}");
            assert!(said.is_none_or(|said| detail.ends_with(&said)), "{path}: {detail}");
        }
        let body = json!({"name": "ci", "scopes": ["deploy:app"], "apps": ["biling", "bullying"]});
        let made = world.post("/v1/tokens", body).await;
        let warnings = made.json["warnings"].as_array().cloned().unwrap_or_default();
        assert_eq!((made.status, warnings.len()), (201, 1), "{}", made.text);
        assert!(
            warnings[0].as_str().is_some_and(|w| w.contains("`biling`")),
            "{}",
            made.text
        );
    })
    .await;
}
