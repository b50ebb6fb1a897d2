//! Apps, environments and pages of lists.

use serde_json::json;

use crate::world::in_world;

#[tokio::test]
async fn an_app_begins_with_production_and_its_name_is_taken_from_then_on() {
    in_world(async |world| {
        let made = world.post("/v1/apps", json!({"name": "directory"})).await;
        assert_eq!((made.status, made.header("location")), (201, "/v1/apps/directory"));
        assert_eq!(
            (made.text_at("/team"), made.text_at("/created_by")),
            ("default", "tester")
        );
        assert_eq!(made.json["environments"][0]["name"], "production");
        assert_eq!(made.json["environments"][0]["state"], "empty");
        assert_eq!(
            made.json["environments"][0]["url"],
            "https://directory.apps.localhost:8443"
        );
        assert_eq!(world.get("/v1/apps/directory").await.json, made.json);
        let again = world.post("/v1/apps", json!({"name": "directory"})).await;
        assert_eq!((again.status, again.code().as_str()), (409, "already_exists"));
        for name in ["ab", "Web", "we--b", "web-", &"a".repeat(41)] {
            let bad = world.post("/v1/apps", json!({"name": name})).await;
            assert_eq!(
                (bad.code().as_str(), bad.pointers()),
                ("invalid_body", vec!["/name"]),
                "{name}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn name_and_team_of_an_app_are_fixed_and_the_answer_says_so() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let patch = |body| {
            let world = world.clone();
            async move { world.ask("PATCH", "/v1/apps/web").json(&body).send().await }
        };
        assert_eq!(patch(json!({"name": "web", "team": "default"})).await.status, 200);
        assert_eq!(patch(json!({"name": "site"})).await.code(), "not_available");
        assert_eq!(patch(json!({"team": "crew"})).await.code(), "not_available");
        assert_eq!(patch(json!({"colour": "red"})).await.code(), "invalid_body");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_app_is_gone_at_once_and_its_name_comes_back_with_the_scheduler() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let wakes = world.wakes();
        assert_eq!(world.delete("/v1/apps/web").await.status, 204);
        assert!(world.wakes() > wakes);
        assert_eq!(world.get("/v1/apps/web").await.code(), "not_found");
        assert_eq!(world.delete("/v1/apps/web?force=true").await.code(), "not_found");
        assert!(world.get("/v1/apps").await.column("name").is_empty());
        let early = world.post("/v1/apps", json!({"name": "web"})).await;
        assert_eq!(early.code(), "already_exists");
        assert!(early.detail().contains("still going away"), "{}", early.detail());
    })
    .await;
}

#[tokio::test]
async fn environments_come_and_go_but_the_last_one_only_by_force() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let made = world
            .post("/v1/apps/web/environments", json!({"name": "staging"}))
            .await;
        assert_eq!(
            (made.status, made.header("location")),
            (201, "/v1/apps/web/environments/staging")
        );
        assert_eq!(made.text_at("/url"), "https://web--staging.apps.localhost:8443");
        let again = world
            .post("/v1/apps/web/environments", json!({"name": "staging"}))
            .await;
        assert_eq!(again.code(), "already_exists");
        assert_eq!(
            world.get("/v1/apps/web/environments").await.column("name"),
            ["production", "staging"]
        );
        let page = world.get("/v1/apps/web/environments?limit=1").await;
        let next = format!("/v1/apps/web/environments?cursor={}", page.text_at("/next_cursor"));
        assert_eq!(world.get(&next).await.column("name"), ["staging"]);

        assert_eq!(world.delete("/v1/apps/web/environments/staging").await.status, 204);
        assert_eq!(
            world.delete("/v1/apps/web/environments/staging").await.code(),
            "not_found"
        );
        assert_eq!(world.delete("/v1/apps/web/environments/No").await.code(), "not_found");
        assert_eq!(
            world.delete("/v1/apps/web/environments/production").await.code(),
            "conflict"
        );
        assert_eq!(
            world
                .delete("/v1/apps/web/environments/production?force=true")
                .await
                .status,
            204
        );
        assert_eq!(world.get("/v1/apps/web").await.code(), "not_found");
    })
    .await;
}

#[tokio::test]
async fn a_token_lists_the_apps_it_may_see_and_no_others() {
    in_world(async |world| {
        for name in ["app-a", "app-b", "app-c"] {
            world.post("/v1/apps", json!({"name": name})).await;
        }
        world
            .post("/v1/apps/app-a/environments", json!({"name": "staging"}))
            .await;
        let crew = world.other_team("crew").await;
        let made = world.post("/v1/apps", json!({"name": "app-x", "team": "crew"})).await;
        assert_eq!(made.text_at("/team"), "crew");
        let list = |token: String, query: &'static str| {
            let world = world.clone();
            async move { world.ask("GET", &format!("/v1/apps{query}")).token(&token).send().await }
        };
        let team = world.token(&["read:app"], json!({})).await;
        let two = world
            .token(
                &["read:app"],
                json!({"apps": ["app-a", "app-x"], "environments": ["staging"]}),
            )
            .await;
        let other = world.token_of(crew, &["read:app"], json!({})).await;
        for (token, names) in [
            (world.admin.clone(), vec!["app-a", "app-b", "app-c", "app-x"]),
            (team.clone(), vec!["app-a", "app-b", "app-c"]),
            (two.clone(), vec!["app-a"]),
            (other, vec!["app-x"]),
        ] {
            assert_eq!(list(token, "").await.column("name"), names);
        }
        let narrowed = list(two, "").await;
        assert_eq!(
            narrowed.json["items"][0]["environments"].as_array().map(Vec::len),
            Some(1)
        );
        let first = list(team.clone(), "?limit=2").await;
        assert_eq!(first.column("name"), ["app-a", "app-b"]);
        let next = format!("/v1/apps?limit=2&cursor={}", first.text_at("/next_cursor"));
        let second = world.ask("GET", &next).token(&team).send().await;
        assert_eq!(
            (second.column("name"), second.json["next_cursor"].is_null()),
            (vec!["app-c".to_owned()], true)
        );
    })
    .await;
}
