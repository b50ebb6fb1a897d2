//! Back, across, again, off and on.

use serde_json::json;

use crate::world::in_world;

#[tokio::test]
async fn a_rollback_is_a_new_release_with_the_contents_of_the_last_good_one() {
    in_world(async |world| {
        world.put("/v1/apps/web/env", json!({"env": {}})).await;
        world.deployed("web", "web:1").await;
        let env = world.put("/v1/apps/web/env", json!({"env": {"BAD": "1"}})).await;
        world.succeed(&env.json).await;
        let failed = world.post("/v1/apps/web/deployments", json!({"image": "web:3"})).await;
        world.fail(&failed.json).await;

        let back = world.post("/v1/apps/web/rollback", json!({})).await;
        assert_eq!((back.status, &back.json["release"]), (202, &json!(4)), "{}", back.text);
        assert_eq!(
            (&back.json["image"], &back.json["cause"]),
            (&json!("web:1"), &json!("rollback"))
        );
        assert_eq!(back.json["message"], "rollback to v2");
        world.succeed(&back.json).await;

        let further = world.post("/v1/apps/web/rollback", json!({"release": "v1"})).await;
        assert_eq!(further.json["release"], 5);
        assert_eq!(
            world.get("/v1/apps/web/env").await.json["env"],
            json!({}),
            "the old spec is back"
        );
        let listed = world.get("/v1/apps/web/releases").await;
        assert_eq!(listed.column("release"), ["5", "4", "3", "2", "1"]);
        assert_eq!(listed.column("good"), ["false", "true", "false", "true", "true"]);
        // The fifth has not got the traffic yet.
        assert_eq!(listed.column("current"), ["false", "true", "false", "false", "false"]);
    })
    .await;
}

#[tokio::test]
async fn a_rollback_looks_past_restarts_and_deploys_of_the_same() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        world.deployed("web", "web:2").await;
        let restarted = world.post("/v1/apps/web/restart", json!({})).await;
        world.succeed(&restarted.json).await;
        world.deployed("web", "web:2").await;
        let back = world.post("/v1/apps/web/rollback", json!({})).await;
        assert_eq!(
            (back.status, &back.json["message"]),
            (202, &json!("rollback to v1")),
            "{}",
            back.text
        );
    })
    .await;
}

#[tokio::test]
async fn a_rollback_says_when_it_changes_the_number_of_instances_or_gives_staged_changes_up() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        world.deployed("web", "web:2").await;
        let back = world.post("/v1/apps/web/rollback", json!({"release": 1})).await;
        assert!(!back.text.contains("number of instances"), "{}", back.text);
        world.succeed(&back.json).await;
        let scaled = world.post("/v1/apps/web/scale", json!({"count": 3})).await;
        world.succeed(&scaled.json).await;
        let back = world.post("/v1/apps/web/rollback", json!({"release": 2})).await;
        let said = "number of instances along: at least 1, where it was 3";
        assert!(back.json["warnings"].to_string().contains(said), "{}", back.text);
        world.succeed(&back.json).await;

        let staged = json!({"env": {"A": "1"}});
        world.put("/v1/apps/web/env?apply=false", staged).await;
        let back = world.post("/v1/apps/web/rollback", json!({"release": 1})).await;
        assert_eq!(
            back.json["message"],
            "rollback to v1, without the changes that were staged"
        );
    })
    .await;
}

#[tokio::test]
async fn what_failed_is_not_brought_in_again_by_a_restart_a_scale_or_a_variable() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let failed = world.post("/v1/apps/web/deployments", json!({"image": "web:2"})).await;
        world.fail(&failed.json).await;
        for (path, body) in [
            ("/v1/apps/web/restart", json!({})),
            ("/v1/apps/web/scale", json!({"count": 2})),
        ] {
            let again = world.post(path, body).await;
            assert_eq!((again.status, &again.json["image"]), (202, &json!("web:1")), "{path}");
            world.succeed(&again.json).await;
        }
        let failed = world.post("/v1/apps/web/deployments", json!({"image": "web:3"})).await;
        // Not while it may still come into service.
        let set = world.put("/v1/apps/web/env", json!({"env": {"A": "1"}})).await;
        assert_eq!(set.json["image"], "web:3", "{}", set.text);
        world.fail(&set.json).await;
        assert_eq!(
            world
                .get(&format!("/v1/deployments/{}", failed.text_at("/id")))
                .await
                .json["state"],
            "superseded"
        );
        let set = world.put("/v1/apps/web/env", json!({"env": {"A": "2"}})).await;
        assert_eq!(set.json["image"], "web:1", "{}", set.text);
        world.fail(&set.json).await;
        let restarted = world.post("/v1/apps/web/restart", json!({})).await;
        world.succeed(&restarted.json).await;
        let without = "select count(*) from releases where cause = 'restart' and spec->'env' = '{}'";
        assert_eq!(world.db.number(without).await, 2, "nor are its variables");
    })
    .await;
}

#[tokio::test]
async fn a_number_beyond_what_the_load_may_lead_to_says_that_it_is_fixed() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let spec = world
            .put("/v1/apps/web/spec", json!({"scale": {"min": 1, "max": 4}}))
            .await;
        world.succeed(&spec.json).await;
        let within = world.post("/v1/apps/web/scale", json!({"count": 2})).await;
        assert!(!within.text.contains("whatever the load"), "{}", within.text);
        world.succeed(&within.json).await;
        let beyond = world.post("/v1/apps/web/scale", json!({"count": 6})).await;
        assert!(
            beyond.text.contains("up to 4, and is 6 now whatever the load"),
            "{}",
            beyond.text
        );
    })
    .await;
}

#[tokio::test]
async fn a_rollback_to_nowhere_is_refused() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let none = world.ask("POST", "/v1/apps/web/rollback").send().await;
        assert_eq!((none.status, none.code().as_str()), (409, "nothing_deployed"));
        world.deployed("web", "web:1").await;
        assert_eq!(
            world.post("/v1/apps/web/rollback", json!({})).await.code(),
            "no_earlier_release"
        );
        let failed = world.post("/v1/apps/web/deployments", json!({"image": "web:2"})).await;
        world.fail(&failed.json).await;
        for (release, code) in [
            (json!(2), "release_not_good"),
            (json!(9), "not_found"),
            (json!("new"), "invalid_body"),
        ] {
            let refused = world.post("/v1/apps/web/rollback", json!({"release": release})).await;
            assert_eq!(refused.code(), code, "{release}");
        }
        let staging = world
            .post("/v1/apps/web/rollback", json!({"environment": "staging"}))
            .await;
        assert_eq!(staging.code(), "not_found");
    })
    .await;
}

#[tokio::test]
async fn promotion_takes_the_same_digest_with_the_targets_own_spec() {
    in_world(async |world| {
        let first = json!({"image": "web:1", "environment": "staging"});
        let staged = world.post("/v1/apps/web/deployments", first).await;
        let promote = || world.post("/v1/apps/web/promote", json!({"from": "staging", "to": "production"}));
        assert_eq!(promote().await.code(), "nothing_deployed", "nothing was good yet");
        world.succeed(&staged.json).await;
        world
            .put("/v1/apps/web/env", json!({"env": {"WHERE": "production"}}))
            .await;
        let promoted = promote().await;
        assert_eq!(
            (promoted.status, &promoted.json["cause"]),
            (202, &json!("promote")),
            "{}",
            promoted.text
        );
        assert_eq!(promoted.json["digest"], staged.json["digest"]);
        assert_eq!(promoted.json["environment"], "production");
        let right = "select count(*) from releases where spec->'env'->>'WHERE' = 'production' and cause = 'promote'";
        assert_eq!(world.db.number(right).await, 1);
        let same = world
            .post("/v1/apps/web/promote", json!({"from": "qa", "to": "qa"}))
            .await;
        assert_eq!((same.code().as_str(), same.pointers()), ("invalid_body", vec!["/to"]));
        let missing = world
            .post("/v1/apps/web/promote", json!({"from": "qa", "to": "production"}))
            .await;
        assert_eq!(missing.code(), "not_found");
    })
    .await;
}

#[tokio::test]
async fn restart_repeats_the_contents_and_leaves_staged_changes_staged() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        assert_eq!(
            world.post("/v1/apps/web/restart", json!({})).await.code(),
            "nothing_deployed"
        );
        world.deployed("web", "web:1").await;
        world
            .put("/v1/apps/web/env?apply=false", json!({"env": {"A": "1"}}))
            .await;
        let restarted = world.ask("POST", "/v1/apps/web/restart").send().await;
        assert_eq!((restarted.status, &restarted.json["cause"]), (202, &json!("restart")));
        let without = "select count(*) from releases where number = 2 and spec->'env' = '{}'";
        assert_eq!(world.db.number(without).await, 1);
        assert_eq!(
            world.get("/v1/apps/web/environments").await.json["items"][0]["staged"],
            true
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_stopped_stays_stopped_until_it_is_started_or_deployed() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        assert_eq!(
            world.post("/v1/apps/web/stop", json!({})).await.code(),
            "nothing_deployed"
        );
        world.deployed("web", "web:1").await;
        assert_eq!(world.post("/v1/apps/web/start", json!({})).await.code(), "not_stopped");
        let wakes = world.wakes();
        for _ in 0..2 {
            let stopped = world.ask("POST", "/v1/apps/web/stop").send().await;
            assert_eq!(
                (stopped.status, &stopped.json["state"]),
                (202, &json!("stopping")),
                "{}",
                stopped.text
            );
            assert_eq!(
                (&stopped.json["generation"], &stopped.json["settled"]),
                (&json!(2), &json!(false))
            );
        }
        assert!(world.wakes() > wakes);
        assert_eq!(world.post("/v1/apps/web/restart", json!({})).await.code(), "stopped");
        let staged = world.put("/v1/apps/web/env", json!({"env": {"A": "1"}})).await;
        assert_eq!(
            staged.status, 204,
            "a change of settings does not start what is stopped"
        );

        let started = world
            .post("/v1/apps/web/start", json!({"environment": "production"}))
            .await;
        assert_eq!((started.status, &started.json["cause"]), (202, &json!("start")));
        let with = "select count(*) from releases where number = 2 and spec->'env'->>'A' = '1'";
        assert_eq!(world.db.number(with).await, 1);
        world.post("/v1/apps/web/stop", json!({})).await;
        let deployed = world.post("/v1/apps/web/deployments", json!({"image": "web:2"})).await;
        assert_eq!(deployed.status, 202);
        assert_eq!(
            world.get("/v1/apps/web").await.json["environments"][0]["state"],
            "deploying"
        );
    })
    .await;
}

#[tokio::test]
async fn stopping_with_wait_answers_when_nothing_runs() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let slow = world.ask("POST", "/v1/apps/web/stop?wait=10ms").send().await;
        assert_eq!(slow.status, 202);
        world
            .db
            .execute("update environment_status set observed_generation = 2")
            .await;
        let done = world.ask("POST", "/v1/apps/web/stop?wait=10s").send().await;
        assert_eq!((done.status, &done.json["settled"]), (200, &json!(true)));
    })
    .await;
}

#[tokio::test]
async fn an_aborted_deployment_leaves_the_intent_with_what_serves() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let second = world.post("/v1/apps/web/deployments", json!({"image": "web:2"})).await;
        let path = format!("{}/abort", second.header("location"));
        let wakes = world.wakes();
        let aborted = world.ask("POST", &path).send().await;
        assert_eq!(
            (aborted.status, &aborted.json["state"]),
            (200, &json!("aborted")),
            "{}",
            aborted.text
        );
        let reason = &aborted.json["reason"];
        assert_eq!(reason["code"], "aborted");
        assert!(reason["detail"].to_string().contains("called off by"), "{reason}");
        assert!(world.wakes() > wakes);
        let environment = world.get("/v1/apps/web/environments").await.json["items"][0].clone();
        assert_eq!(
            (&environment["release"], &environment["serving"]),
            (&json!(1), &json!(1))
        );
        let again = world.ask("POST", &path).send().await;
        assert_eq!((again.status, again.code().as_str()), (409, "already_finished"));
        let path = format!("{}/approve", second.header("location"));
        assert_eq!(world.ask("POST", &path).send().await.code(), "not_awaiting_approval");
    })
    .await;
}

#[tokio::test]
async fn a_canary_is_ended_early_by_a_word_and_nothing_else_is() {
    in_world(async |world| {
        let promote = async |deployment: &crate::client::Answer| {
            let path = format!("{}/promote", deployment.header("location"));
            world.ask("POST", &path).send().await
        };
        let rolling = world.post("/v1/apps/web/deployments", json!({"image": "web:1"})).await;
        let refused = promote(&rolling).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "no_canary"));

        let body = json!({"image": "web:2", "strategy": "canary"});
        let canary = world.post("/v1/apps/web/deployments", body).await;
        assert_eq!(canary.json["strategy"], "canary", "{}", canary.text);
        let wakes = world.wakes();
        let promoted = promote(&canary).await;
        assert_eq!(promoted.status, 200, "{}", promoted.text);
        assert!(world.wakes() > wakes);
        let spec = world.get("/v1/apps/web/spec").await.json["spec"]["deploy"]["strategy"].clone();
        assert_eq!(
            spec, "rolling",
            "a strategy given for one deployment is the spec's for none other"
        );
        let environment = world.get("/v1/apps/web/environments").await.json["items"][0].clone();
        assert_eq!(environment["staged"], false, "and nothing waits for the next release");

        let path = format!("{}/abort", canary.header("location"));
        assert_eq!(world.ask("POST", &path).send().await.status, 200);
        let late = promote(&canary).await;
        assert_eq!((late.status, late.code().as_str()), (409, "already_finished"));
    })
    .await;
}

#[tokio::test]
async fn a_call_that_waits_for_what_was_superseded_is_told_by_what() {
    in_world(async |world| {
        let beside = world.clone();
        let first = tokio::spawn(async move { beside.ask("POST", "/v1/deploy?image=web:1&wait=60s").send().await });
        let listed = "select count(*) from deployments";
        while world.db.number(listed).await < 1 {
            tokio::task::yield_now().await;
        }
        let second = world.post("/v1/deploy", json!({"image": "web:2"})).await;
        world.hint();
        let told = first.await.expect("no panic");
        assert_eq!(
            (told.status, told.code().as_str()),
            (422, "deployment_superseded"),
            "{}",
            told.text
        );
        let id = second.json["id"].as_str().expect("an id");
        assert!(told.json["detail"].to_string().contains(id), "{}", told.text);
        assert_eq!(told.json["deployment"]["reason"]["code"], "superseded");
    })
    .await;
}

#[tokio::test]
async fn an_image_that_serves_already_waits_for_nobodys_word() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let spec = json!({"deploy": {"approval": true}});
        world.put("/v1/apps/web/spec?apply=false", spec).await;
        let deploy = async |image: &str| world.post("/v1/deploy", json!({"image": image})).await.json["state"].clone();
        assert_eq!(deploy("web:1").await, "pending");
        assert_eq!(deploy("web:2").await, "awaiting_approval");
        let state = world.get("/v1/apps/web").await.json["environments"][0]["state"].clone();
        assert_ne!(state, "deploying", "what waits for a word changes nothing yet");
    })
    .await;
}
