//! What is told of an app is seen by those who may see the app.

use serde_json::json;
use slipway_domain::Clock as _;
use slipway_domain::alert::AlertKind;
use slipway_domain::ids::{AlertId, ReleaseId};

use crate::ports::Counter;
use crate::world::{World, in_world};

async fn raise(world: &World, app: &str) {
    let now = world.ports.clock.now();
    let mut tx = world.scheduler_tx().await;
    let row = tx.app_by_name(&app.parse().expect("a name")).await;
    let row = row.expect("reads").expect("is there");
    let environment = tx.environments(row.id).await.expect("reads").remove(0);
    let of = (AlertKind::CrashLoop, ReleaseId::mint(now, &Counter), "it ends");
    let raised = tx
        .raise_alert(AlertId::mint(now, &Counter), &environment, of, now)
        .await;
    raised.expect("raised");
    tx.commit().await.expect("commits");
}

#[tokio::test]
async fn alerts_are_seen_by_those_who_may_see_the_app() {
    in_world(async |world| {
        for app in ["web", "api"] {
            world.post("/v1/apps", json!({"name": app})).await;
            raise(&world, app).await;
        }
        let all = world.get("/v1/alerts").await;
        let seen = |items: &serde_json::Value| -> Vec<String> {
            let items = items["items"].as_array().expect("a list").iter();
            items.map(|i| i["app"].as_str().expect("a name").to_owned()).collect()
        };
        assert_eq!(seen(&all.json), ["api", "web"], "newest first: {}", all.text);
        let first = &all.json["items"][0];
        assert_eq!(
            (
                &first["state"],
                &first["kind"],
                &first["message"],
                &first["environment"]
            ),
            (
                &json!("firing"),
                &json!("crash_loop"),
                &json!("it ends"),
                &json!("production")
            )
        );
        assert_eq!(
            seen(&world.get("/v1/alerts?state=resolved").await.json),
            Vec::<String>::new()
        );
        assert_eq!(seen(&world.get("/v1/alerts?limit=1").await.json), ["api"]);

        let mut narrow = Vec::new();
        for narrowed in [json!({"apps": ["web"]}), json!({"environments": ["staging"]})] {
            let token = world.token(&["read:app"], narrowed).await;
            let answer = world.ask("GET", "/v1/alerts").token(&token).send().await;
            narrow.push(seen(&answer.json));
        }
        assert_eq!(narrow, [vec!["web".to_owned()], vec![]]);
        let other = world.other_team("other").await;
        let token = world.token_of(other, &["read:app"], json!({})).await;
        let answer = world.ask("GET", "/v1/alerts").token(&token).send().await;
        assert_eq!(seen(&answer.json), Vec::<String>::new(), "another team's");
        assert_eq!(world.get("/v1/alerts?state=loud").await.status, 422);
    })
    .await;
}
