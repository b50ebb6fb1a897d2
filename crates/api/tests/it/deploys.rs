//! Deploying: both forms, where the names come from, what is refused, and waiting.

use std::sync::Arc;

use serde_json::json;

use crate::world::{World, id_of, in_world, until};

#[tokio::test]
async fn a_deployment_that_nobody_is_there_to_carry_out_says_so() {
    in_world(async |world| {
        let warned = async |image: &str| {
            let accepted = world.post("/v1/deploy", json!({"image": image})).await;
            assert_eq!(accepted.status, 202, "{}", accepted.text);
            accepted.json["warnings"]
                .to_string()
                .contains("no control plane schedules")
        };
        drop(world.scheduler_tx().await);
        assert!(!warned("web:1").await);
        world.db.execute("update leases set expires_at = now()").await;
        assert!(warned("web:2").await);
    })
    .await;
}

#[tokio::test]
async fn the_one_liner_makes_the_app_and_answers_with_the_deployment() {
    in_world(async |world| {
        let wakes = world.wakes();
        let path = "/v1/deploy?image=registry.example.com/team/my_app.v2:4f2c1ab";
        let answer = world.ask("POST", path).send().await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let deployment = &answer.json;
        assert_eq!(
            answer.header("location"),
            format!("/v1/deployments/{}", id_of(deployment))
        );
        assert_eq!(
            (&deployment["app"], &deployment["environment"]),
            (&json!("my-app-v2"), &json!("production"))
        );
        assert_eq!(
            (&deployment["release"], &deployment["state"]),
            (&json!(1), &json!("pending"))
        );
        assert_eq!(deployment["url"], "https://my-app-v2.apps.localhost:8443");
        assert_eq!(deployment["image"], "registry.example.com/team/my_app.v2:4f2c1ab");
        assert!(answer.text_at("/digest").starts_with("sha256:"));
        assert_eq!(
            (&deployment["reason"], &deployment["steps"]),
            (&json!(null), &json!([]))
        );
        assert!(world.wakes() > wakes, "the scheduler was not told");

        let shown = world.get(answer.header("location")).await;
        assert_eq!(shown.json, answer.json);
    })
    .await;
}

#[tokio::test]
async fn names_come_from_the_query_then_the_token_then_the_image() {
    in_world(async |world| {
        let narrowed = json!({"apps": ["shop"], "environments": ["staging"]});
        let narrow = world.token(&["deploy:app", "write:app"], narrowed).await;
        let wide = world.token(&["deploy:app"], json!({})).await;
        for (token, query, expected) in [
            (&wide, "image=a/web:1", "web/production"),
            (&wide, "image=a/web:1&app=site&environment=staging", "site/staging"),
            (&narrow, "image=a/web:1", "shop/staging"),
        ] {
            let answer = world
                .ask("POST", &format!("/v1/deploy?{query}"))
                .token(token)
                .send()
                .await;
            assert_eq!(answer.status, 202, "{query}: {}", answer.text);
            let found = format!("{}/{}", answer.text_at("/app"), answer.text_at("/environment"));
            assert_eq!(found, expected, "{query}");
        }
        let body = json!({"message": "from CI", "pull": "local"});
        let answer = world.ask("POST", "/v1/deploy?image=web:2").json(&body).send().await;
        assert_eq!((answer.status, &answer.json["message"]), (202, &json!("from CI")));
    })
    .await;
}

#[tokio::test]
async fn a_missing_app_or_environment_is_only_made_by_a_token_that_may() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let only_web = world.token(&["deploy:app"], json!({"apps": ["web", "absent"]})).await;
        let writer = world
            .token(&["deploy:app", "write:app"], json!({"apps": ["fresh"]}))
            .await;
        let before = world.db.rows().await;
        for (path, code) in [
            ("/v1/deploy?image=web:2&app=absent", "not_found"),
            ("/v1/deploy?image=web:2&app=fresh", "not_found"),
            ("/v1/deploy?image=web:2&app=web&environment=staging", "not_found"),
        ] {
            assert_eq!(
                world.ask("POST", path).token(&only_web).send().await.code(),
                code,
                "{path}"
            );
        }
        assert_eq!(world.db.rows().await, before);
        let made = world
            .ask("POST", "/v1/deploy?image=web:2&app=fresh&environment=qa")
            .token(&writer)
            .send()
            .await;
        assert_eq!(made.status, 202, "{}", made.text);
        let environments = world.get("/v1/apps/fresh/environments").await;
        assert_eq!(environments.column("name"), ["production", "qa"]);
    })
    .await;
}

#[tokio::test]
async fn an_image_that_cannot_be_had_leaves_nothing_behind() {
    in_world(async |world| {
        let before = world.db.rows().await;
        for (image, code) in [
            ("web:missing", "image_not_found"),
            ("web:private", "registry_unauthorized"),
            ("web:arm", "image_platform"),
            ("web:away", "registry_unavailable"),
            ("web:slow", "registry_unavailable"),
            ("web:engine-away", "engine_unavailable"),
            ("Web:1", "invalid_image"),
            ("web:-", "invalid_image"),
        ] {
            let one_liner = world
                .ask("POST", &format!("/v1/deploy?image={image}&app=web"))
                .send()
                .await;
            assert_eq!(one_liner.code(), code, "{}", one_liner.text);
            let long = world.post("/v1/apps/web/deployments", json!({"image": image})).await;
            assert_eq!(long.code(), code, "{}", long.text);
            assert_eq!(long.header("retry-after").is_empty(), long.status != 503, "{image}");
        }
        assert_eq!(world.db.rows().await, before);
    })
    .await;
}

#[tokio::test]
async fn deploys_that_make_no_sense_are_refused_by_place() {
    in_world(async |world| {
        let before = world.db.rows().await;
        for (body, code, pointer) in [
            (
                json!({"image": "web:1", "strategy": "yolo"}),
                "invalid_body",
                "/strategy",
            ),
            (json!({"image": "web:1", "sbom": {}}), "not_available", "/sbom"),
            (
                json!({"image": "web:1", "message": "x".repeat(501)}),
                "invalid_body",
                "/message",
            ),
            (
                json!({"image": "web:1", "environment": "Prod"}),
                "invalid_body",
                "/environment",
            ),
            (json!({"image": "web:1", "pull": "never"}), "invalid_body", "/pull"),
            (json!({"image": "web:1", "colour": 1}), "invalid_body", "/colour"),
            (json!({"image": 7}), "invalid_body", "/image"),
            (json!({"image": "web:1", "message": "a\u{0}b"}), "invalid_body", ""),
            (json!({"image": "a b"}), "invalid_image", "/image"),
        ] {
            let answer = world.post("/v1/apps/web/deployments", body.clone()).await;
            assert_eq!(
                (answer.code().as_str(), answer.status),
                (code, 422),
                "{body}: {}",
                answer.text
            );
            assert_eq!(answer.pointers(), [pointer], "{body}");
        }
        let twice = world.post(
            "/v1/deploy?image=web:1&app=web",
            json!({"image": "web:1", "app": "wep"}),
        );
        assert_eq!(
            twice.await.pointers(),
            ["/app"],
            "what is in the body is not passed over"
        );
        for (path, code) in [
            ("/v1/deploy", "invalid_parameter"),
            ("/v1/deploy?image=x:1", "invalid_name"),
            ("/v1/deploy?image=web:1&app=No", "invalid_parameter"),
            ("/v1/deploy?image=web:1&wait=11m", "invalid_parameter"),
            ("/v1/deploy?image=web:1&colour=1", "invalid_parameter"),
        ] {
            assert_eq!(world.ask("POST", path).send().await.code(), code, "{path}");
        }
        let bad_name = world
            .post("/v1/apps/No--pe/deployments", json!({"image": "web:1"}))
            .await;
        assert_eq!(bad_name.code(), "invalid_name");
        assert_eq!(world.db.rows().await, before);
    })
    .await;
}

#[tokio::test]
async fn a_preview_is_made_without_the_values_of_secrets_and_says_how_to_give_its_own() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let set = |environment: &str| format!("/v1/apps/web/secrets/SESSION_KEY?environment={environment}&apply=false");
        world.put(&set("production"), json!({"value": "x"})).await;
        let spec = json!({"secrets": {"required": ["SESSION_KEY"]}});
        world.put("/v1/apps/web/spec?apply=false", spec).await;

        let preview = "/v1/deploy?image=web:2&app=web&environment=pr-1&from=production&expires_in=1h";
        let before = world.db.rows().await;
        let refused = world.ask("POST", preview).send().await;
        assert_eq!(refused.code(), "missing_secrets", "{}", refused.text);
        assert_eq!(
            world.db.rows().await,
            before,
            "no environment is left without its deploy"
        );
        for command in [
            "slipway environments create pr-1 --from production --expires-in 1h -a web",
            "slipway secrets set SESSION_KEY",
        ] {
            assert!(refused.detail().contains(command), "{}", refused.text);
        }

        let made = json!({"name": "pr-1", "from": "production", "expires_in": "1h"});
        let made = world.post("/v1/apps/web/environments", made).await;
        assert_eq!(made.status, 201, "{}", made.text);
        world.put(&set("pr-1"), json!({"value": "y"})).await;
        assert_eq!(world.ask("POST", preview).send().await.status, 202);
    })
    .await;
}

#[tokio::test]
async fn a_missing_required_secret_is_named_with_the_command_that_sets_it() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let spec = json!({"secrets": {"required": ["SESSION_KEY", "DATABASE_URL"]}});
        assert_eq!(world.put("/v1/apps/web/spec", spec).await.status, 204);
        let before = world.db.rows().await;
        let refused = world.post("/v1/apps/web/deployments", json!({"image": "web:1"})).await;
        assert_eq!(refused.code(), "missing_secrets");
        assert!(
            refused
                .detail()
                .contains("slipway secrets set SESSION_KEY DATABASE_URL -a web -e production"),
            "{}",
            refused.text
        );
        assert_eq!(refused.json["errors"].as_array().map(Vec::len), Some(2));
        assert_eq!(world.db.rows().await, before);

        for name in ["SESSION_KEY", "DATABASE_URL"] {
            let set = world
                .put(&format!("/v1/apps/web/secrets/{name}"), json!({"value": "x"}))
                .await;
            assert_eq!(set.status, 204, "{}", set.text);
        }
        assert_eq!(
            world
                .post("/v1/apps/web/deployments", json!({"image": "web:1"}))
                .await
                .status,
            202
        );
    })
    .await;
}

#[tokio::test]
async fn a_later_deployment_supersedes_an_unfinished_one() {
    in_world(async |world| {
        let first = world.post("/v1/apps/web/deployments", json!({"image": "web:1"})).await;
        let second = world.post("/v1/apps/web/deployments", json!({"image": "web:2"})).await;
        assert_eq!(
            (&first.json["release"], &second.json["release"]),
            (&json!(1), &json!(2))
        );
        let first = world.get(first.header("location")).await;
        assert_eq!(
            (&first.json["state"], first.json["finished_at"].is_null()),
            (&json!("superseded"), false)
        );
        let listed = world.get("/v1/apps/web/deployments").await;
        assert_eq!(listed.column("state"), ["pending", "superseded"]);
    })
    .await;
}

/// Starts a waiting deploy, and gives its deployment once it is there.
async fn waiting(world: &Arc<World>) -> (tokio::task::JoinHandle<crate::client::Answer>, serde_json::Value) {
    let asking = Arc::clone(world);
    let path = "/v1/deploy?image=web:1&wait=60s";
    let waiting = tokio::spawn(async move { asking.ask("POST", path).send().await });
    let accepted = until(|| async {
        let found = world.get("/v1/apps/web/deployments").await;
        found.json["items"].get(0).filter(|d| d["state"] == "pending").cloned()
    });
    (waiting, accepted.await)
}

#[tokio::test]
async fn waiting_ends_with_success() {
    in_world(async |world| {
        let (waiting, deployment) = waiting(&world).await;
        world.succeed(&deployment).await;
        let answer = waiting.await.expect("no panic");
        assert_eq!((answer.status, &answer.json["state"]), (200, &json!("succeeded")));
        assert_eq!(answer.json["steps"][0]["name"], "pull");
        assert_eq!(answer.json["steps"][0]["detail"], "12 MiB");
    })
    .await;
}

#[tokio::test]
async fn waiting_ends_with_the_reason_of_a_failure() {
    in_world(async |world| {
        let (waiting, deployment) = waiting(&world).await;
        world.fail(&deployment).await;
        let answer = waiting.await.expect("no panic");
        assert_eq!((answer.status, answer.code().as_str()), (422, "deployment_failed"));
        let reason = &answer.json["deployment"]["reason"];
        assert_eq!((&reason["code"], &reason["exit_code"]), (&json!("exited"), &json!(3)));
        assert_eq!(reason["log_tail"], json!(["cannot open config"]));
        assert!(answer.detail().contains("exit code 3"));
    })
    .await;
}

#[tokio::test]
async fn waiting_that_runs_out_answers_202_and_a_shutdown_ends_it_too() {
    in_world(async |world| {
        let answer = world.ask("POST", "/v1/deploy?image=web:1&wait=10ms").send().await;
        assert_eq!((answer.status, &answer.json["state"]), (202, &json!("pending")));
        let (waiting, _) = waiting(&world).await;
        world.shutdown.send_replace(true);
        let answer = waiting.await.expect("no panic");
        assert_eq!((answer.status, &answer.json["state"]), (202, &json!("pending")));
    })
    .await;
}

#[tokio::test]
async fn two_first_deploys_at_once_make_one_app() {
    in_world(async |world| {
        let (one, two) = tokio::join!(
            world.post("/v1/apps/web/deployments", json!({"image": "web:1"})),
            world.post("/v1/apps/web/deployments", json!({"image": "web:2"})),
        );
        assert_eq!((one.status, two.status), (202, 202), "{} {}", one.text, two.text);
        assert_eq!(world.db.number("select count(*) from apps").await, 1);
        let unfinished = "select count(*) from deployments where state = 'pending'";
        assert_eq!(world.db.number(unfinished).await, 1);
    })
    .await;
}
