//! Input that is not what it should be, and parts of the platform that are away.

use serde_json::json;

use crate::world::in_world;

#[tokio::test]
async fn a_body_must_be_json_of_the_right_shape_and_size() {
    in_world(async |world| {
        let long = format!("{{\"name\": \"{}\"}}", "a".repeat(1 << 20));
        for (media, body, status, code) in [
            ("application/json", "{", 422, "invalid_body"),
            ("application/json", "name=web", 422, "invalid_body"),
            ("application/json", "", 422, "invalid_body"),
            ("application/json", "{\"name\": \"web\"} {}", 422, "invalid_body"),
            ("application/json", "{\"nome\": \"web\"}", 422, "invalid_body"),
            ("application/json", "[\"web\", null]", 422, "invalid_body"),
            ("application/json", "\u{feff}null", 422, "invalid_body"),
            ("text/plain", "{\"name\": \"web\"}", 415, "unsupported_media_type"),
            (
                "application/x-www-form-urlencoded",
                "{\"name\": \"web\"}",
                415,
                "unsupported_media_type",
            ),
            ("application/json", long.as_str(), 413, "body_too_large"),
        ] {
            let answer = world.ask("POST", "/v1/apps").raw(media, body.into()).send().await;
            let shown: String = body.chars().take(40).collect();
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (status, code),
                "{media} {shown}"
            );
            let keyed = world
                .ask("POST", "/v1/apps")
                .raw(media, body.into())
                .key("k")
                .send()
                .await;
            assert_eq!(
                (keyed.status, keyed.code().as_str()),
                (status, code),
                "with a key: {media} {shown}"
            );
        }
        assert_eq!(world.db.rows().await, 0);
        let nul = world.get("/v1/audit?action=%00").await;
        assert_eq!((nul.status, nul.code().as_str()), (422, "invalid_parameter"));
        let charset = world
            .ask("POST", "/v1/apps")
            .raw("Application/JSON; charset=utf-8", b"{\"name\":\"web\"}".to_vec());
        assert_eq!(charset.send().await.status, 201);
    })
    .await;
}

#[tokio::test]
async fn the_place_in_the_body_is_named() {
    in_world(async |world| {
        let body = json!({"name": "ci", "scopes": ["read:app", "fly:app"]});
        let answer = world.post("/v1/tokens", body).await;
        assert_eq!(answer.pointers(), ["/scopes/1"]);
        assert!(
            answer.detail().contains("verb:resource") && !answer.detail().contains("line"),
            "{}",
            answer.detail()
        );
        let unknown = world.post("/v1/apps", json!({"name": "web", "colour": 1})).await;
        assert_eq!(unknown.pointers(), ["/colour"]);
        assert!(
            unknown.detail().contains("there is `name` or `team`"),
            "{}",
            unknown.detail()
        );
    })
    .await;
}

#[tokio::test]
async fn pages_and_cursors_have_bounds() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        for path in [
            "/v1/apps?limit=0",
            "/v1/apps?limit=201",
            "/v1/apps?limit=x",
            "/v1/apps?cursor=x",
            "/v1/apps?cursor=MTp0ZWFtczpkZWZhdWx0",
            "/v1/tokens?cursor=MTp0b2tlbnM6eA",
            "/v1/apps?offset=5",
            "/v1/audit?since=yesterday",
            "/v1/apps/web/logs?since=yesterday",
            "/v1/apps/web/logs?tail=10001",
            "/v1/apps/web/logs?release=new",
            "/v1/apps/web/logs?stream=stdin",
        ] {
            let answer = world.get(path).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (422, "invalid_parameter"),
                "{path}: {}",
                answer.text
            );
            assert!(answer.pointers()[0].starts_with('?'), "{path}: {}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_none_never_reaches_the_database() {
    in_world(async |world| {
        let good = world.token(&["read:app"], json!({})).await;
        world.db.take_away().await;
        let mistyped = format!("{}x", &good[..good.len() - 1]);
        let mut answers = Vec::new();
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Basic eDp5",
            &format!("Bearer {mistyped}"),
            good.as_str(),
        ] {
            let ask = world.ask("GET", "/v1/apps").token("").header("authorization", header);
            let mut answer = ask.send().await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (401, "unauthenticated"),
                "{header}"
            );
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"slipway\"");
            answer.json["request_id"] = json!(null);
            answers.push(answer.json);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "refusals of tokens differ: {answers:?}");
        let twice = world
            .ask("GET", "/v1/apps")
            .header("authorization", &format!("Bearer {good}"));
        assert_eq!(twice.send().await.code(), "unauthenticated", "two tokens at once");
    })
    .await;
}

#[tokio::test]
async fn without_the_database_every_call_says_so_and_when_to_try_again() {
    in_world(async |world| {
        world.db.take_away().await;
        for (method, path) in [
            ("GET", "/v1/apps"),
            ("POST", "/v1/deploy?image=web:1"),
            ("GET", "/v1/audit"),
        ] {
            for key in [false, true] {
                let ask = world.ask(method, path);
                let answer = if key {
                    ask.key("k").send().await
                } else {
                    ask.send().await
                };
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (503, "database_unavailable"),
                    "{path}"
                );
                assert!(!answer.header("retry-after").is_empty());
                for word in ["slipway_api", "postgres", "sql", "pool", "127.0.0.1"] {
                    assert!(
                        !answer.text.to_lowercase().contains(word),
                        "{word} leaks: {}",
                        answer.text
                    );
                }
            }
        }
        assert_eq!(world.ask("GET", "/healthz").token("").send().await.status, 200);
        assert_eq!(world.ask("GET", "/readyz").token("").send().await.status, 503);
    })
    .await;
}

#[tokio::test]
async fn an_expired_or_revoked_token_looks_like_any_other_wrong_one() {
    in_world(async |world| {
        let token = world.token(&["read:app"], json!({})).await;
        assert_eq!(world.ask("GET", "/v1/apps").token(&token).send().await.status, 200);
        world.ports.clock.forward_days(91);
        let expired = world.ask("GET", "/v1/apps").token(&token).send().await;
        assert_eq!((expired.status, expired.code().as_str()), (401, "unauthenticated"));
        let unknown = "slw_pat_0000000000000000000000000000001eKEv1";
        assert_eq!(
            world.ask("GET", "/v1/apps").token(unknown).send().await.code(),
            "unauthenticated"
        );
    })
    .await;
}

#[tokio::test]
async fn a_bug_is_a_500_that_tells_nothing_and_does_not_lock_its_key() {
    in_world(async |world| {
        for key in [None, Some("k"), Some("k")] {
            let ask = world.ask("POST", "/v1/deploy?image=web:panic");
            let ask = match key {
                Some(key) => ask.key(key),
                None => ask,
            };
            let answer = ask.send().await;
            assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
            assert!(!answer.text.contains("own feet"), "{}", answer.text);
        }
    })
    .await;
}
