//! Spec, variables and scale: what follows at once and what waits.

use serde_json::json;

use crate::world::in_world;

#[tokio::test]
async fn a_spec_is_read_whole_and_replaced_only_if_it_is_still_the_one_that_was_read() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let read = world.get("/v1/apps/web/spec").await;
        assert_eq!((&read.json["generation"], read.header("etag")), (&json!(1), "\"1\""));
        assert_eq!(read.json["spec"]["internal_port"], 8080);
        let put = |etag: &'static str, port: u16| {
            let ask = world.ask("PUT", "/v1/apps/web/spec").header("if-match", etag);
            ask.json(&json!({"internal_port": port})).send()
        };
        let changed = put("\"1\"", 3000).await;
        assert_eq!(
            (changed.status, changed.header("etag")),
            (204, "\"2\""),
            "{}",
            changed.text
        );
        let late = put("\"1\"", 4000).await;
        assert_eq!((late.status, late.code().as_str()), (412, "precondition_failed"));
        assert_eq!(put("*", 5000).await.status, 204);
        assert_eq!(put("3", 5000).await.code(), "invalid_parameter");
        assert_eq!(world.get("/v1/apps/web/spec").await.json["spec"]["internal_port"], 5000);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_spec_is_refused_by_place_and_a_later_feature_says_so() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        for (spec, code, pointer, part) in [
            (
                json!({"internal_prt": 1}),
                "invalid_spec",
                "/internal_prt",
                "internal_port",
            ),
            (
                json!({"health": {"path": "x"}}),
                "invalid_spec",
                "/health/path",
                "begins with",
            ),
            (json!({"env": {"PORT": "1"}}), "invalid_spec", "/env/PORT", "platform"),
            (
                json!({"http": {"headers": {}}}),
                "not_available",
                "/http/headers",
                "not available",
            ),
            (
                json!({"scale": {"min": 4, "max": 2}}),
                "invalid_spec",
                "/scale/max",
                "at least",
            ),
            (
                json!({"deploy": {"strategy": "blue"}}),
                "invalid_spec",
                "/deploy/strategy",
                "`bluegreen`",
            ),
            (json!([1]), "invalid_body", "", "must be an object"),
        ] {
            let answer = world.put("/v1/apps/web/spec", spec.clone()).await;
            assert_eq!((answer.status, answer.code().as_str()), (422, code), "{spec}");
            assert_eq!(answer.pointers(), [pointer], "{spec}");
            assert!(answer.text.contains(part), "{}", answer.text);
        }
        assert_eq!(world.get("/v1/apps/web/spec").await.json["generation"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_change_of_variables_is_a_release_at_once_and_staged_ones_go_with_it() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let patch = |query: &str, env: serde_json::Value| {
            let path = format!("/v1/apps/web/env{query}");
            let body = json!({"env": env});
            let world = world.clone();
            async move { world.ask("PATCH", &path).json(&body).send().await }
        };
        let staged = patch("?apply=false", json!({"A": "1"})).await;
        assert_eq!((staged.status, staged.text.as_str()), (204, ""));
        let environments = world.get("/v1/apps/web/environments").await;
        assert_eq!(environments.json["items"][0]["staged"], true);
        let app = world.get("/v1/apps/web").await.json;
        assert_eq!(app["environments"][0]["staged"], true);

        let applied = patch("", json!({"B": "2"})).await;
        assert_eq!(
            (applied.status, &applied.json["release"], &applied.json["cause"]),
            (202, &json!(2), &json!("env"))
        );
        assert_eq!(applied.header("etag"), "\"3\"");
        let release = world
            .db
            .number("select count(*) from releases where number = 2 and spec->'env' = '{\"A\": \"1\", \"B\": \"2\"}'");
        assert_eq!(release.await, 1);
        assert_eq!(
            world.get("/v1/apps/web/environments").await.json["items"][0]["staged"],
            false
        );

        assert_eq!(
            patch("", json!({"B": "2"})).await.status,
            204,
            "what changes nothing makes no release"
        );
        let removed = patch("", json!({"A": null})).await;
        assert_eq!(removed.json["release"], 3);
        let env = world.get("/v1/apps/web/env").await;
        assert_eq!((&env.json["env"], env.header("etag")), (&json!({"B": "2"}), "\"4\""));
        let put = world.put("/v1/apps/web/env", json!({"env": {"C": "3"}})).await;
        assert_eq!(put.status, 202);
        assert_eq!(world.get("/v1/apps/web/env").await.json["env"], json!({"C": "3"}));
        let bad = patch("", json!({"SLIPWAY_APP": "x"})).await;
        assert_eq!(
            (bad.code().as_str(), bad.pointers()),
            ("invalid_spec", vec!["/env/SLIPWAY_APP"])
        );
    })
    .await;
}

#[tokio::test]
async fn settings_of_what_was_never_deployed_wait_for_the_first_deploy() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let env = json!({"env": {"A": "1"}});
        assert_eq!(world.put("/v1/apps/web/env", env).await.status, 204);
        assert_eq!(world.post("/v1/apps/web/scale", json!({"count": 3})).await.status, 204);
        world.deployed("web", "web:1").await;
        let right = "select count(*) from releases where spec->'env'->>'A' = '1' and spec->'scale'->>'min' = '3'";
        assert_eq!(world.db.number(right).await, 1);
    })
    .await;
}

#[tokio::test]
async fn scaling_is_a_release_within_bounds() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let scaled = world
            .post("/v1/apps/web/scale", json!({"count": 3, "environment": "production"}))
            .await;
        assert_eq!((scaled.status, &scaled.json["cause"]), (202, &json!("scale")));
        assert_eq!(world.get("/v1/apps/web/spec").await.json["spec"]["scale"]["min"], 3);
        for (count, code) in [
            (json!(0), "invalid_body"),
            (json!(33), "invalid_body"),
            (json!(-1), "invalid_body"),
        ] {
            let refused = world.post("/v1/apps/web/scale", json!({"count": count})).await;
            assert_eq!((refused.status, refused.code().as_str()), (422, code));
            assert_eq!(refused.pointers(), ["/count"]);
        }
        let torn = world
            .post(
                "/v1/apps/web/scale?environment=staging",
                json!({"count": 1, "environment": "qa"}),
            )
            .await;
        assert_eq!(torn.code(), "invalid_parameter");
    })
    .await;
}
