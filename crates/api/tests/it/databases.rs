//! Managed databases: whose they are, and what is refused. That they run is tried with a real engine elsewhere.

use serde_json::json;
use slipway_domain::Clock as _;
use slipway_domain::database::DatabaseState;

use crate::world::{World, in_world};

const ALL: &str = "/v1/databases";

/// What the scheduler does once the server answers.
async fn becomes_ready(world: &World, name: &str) {
    let mut tx = world.scheduler_tx().await;
    let found = tx.database(&name.parse().expect("a name")).await.expect("read");
    let id = found.expect("made").id;
    tx.note_database(id, (DatabaseState::Ready, None), world.ports.clock.now())
        .await
        .expect("noted");
    tx.commit().await.expect("commits");
}

#[tokio::test]
async fn a_database_is_made_attached_once_and_deleted_when_nobody_may_reach_it() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let made = world.post(ALL, json!({"name": "orders", "memory": "64MiB"})).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert_eq!(made.header("location"), "/v1/databases/orders");
        assert_eq!(
            (made.text_at("/state"), made.text_at("/host"), &made.json["connections"]),
            ("creating", "orders.db.internal", &json!(16)),
            "{}",
            made.text
        );
        let again = world.post(ALL, json!({"name": "orders"})).await;
        assert_eq!(again.code(), "already_exists", "{}", again.text);
        let attach = json!({"app": "web"});
        let early = world.post("/v1/databases/orders/attach", attach.clone()).await;
        assert!(
            early.code() == "conflict" && early.detail().contains("not ready"),
            "{}",
            early.text
        );

        becomes_ready(&world, "orders").await;
        let done = world.post("/v1/databases/orders/attach", attach.clone()).await;
        assert_eq!(done.status, 204, "nothing was ever deployed: {}", done.text);
        assert_eq!(world.get("/v1/apps/web/secrets").await.column("name"), ["DATABASE_URL"]);
        let twice = world.post("/v1/databases/orders/attach", attach).await;
        assert_eq!(twice.code(), "conflict", "{}", twice.text);
        world.post(ALL, json!({"name": "second"})).await;
        becomes_ready(&world, "second").await;
        let same = world.post("/v1/databases/second/attach", json!({"app": "web"})).await;
        assert!(
            same.detail().contains("has a secret DATABASE_URL already"),
            "{}",
            same.text
        );
        let other = json!({"app": "web", "variable": "SECOND_URL"});
        assert_eq!(world.post("/v1/databases/second/attach", other).await.status, 204);

        let kept = world.delete("/v1/databases/orders").await;
        assert!(
            kept.code() == "conflict" && kept.detail().contains("web/production"),
            "{}",
            kept.text
        );
        let app = world.delete("/v1/apps/web").await;
        assert!(
            app.code() == "conflict" && app.detail().contains("the database stays"),
            "{}",
            app.text
        );
        let detached = world.delete("/v1/databases/orders/attach?app=web").await;
        assert_eq!(detached.status, 204, "{}", detached.text);
        assert_eq!(world.get("/v1/apps/web/secrets").await.column("name"), ["SECOND_URL"]);
        assert_eq!(world.delete("/v1/databases/orders").await.status, 204);
        assert_eq!(world.get("/v1/databases/orders").await.text_at("/state"), "deleting");
        let audit = world.get("/v1/audit?action=database.").await.column("action");
        let made = audit.iter().filter(|action| **action == "database.create").count();
        assert_eq!((made, audit[0].as_str()), (2, "database.delete"), "{audit:?}");
    })
    .await;
}

#[tokio::test]
async fn a_database_is_its_teams_alone() {
    in_world(async |world| {
        world.post(ALL, json!({"name": "orders"})).await;
        becomes_ready(&world, "orders").await;
        let team = world.other_team("crew").await;
        let scopes = ["write:app", "read:database", "write:database"];
        let token = world.token_of(team, &scopes, json!({})).await;
        let ask = async |method: &str, path: &str| world.ask(method, path).token(&token).send().await;
        assert_eq!(ask("GET", ALL).await.column("name"), [""; 0]);
        for (method, path) in [("GET", "/v1/databases/orders"), ("DELETE", "/v1/databases/orders")] {
            assert_eq!(ask(method, path).await.status, 404, "{method}");
        }
        let call = world
            .ask("POST", "/v1/apps")
            .token(&token)
            .json(&json!({"name": "theirs"}));
        assert_eq!(call.send().await.status, 201);
        let body = json!({"app": "theirs"});
        let attach = |token: Option<&str>| {
            let call = world.ask("POST", "/v1/databases/orders/attach").json(&body);
            match token {
                Some(token) => call.token(token),
                None => call,
            }
        };
        assert_eq!(attach(Some(&token)).send().await.status, 404);
        let by_admin = attach(None).send().await;
        assert!(by_admin.detail().contains("its own team's apps"), "{}", by_admin.text);
        let narrow = world
            .token(&["write:database", "write:app"], json!({"apps": ["web"]}))
            .await;
        let refused = world
            .ask("POST", ALL)
            .token(&narrow)
            .json(&json!({"name": "more"}))
            .send()
            .await;
        assert_eq!(refused.code(), "forbidden", "{}", refused.text);
    })
    .await;
}
