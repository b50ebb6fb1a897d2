//! What happened during a deployment, as JSON and as a stream.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use slipway_domain::clock::testing::at;

use crate::world::{World, id_of, in_world};

/// Reads a stream until a text has come, or its end; ten seconds at most.
async fn read_until(body: &mut Body, text: &str) -> String {
    let mut all = String::new();
    let reading = async {
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.expect("a frame").into_data() {
                all.push_str(std::str::from_utf8(&data).expect("text"));
            }
            if !text.is_empty() && all.contains(text) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("the stream goes on");
    all
}

async fn stream(world: &World, deployment: &Value, last: Option<&str>) -> Body {
    let path = format!("/v1/deployments/{}/events", deployment["id"].as_str().expect("an id"));
    let ask = world.ask("GET", &path).header("accept", "text/event-stream");
    let ask = match last {
        Some(id) => ask.header("last-event-id", id),
        None => ask,
    };
    let response = ask.open().await;
    assert_eq!(response.status(), 200);
    let media = response.headers()["content-type"].to_str().expect("text").to_owned();
    assert!(media.starts_with("text/event-stream"), "{media}");
    response.into_body()
}

fn fields<'a>(stream: &'a str, name: &str) -> Vec<&'a str> {
    stream
        .lines()
        .filter_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
        .collect()
}

#[tokio::test]
async fn a_stream_follows_a_deployment_to_its_end_and_resumes_without_a_gap() {
    in_world(async |world| {
        let deployment = world
            .post("/v1/apps/web/deployments", json!({"image": "web:1"}))
            .await
            .json;
        let mut body = stream(&world, &deployment, None).await;
        let begun = read_until(&mut body, "deployment.accepted").await;
        assert!(begun.contains("v1 of web/production accepted: web:1"), "{begun}");
        world.succeed(&deployment).await;
        // The old instances end later: that is in the list, and no stream goes on for it.
        let mut tx = world.scheduler_tx().await;
        let later = tx.append_event(id_of(&deployment), "step.succeeded", at(9_000), None, "stop succeeded");
        later.await.expect("appended");
        tx.commit().await.expect("commits");
        let rest = read_until(&mut body, "").await;
        let kinds = fields(&rest, "event");
        assert_eq!(kinds.last(), Some(&"deployment.finished"), "{rest}");

        let whole = read_until(&mut stream(&world, &deployment, None).await, "").await;
        let ids = fields(&whole, "id");
        assert_eq!(fields(&whole, "event").first(), Some(&"deployment.accepted"));
        assert_eq!(ids.len(), kinds.len() + 1);
        let resumed = read_until(&mut stream(&world, &deployment, Some(ids[1])).await, "").await;
        assert_eq!(fields(&resumed, "id"), ids[2..]);
        let ended = read_until(&mut stream(&world, &deployment, ids.last().copied()).await, "").await;
        assert!(fields(&ended, "event").is_empty(), "{ended}");

        for (data, id) in fields(&whole, "data").iter().zip(ids) {
            let event: Value = serde_json::from_str(data).expect("JSON");
            world.document.check_shape("Event", &event).expect("an event");
            assert_eq!(event["id"].to_string(), id);
        }
    })
    .await;
}

#[tokio::test]
async fn events_are_also_a_list_with_pages() {
    in_world(async |world| {
        let deployment = world.deployed("web", "web:1").await.json;
        let path = format!("/v1/deployments/{}/events", deployment["id"].as_str().expect("an id"));
        let all = world.get(&path).await;
        let kinds = all.column("type");
        assert_eq!(
            (kinds[0].as_str(), kinds[kinds.len() - 1].as_str()),
            ("deployment.accepted", "deployment.finished")
        );
        let first = world.get(&format!("{path}?limit=2")).await;
        let cursor = first.text_at("/next_cursor");
        let second = world.get(&format!("{path}?cursor={cursor}")).await;
        assert_eq!([first.column("id"), second.column("id")].concat(), all.column("id"));
        assert!(second.json["next_cursor"].is_null());
        let bad = world
            .ask("GET", &path)
            .header("accept", "text/event-stream")
            .header("last-event-id", "x");
        assert_eq!(bad.send().await.code(), "invalid_parameter");
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_ends_streams_and_their_number_is_bounded() {
    in_world(async |world| {
        let deployment = world
            .post("/v1/apps/web/deployments", json!({"image": "web:1"}))
            .await
            .json;
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(stream(&world, &deployment, None).await);
        }
        let path = format!("/v1/deployments/{}/events", deployment["id"].as_str().expect("an id"));
        let fifth = world
            .ask("GET", &path)
            .header("accept", "text/event-stream")
            .open()
            .await;
        assert_eq!(fifth.status(), 429);
        assert!(fifth.headers().contains_key("retry-after"));
        world.shutdown.send_replace(true);
        for mut body in open {
            read_until(&mut body, "").await;
        }
    })
    .await;
}
