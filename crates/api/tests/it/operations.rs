//! One-off commands and what the clock calls for, as far as the API goes: it writes down what is wanted.

use serde_json::json;

use crate::world::in_world;

#[tokio::test]
async fn a_command_is_accepted_with_the_release_that_serves_and_can_be_called_off_once() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let early = world.post("/v1/apps/web/run", json!({"command": ["/task"]})).await;
        assert_eq!((early.status, early.code().as_str()), (409, "nothing_deployed"));
        world.deployed("web", "web:1").await;
        let accepted = world
            .post("/v1/apps/web/run", json!({"command": ["/task", "-v"], "timeout": "5m"}))
            .await;
        assert_eq!((accepted.status, &accepted.json["state"]), (202, &json!("pending")));
        assert_eq!(
            (&accepted.json["kind"], &accepted.json["release"]),
            (&json!("run"), &json!(1))
        );
        let id = accepted.json["id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/operations/{id}");
        assert_eq!(world.get(&path).await.json["command"], json!(["/task", "-v"]));
        let listed = world.get("/v1/apps/web/operations").await;
        assert_eq!(listed.json["items"].as_array().map(Vec::len), Some(1));
        for (query, count) in [("kind=run", 1), ("kind=cron", 0)] {
            let listed = world.get(&format!("/v1/apps/web/operations?{query}")).await;
            assert_eq!(listed.json["items"].as_array().map(Vec::len), Some(count), "{query}");
        }

        let stranger = world.other_team("strangers").await;
        let stranger = world
            .token_of(stranger, &["read:app", "exec:app", "read:log"], json!({}))
            .await;
        assert_eq!(
            world.ask("GET", &path).token(&stranger).send().await.code(),
            "not_found"
        );
        let cancel = format!("{path}/cancel");
        assert_eq!(
            world.ask("POST", &cancel).token(&stranger).send().await.code(),
            "not_found"
        );
        assert_eq!(world.ask("POST", &cancel).send().await.status, 200);
        let audit = world.get("/v1/audit?action=run.cancel").await;
        assert_eq!(audit.json["items"].as_array().map(Vec::len), Some(1));
    })
    .await;
}

#[tokio::test]
async fn no_more_commands_are_taken_than_may_be_under_way() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        for _ in 0..20 {
            let accepted = world.post("/v1/apps/web/run", json!({"command": ["/task"]})).await;
            assert_eq!(accepted.status, 202, "{}", accepted.text);
        }
        let refused = world.post("/v1/apps/web/run", json!({"command": ["/task"]})).await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_requests"));
    })
    .await;
}

#[tokio::test]
async fn what_serves_tells_its_commands_by_the_clock() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let cron =
            json!([{"name": "nightly", "schedule": "0 3 * * *", "timezone": "Europe/Berlin", "command": ["/report"]}]);
        let spec = json!({"cron": cron});
        assert_eq!(world.put("/v1/apps/web/spec", spec).await.status, 204);
        assert_eq!(
            world.get("/v1/apps/web/cron").await.json["items"],
            json!([]),
            "nothing serves yet"
        );
        world.deployed("web", "web:1").await;
        let shown = world.get("/v1/apps/web/cron").await;
        let job = &shown.json["items"][0];
        assert_eq!(
            (&job["name"], &job["timezone"], &job["concurrency"], &job["last"]),
            (
                &json!("nightly"),
                &json!("Europe/Berlin"),
                &json!("forbid"),
                &json!(null)
            )
        );
        assert!(job["next_at"].is_string(), "{}", shown.text);
    })
    .await;
}

#[tokio::test]
async fn a_command_by_the_clock_that_there_is_not_is_said_so_with_the_nearest_there_is() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let spec = json!({"cron": [{"name": "nightly", "schedule": "0 3 * * *", "command": ["/task"]}]});
        assert_eq!(world.put("/v1/apps/web/spec", spec).await.status, 204);
        world.deployed("web", "web:1").await;
        let history = |name: &str| format!("/v1/apps/web/operations?cron={name}");
        assert_eq!(world.get(&history("nightly")).await.json["items"], json!([]));
        let near = world.get(&history("nightli")).await;
        assert_eq!(near.code(), "not_found");
        assert!(near.text.contains("Did you mean `nightly`?"), "{}", near.text);
    })
    .await;
}
