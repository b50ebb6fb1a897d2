//! `Idempotency-Key`.

use serde_json::json;

use crate::world::in_world;

#[tokio::test]
async fn the_same_key_and_body_give_the_first_answer_again() {
    in_world(async |world| {
        let body = json!({"image": "web:1"});
        let ask = || {
            world
                .ask("POST", "/v1/apps/web/deployments")
                .key("build-7")
                .json(&body)
                .send()
        };
        let first = ask().await;
        let again = ask().await;
        assert_eq!((first.status, again.status), (202, 202));
        assert_eq!(first.json, again.json);
        assert_eq!(again.header("location"), first.header("location"));
        assert_eq!(
            (
                first.header("idempotency-replayed"),
                again.header("idempotency-replayed")
            ),
            ("", "true")
        );
        assert_eq!(world.db.number("select count(*) from deployments").await, 1);

        let other = world.ask("POST", "/v1/apps/web/deployments").key("build-7");
        let other = other.json(&json!({"image": "web:2"})).send().await;
        assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reuse"));
        let waits = world
            .ask("POST", "/v1/apps/web/deployments?wait=1s")
            .key("build-7")
            .json(&body)
            .send()
            .await;
        assert_eq!(
            waits.json, first.json,
            "how long the caller waits is not part of what it asks for"
        );
    })
    .await;
}

#[tokio::test]
async fn a_pipeline_whose_wait_ran_out_learns_the_end_with_its_key() {
    in_world(async |world| {
        let ask = |query: &str| {
            let path = format!("/v1/apps/web/deployments{query}");
            let world = world.clone();
            async move {
                let ask = world.ask("POST", &path).key("build-8");
                ask.json(&json!({"image": "web:1"})).send().await
            }
        };
        let first = ask("?wait=0s").await;
        assert_eq!((first.status, &first.json["state"]), (202, &json!("pending")));
        world.succeed(&first.json).await;
        let later = ask("?wait=1s").await;
        assert_eq!((later.status, &later.json["state"]), (200, &json!("succeeded")));
        assert_eq!(later.json["id"], first.json["id"]);
        assert_eq!(
            ask("").await.json["state"],
            "pending",
            "who does not wait is told what was said first"
        );
    })
    .await;
}

#[tokio::test]
async fn without_a_key_each_post_is_a_new_deployment() {
    in_world(async |world| {
        for _ in 0..2 {
            world.post("/v1/apps/web/deployments", json!({"image": "web:1"})).await;
        }
        assert_eq!(world.db.number("select count(*) from deployments").await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_repeat_waits_beside_the_first_call_and_another_token_has_its_own_keys() {
    in_world(async |world| {
        let waiting = world.clone();
        let slow = tokio::spawn(async move {
            let ask = waiting.ask("POST", "/v1/deploy?image=web:1&wait=60s").key("k");
            ask.send().await
        });
        let deployment = crate::world::until(|| async {
            let found = world.get("/v1/apps/web/deployments").await;
            found.json["items"].get(0).cloned()
        })
        .await;
        let beside = world
            .ask("POST", "/v1/deploy?image=web:1&wait=1s")
            .key("k")
            .send()
            .await;
        assert_eq!((beside.status, &beside.json["id"]), (202, &deployment["id"]));
        world.succeed(&deployment).await;
        assert_eq!(slow.await.expect("no panic").status, 200);
        let again = world
            .ask("POST", "/v1/deploy?image=web:1&wait=60s")
            .key("k")
            .send()
            .await;
        assert_eq!((again.status, &again.json["state"]), (200, &json!("succeeded")));

        let token = world.token(&["deploy:app"], json!({})).await;
        let other = world
            .ask("POST", "/v1/deploy?image=web:2")
            .token(&token)
            .key("k")
            .send()
            .await;
        assert_eq!((other.status, &other.json["release"]), (202, &json!(2)));
    })
    .await;
}

#[tokio::test]
async fn a_key_whose_server_ended_leads_to_the_deployment_that_was_made() {
    in_world(async |world| {
        let ask = async |key: &str, wait: &str| {
            let path = format!("/v1/deploy?image=web:1{wait}");
            world.ask("POST", &path).key(key).send().await
        };
        let first = ask("k", "").await;
        assert_eq!(first.status, 202);
        // As another server that ended before it answered would have left it.
        let unanswered = "update idempotency_keys set status = null, body = null, headers = null,
                              created_at = created_at - interval '1 minute'";
        world.db.execute(unanswered).await;
        let second = ask("k", "").await;
        assert_eq!((second.status, &second.json["id"]), (202, &first.json["id"]));
        assert_eq!(world.db.number("select count(*) from deployments").await, 1);

        world.db.execute(unanswered).await;
        world.succeed(&first.json).await;
        let third = ask("k", "&wait=60s").await;
        assert_eq!((third.status, &third.json["id"]), (200, &first.json["id"]));
        assert_eq!(
            third.header("idempotency-replayed"),
            "",
            "it is this server's own answer"
        );
        let fourth = ask("k", "&wait=60s").await;
        assert_eq!((fourth.status, &fourth.json["id"]), (200, &first.json["id"]));
        assert_eq!(fourth.header("idempotency-replayed"), "true");

        let nothing = "update idempotency_keys set status = null, body = null, headers = null, deployment_id = null,
                           created_at = created_at - interval '1 minute'";
        world.db.execute(nothing).await;
        let fifth = ask("k", "").await;
        assert_eq!(
            (fifth.status, &fifth.json["release"]),
            (202, &json!(2)),
            "nothing was made before"
        );
    })
    .await;
}

#[tokio::test]
async fn what_was_refused_may_be_tried_again_with_the_same_key() {
    in_world(async |world| {
        let ask = |tag: &str| format!("/v1/deploy?image=web:{tag}");
        let refused = world.ask("POST", &ask("missing")).key("k").send().await;
        assert_eq!(refused.code(), "image_not_found");
        let mended = world.ask("POST", &ask("1")).key("k").send().await;
        assert_eq!(mended.status, 202, "{}", mended.text);
    })
    .await;
}

#[tokio::test]
async fn a_key_that_could_not_be_settled_is_settled_when_the_database_lets_it() {
    in_world(async |world| {
        let refuse = "create function refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$;
                      create trigger refuse before update or delete on idempotency_keys
                      for each statement execute function refuse()";
        world.db.execute(refuse).await;
        let deploy = async |tag: &str| {
            world
                .ask("POST", &format!("/v1/deploy?image=web:{tag}"))
                .key("k")
                .send()
                .await
        };
        let create = async || {
            world
                .ask("POST", "/v1/apps")
                .key("c")
                .json(&json!({"name": "other"}))
                .send()
                .await
        };
        assert_eq!(
            (deploy("missing").await.code().as_str(), create().await.status),
            ("image_not_found", 201)
        );
        let beside = [deploy("missing").await.code(), create().await.code()];
        assert_eq!(beside, ["request_in_progress", "request_in_progress"]);
        world.db.execute("drop trigger refuse on idempotency_keys").await;
        let settled = async |count: i64| {
            let settled = "select count(*) from idempotency_keys where status is not null";
            let all = "select count(*) from idempotency_keys";
            (world.db.number(settled).await, world.db.number(all).await) == (count, count)
        };
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while !settled(1).await {
            assert!(tokio::time::Instant::now() < deadline, "not settled");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(deploy("missing").await.code(), "image_not_found");
        let again = create().await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    })
    .await;
}

#[tokio::test]
async fn a_failed_deployment_is_kept_as_the_answer() {
    in_world(async |world| {
        let waiting = world.clone();
        let failing = tokio::spawn(async move {
            waiting
                .ask("POST", "/v1/deploy?image=web:1&wait=60s")
                .key("k")
                .send()
                .await
        });
        let deployment = crate::world::until(|| async {
            world.get("/v1/apps/web/deployments").await.json["items"]
                .get(0)
                .cloned()
        })
        .await;
        world.fail(&deployment).await;
        let first = failing.await.expect("no panic");
        let again = world
            .ask("POST", "/v1/deploy?image=web:1&wait=60s")
            .key("k")
            .send()
            .await;
        assert_eq!((first.status, again.status), (422, 422));
        assert_eq!(first.json["deployment"], again.json["deployment"]);
        assert_eq!(world.db.number("select count(*) from deployments").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_kept_answer_never_holds_a_token_in_the_clear() {
    in_world(async |world| {
        let body = json!({"name": "ci", "scopes": ["deploy:app"]});
        let ask = || world.ask("POST", "/v1/tokens").key("t").json(&body).send();
        let (first, again) = (ask().await, ask().await);
        assert_eq!((first.status, again.status), (201, 201));
        assert_eq!(first.json, again.json);
        let clear = format!(
            "select count(*) from idempotency_keys where position('{}'::bytea in body) > 0",
            first.text_at("/token")
        );
        assert_eq!(world.db.number(&clear).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    in_world(async |world| {
        for key in ["", " ", &"k".repeat(256), "schl\u{fc}ssel"] {
            let answer = world.ask("POST", "/v1/deploy?image=web:1").key(key).send().await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (422, "invalid_parameter"),
                "{key:?}"
            );
        }
        assert_eq!(world.db.rows().await, 0);
    })
    .await;
}
