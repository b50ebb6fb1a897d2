//! Secrets and pull credentials: in, never out.

use serde_json::json;

use crate::world::in_world;

#[tokio::test]
async fn a_secret_goes_in_is_released_and_never_comes_out() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let set = world
            .put("/v1/apps/web/secrets/API_KEY", json!({"value": "hunter2-hunter2"}))
            .await;
        assert_eq!(
            (set.status, &set.json["cause"]),
            (202, &json!("secrets")),
            "{}",
            set.text
        );
        let again = world
            .put("/v1/apps/web/secrets/API_KEY", json!({"value": "hunter2-hunter2"}))
            .await;
        assert_eq!(again.status, 204, "the value it has already changes nothing");
        let other = world
            .put("/v1/apps/web/secrets/API_KEY", json!({"value": "other"}))
            .await;
        assert_eq!(other.json["release"], 3);

        let listed = world.get("/v1/apps/web/secrets").await;
        let one = world.get("/v1/apps/web/secrets/API_KEY").await;
        assert_eq!(listed.json["items"][0], one.json);
        assert_eq!(
            (&one.json["version"], &one.json["required"]),
            (&json!(2), &json!(false))
        );
        assert_eq!(one.text_at("/created_by"), "tester");
        let audit = world.get("/v1/audit?action=secret.").await;
        for shown in [&listed.text, &one.text, &audit.text, &set.text] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let clear = "select count(*) from secrets where position('hunter2'::bytea in sealed) > 0";
        assert_eq!(world.db.number(clear).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_required_secret_is_not_taken_away_at_once() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        world
            .put("/v1/apps/web/secrets/KEY?apply=false", json!({"value": "x"}))
            .await;
        let required = json!({"secrets": {"required": ["KEY"]}});
        assert_eq!(world.put("/v1/apps/web/spec", required).await.status, 202);
        let refused = world.delete("/v1/apps/web/secrets/KEY").await;
        assert_eq!(refused.code(), "missing_secrets");
        assert_eq!(
            world.get("/v1/apps/web/secrets").await.column("name"),
            ["KEY"],
            "nothing was taken away"
        );
        assert_eq!(world.delete("/v1/apps/web/secrets/KEY?apply=false").await.status, 204);
        assert_eq!(world.get("/v1/apps/web/secrets/KEY").await.code(), "not_found");
        assert_eq!(world.delete("/v1/apps/web/secrets/KEY").await.code(), "not_found");
    })
    .await;
}

#[tokio::test]
async fn required_secrets_are_set_one_by_one_and_the_last_one_makes_the_release() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let required = json!({"secrets": {"required": ["ONE", "TWO"]}});
        let refused = world.put("/v1/apps/web/spec", required.clone()).await;
        assert_eq!(refused.code(), "missing_secrets");
        assert!(refused.text.contains("slipway secrets set ONE TWO"), "{}", refused.text);
        assert_eq!(world.put("/v1/apps/web/spec?apply=false", required).await.status, 204);
        let first = world.put("/v1/apps/web/secrets/ONE", json!({"value": "x"})).await;
        assert_eq!(first.status, 204, "{}", first.text);
        assert_eq!(world.get("/v1/apps/web/secrets").await.column("name"), ["ONE"]);
        let second = world.put("/v1/apps/web/secrets/TWO", json!({"value": "y"})).await;
        assert_eq!(
            (second.status, &second.json["cause"]),
            (202, &json!("secrets")),
            "{}",
            second.text
        );
    })
    .await;
}

#[tokio::test]
async fn wrong_secrets_are_refused() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        for (name, value, code) in [
            ("1KEY", "x".to_owned(), "invalid_name"),
            ("PORT", "x".to_owned(), "invalid_name"),
            ("KEY", String::new(), "invalid_body"),
            ("KEY", "x".repeat(70_000), "invalid_body"),
            ("KEY", "a\0b".to_owned(), "invalid_body"),
        ] {
            let answer = world
                .put(&format!("/v1/apps/web/secrets/{name}"), json!({"value": value}))
                .await;
            assert_eq!((answer.status, answer.code().as_str()), (422, code), "{name}");
        }
        assert_eq!(world.db.number("select count(*) from secrets").await, 0);
    })
    .await;
}

#[tokio::test]
async fn pull_credentials_are_used_for_the_teams_images_and_never_shown() {
    in_world(async |world| {
        let path = "/v1/registries/registry.example.com:5000";
        let body = json!({"username": "ci", "password": "registry-secret"});
        let stored = world.put(path, body).await;
        assert_eq!(
            (stored.status, stored.text_at("/username")),
            (200, "ci"),
            "{}",
            stored.text
        );
        let colon = world.put(path, json!({"username": "c:i", "password": "x"})).await;
        assert_eq!(
            (colon.status, colon.pointers()),
            (422, vec!["/username"]),
            "{}",
            colon.text
        );
        let listed = world.get("/v1/registries").await;
        assert_eq!(listed.column("host"), ["registry.example.com:5000"]);
        let audit = world.get("/v1/audit?action=registry.").await;
        for shown in [&stored.text, &listed.text, &world.get(path).await.text, &audit.text] {
            assert!(!shown.contains("registry-secret"), "{shown}");
        }
        let deploy = "/v1/deploy?app=web&image=registry.example.com:5000/web:private";
        assert_eq!(world.ask("POST", deploy).send().await.status, 202);
        let asked = world.ports.registry.asked_with.lock().expect("not poisoned").clone();
        assert_eq!(asked, Some(("ci".into(), "registry-secret".into())));

        let other = world
            .token_of(
                world.other_team("crew").await,
                &["deploy:app", "read:secret"],
                json!({}),
            )
            .await;
        let elsewhere = "/v1/deploy?app=crewapp&image=registry.example.com:5000/web:private";
        let refused = world.ask("POST", elsewhere).token(&other).send().await;
        assert_eq!(
            refused.code(),
            "registry_unauthorized",
            "another team's credentials are not used"
        );
        assert_eq!(world.ask("GET", path).token(&other).send().await.code(), "not_found");

        let narrow = world.token(&["write:secret"], json!({"apps": ["web"]})).await;
        assert_eq!(
            world.ask("DELETE", path).token(&narrow).send().await.code(),
            "forbidden"
        );
        assert_eq!(world.delete(path).await.status, 204);
        assert_eq!(world.delete(path).await.code(), "not_found");
    })
    .await;
}

#[tokio::test]
async fn an_administrator_gives_another_team_its_own_pull_credentials() {
    in_world(async |world| {
        let crew = world.other_team("crew").await;
        let other = world.token_of(crew, &["deploy:app", "read:secret"], json!({})).await;
        let path = "/v1/registries/registry.example.com:5000";
        let elsewhere = "/v1/deploy?app=crewapp&image=registry.example.com:5000/web:private";
        let of_crew = format!("{path}?team=crew");
        let stored = world
            .put(&of_crew, json!({"username": "crew", "password": "crew-secret"}))
            .await;
        assert_eq!(stored.status, 200, "{}", stored.text);
        assert_eq!(world.ask("POST", elsewhere).token(&other).send().await.status, 202);
        let asked = world.ports.registry.asked_with.lock().expect("not poisoned").clone();
        assert_eq!(asked, Some(("crew".into(), "crew-secret".into())));
        assert_eq!(world.get("/v1/registries?team=crew").await.column("username"), ["crew"]);
        let foreign = format!("{path}?team=default");
        assert_eq!(
            world.ask("GET", &foreign).token(&other).send().await.code(),
            "not_found"
        );
        assert_eq!(world.delete(&of_crew).await.status, 204);
        let again = "/v1/apps/crewapp/deployments";
        let refused = world
            .post(again, json!({"image": "registry.example.com:5000/web:private"}))
            .await;
        assert!(refused.detail().contains("--team crew"), "{}", refused.text);
    })
    .await;
}
