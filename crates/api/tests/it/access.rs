//! Tokens, teams and the audit log.

use serde_json::{Value, json};

use crate::world::in_world;

#[tokio::test]
async fn a_token_is_shown_once_works_and_can_be_ended() {
    in_world(async |world| {
        let body = json!({"name": "ci", "scopes": ["deploy:app", "read:app"], "apps": ["web"], "expires_in": "30d"});
        let made = world.post("/v1/tokens", body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let token = made.text_at("/token").to_owned();
        assert!(token.starts_with("slw_dpl_") && token.len() == 44, "{token}");
        assert_eq!(made.json["apps"], json!(["web"]));
        let listed = world.get("/v1/tokens").await;
        assert!(!listed.text.contains(&token));
        let found = listed.json["items"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|t| t["name"] == "ci")
            .cloned();
        let found = found.expect("it is listed");
        assert_eq!(
            (&found["scopes"], &found["environments"]),
            (&made.json["scopes"], &Value::Null)
        );

        let use_it = || world.ask("GET", "/v1/apps").token(&token).send();
        assert_eq!(use_it().await.status, 200);
        let path = format!("/v1/tokens/{}", made.text_at("/id"));
        assert_eq!(world.delete(&path).await.status, 204);
        assert_eq!(use_it().await.code(), "unauthenticated");
        let again = world.delete(&path).await;
        assert!(
            again.status == 404 && again.detail().contains("revoked already"),
            "{}",
            again.text
        );
        assert_eq!(world.delete("/v1/tokens/tok_x").await.code(), "not_found");
        let audit = world.get("/v1/audit?action=token.").await;
        assert_eq!(audit.column("action"), ["token.revoke", "token.create"]);
        assert!(!audit.text.contains(&token));
    })
    .await;
}

#[tokio::test]
async fn a_token_is_only_handed_on_narrower() {
    in_world(async |world| {
        let own = ["write:token", "read:app", "deploy:app"];
        let maker = world.token(&own, json!({"apps": ["web", "site"]})).await;
        for (body, code) in [
            (json!({"scopes": ["read:app"], "apps": ["web"]}), "201"),
            (
                json!({"scopes": ["read:app"], "apps": ["web"], "environments": ["staging"]}),
                "201",
            ),
            (json!({"scopes": ["read:app"]}), "token_too_wide"),
            (json!({"scopes": ["read:app"], "apps": ["other"]}), "token_too_wide"),
            (json!({"scopes": ["write:app"], "apps": ["web"]}), "token_too_wide"),
            (json!({"scopes": ["admin"]}), "token_too_wide"),
            (
                json!({"scopes": ["read:app"], "apps": ["web"], "expires_in": "91d"}),
                "token_too_wide",
            ),
            (
                json!({"scopes": ["read:app"], "apps": ["web"], "team": "crew"}),
                "not_found",
            ),
        ] {
            let mut full = body.clone();
            full["name"] = json!("x");
            let answer = world.ask("POST", "/v1/tokens").token(&maker).json(&full).send().await;
            assert_eq!(answer.code(), code, "{body}");
        }
        for (body, pointer) in [
            (json!({"scopes": []}), "/scopes"),
            (json!({"scopes": ["read:app"], "apps": []}), "/apps"),
            (json!({"scopes": ["admin"], "apps": ["web"]}), "/scopes"),
            (json!({"scopes": ["read:app"], "expires_in": "367d"}), "/expires_in"),
            (json!({"scopes": ["read:app"], "expires_in": "1s"}), "/expires_in"),
        ] {
            let mut full = body.clone();
            full["name"] = json!("x");
            let answer = world.post("/v1/tokens", full).await;
            assert_eq!(
                (answer.code().as_str(), answer.pointers()),
                ("invalid_body", vec![pointer]),
                "{body}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_narrow_token_cannot_end_a_wider_one_or_see_another_teams() {
    in_world(async |world| {
        let wide = world
            .post("/v1/tokens", json!({"name": "wide", "scopes": ["admin"]}))
            .await;
        let path = format!("/v1/tokens/{}", wide.text_at("/id"));
        let narrow = world.token(&["write:token", "read:token"], json!({})).await;
        assert_eq!(
            world.ask("DELETE", &path).token(&narrow).send().await.code(),
            "forbidden"
        );
        let other = world.other_team("crew").await;
        let stranger = world.token_of(other, &["write:token", "read:token"], json!({})).await;
        assert_eq!(
            world.ask("DELETE", &path).token(&stranger).send().await.code(),
            "not_found"
        );
        let seen = world.ask("GET", "/v1/tokens").token(&stranger).send().await;
        assert_eq!(seen.column("team"), ["crew"]);
        let admin = world.get("/v1/tokens").await;
        assert!(admin.column("team").contains(&"crew".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn teams_are_made_by_administrators_and_seen_by_their_own() {
    in_world(async |world| {
        let made = world.post("/v1/teams", json!({"name": "crew"})).await;
        assert_eq!((made.status, made.text_at("/name")), (201, "crew"));
        assert_eq!(
            world.post("/v1/teams", json!({"name": "crew"})).await.code(),
            "already_exists"
        );
        assert_eq!(world.get("/v1/teams").await.column("name"), ["crew", "default"]);
        let member = world.token(&["write:team", "read:team"], json!({})).await;
        assert_eq!(
            world.ask("GET", "/v1/teams").token(&member).send().await.column("name"),
            ["default"]
        );
        let refused = world
            .ask("POST", "/v1/teams")
            .token(&member)
            .json(&json!({"name": "mine"}))
            .send()
            .await;
        assert_eq!(refused.code(), "forbidden");
        assert_eq!(
            world
                .post("/v1/apps", json!({"name": "web", "team": "nobody"}))
                .await
                .code(),
            "not_found"
        );
    })
    .await;
}

#[tokio::test]
async fn every_change_is_in_the_log_and_the_chain_breaks_when_it_is_touched() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        world
            .put("/v1/apps/web/env", json!({"env": {"A": "confidential-value"}}))
            .await;
        world.deployed("web", "web:1").await;
        world.post("/v1/apps/web/stop", json!({})).await;
        world.delete("/v1/apps/web").await;
        let log = world.get("/v1/audit").await;
        let expected = [
            "app.delete",
            "environment.stop",
            "deployment.create",
            "env.change",
            "environment.create",
            "app.create",
        ];
        assert_eq!(log.column("action"), expected);
        assert_eq!(log.json["items"][3]["change"]["keys"], json!(["/env/A"]));
        assert!(!log.text.contains("confidential-value"));
        let page = world.get("/v1/audit?limit=2").await;
        let next = world
            .get(&format!("/v1/audit?limit=2&cursor={}", page.text_at("/next_cursor")))
            .await;
        assert_eq!(next.column("action"), expected[2..4]);
        let reader = world
            .token_of(world.other_team("crew").await, &["read:audit"], json!({}))
            .await;
        assert!(
            world
                .ask("GET", "/v1/audit")
                .token(&reader)
                .send()
                .await
                .column("seq")
                .is_empty()
        );
        assert_eq!(
            world.ask("GET", "/v1/audit/verify").token(&reader).send().await.code(),
            "forbidden"
        );

        let whole = world.get("/v1/audit/verify").await;
        assert_eq!((&whole.json["ok"], &whole.json["rows"]), (&json!(true), &json!(7)));
        let touch = "alter table audit disable trigger audit_append_only; update audit set action = 'x' where seq = 3";
        world.db.execute(touch).await;
        let broken = world.get("/v1/audit/verify").await;
        assert_eq!(
            (&broken.json["ok"], &broken.json["broken_at"]),
            (&json!(false), &json!(3))
        );
    })
    .await;
}

#[tokio::test]
async fn reaching_for_what_belongs_to_others_is_written_down() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let stranger = world
            .token_of(world.other_team("crew").await, &["read:app", "read:audit"], json!({}))
            .await;
        assert_eq!(
            world.ask("GET", "/v1/apps/web").token(&stranger).send().await.code(),
            "not_found"
        );
        assert_eq!(
            world.ask("GET", "/v1/apps/none").token(&stranger).send().await.code(),
            "not_found"
        );
        let own = world.ask("GET", "/v1/audit").token(&stranger).send().await;
        assert_eq!(
            own.column("outcome"),
            ["denied"],
            "only the attempt at something that exists"
        );
        let same = |name: &'static str| {
            let (world, stranger) = (world.clone(), stranger.clone());
            async move {
                let answer = world
                    .ask("GET", &format!("/v1/apps/{name}"))
                    .token(&stranger)
                    .send()
                    .await;
                answer.detail().replace(name, "…")
            }
        };
        assert_eq!(same("web").await, same("none").await, "the answers tell them apart");
    })
    .await;
}

#[tokio::test]
async fn a_token_that_may_deploy_may_see_what_came_of_it_and_nothing_else() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let pipeline = world.token(&["deploy:app"], json!({"apps": ["web"]})).await;
        let made = world
            .ask("POST", "/v1/deploy?image=web:2&app=web")
            .token(&pipeline)
            .send()
            .await;
        assert_eq!(made.status, 202, "{}", made.text);
        let location = made.header("location").to_owned();
        for path in [
            location.clone(),
            format!("{location}/events"),
            "/v1/apps/web/deployments".into(),
        ] {
            assert_eq!(
                world.ask("GET", &path).token(&pipeline).send().await.status,
                200,
                "{path}"
            );
        }
        for path in ["/v1/apps/web", "/v1/apps/web/spec", "/v1/apps/web/releases"] {
            assert_eq!(
                world.ask("GET", path).token(&pipeline).send().await.code(),
                "forbidden",
                "{path}"
            );
        }
        let missing = world
            .ask("POST", "/v1/deploy?image=web:2&app=fresh")
            .token(&pipeline)
            .send()
            .await;
        assert_eq!(missing.code(), "not_found");
    })
    .await;
}
