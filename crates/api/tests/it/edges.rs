//! What every answer has in common, and requests that meet no handler.

use serde_json::json;

use crate::world::in_world;

#[tokio::test]
async fn every_answer_names_its_request_and_is_hardened() {
    in_world(async |world| {
        for (path, token) in [
            ("/v1/apps", true),
            ("/v1/apps", false),
            ("/healthz", false),
            ("/nowhere", true),
        ] {
            let ask = world.ask("GET", path);
            let ask = if token { ask } else { ask.token("") };
            let answer = ask.send_unchecked().await;
            assert!(answer.header("x-request-id").starts_with("req_"), "{path}");
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("cache-control", "no-store"),
                ("referrer-policy", "no-referrer"),
                ("strict-transport-security", "max-age=31536000"),
            ] {
                assert_eq!(answer.header(name), value, "{path} {name}");
            }
            assert!(
                answer.header("content-security-policy").contains("default-src 'none'"),
                "{path}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_harmless_request_id_is_kept_and_stands_in_the_audit_log() {
    in_world(async |world| {
        for (given, kept) in [
            ("build-7.a_b", true),
            ("", false),
            ("a b", false),
            ("<x>", false),
            (&*"x".repeat(129), false),
        ] {
            let answer = world.ask("GET", "/v1/apps").header("x-request-id", given).send().await;
            assert_eq!(answer.header("x-request-id") == given, kept, "{given}");
        }
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let ask = world
            .ask("POST", "/v1/apps")
            .header("x-request-id", "mine")
            .header("traceparent", trace);
        ask.header("user-agent", "ci/1")
            .json(&json!({"name": "web"}))
            .send()
            .await;
        let entry = world.get("/v1/audit?action=app.create").await.json["items"][0].clone();
        assert_eq!(entry["request_id"], "mine");
        assert_eq!(entry["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(entry["actor"]["user_agent"], "ci/1");

        let deployed = world
            .ask("POST", "/v1/deploy?image=web:1")
            .header("traceparent", trace)
            .send()
            .await;
        let kept = format!("select count(*) from deployments where trace_context = '{trace}'");
        assert_eq!((deployed.status, world.db.number(&kept).await), (202, 1));
    })
    .await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    in_world(async |world| {
        for path in ["/", "/v1", "/v2/apps", "/v1/apps/", "/v1/apps/web/colours"] {
            let answer = world.ask("GET", path).send_unchecked().await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}");
        }
        let wrong = world.ask("DELETE", "/v1/apps").send_unchecked().await;
        assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"));
        let allowed: Vec<&str> = wrong.header("allow").split(',').map(str::trim).collect();
        assert!(allowed.contains(&"GET") && allowed.contains(&"POST"), "{allowed:?}");
        let options = world.ask("OPTIONS", "/v1/apps").token("").send_unchecked().await;
        assert_eq!((options.status, options.text.as_str()), (204, ""));
        assert!(options.header("allow").contains("POST"));
        assert!(options.header("access-control-allow-origin").is_empty());
    })
    .await;
}

#[tokio::test]
async fn head_answers_like_get_without_a_body() {
    in_world(async |world| {
        let head = world.ask("HEAD", "/v1/apps").send_unchecked().await;
        assert_eq!((head.status, head.text.as_str()), (200, ""));
        assert_eq!(head.header("content-type"), "application/json");
        assert_eq!(
            world.ask("HEAD", "/v1/apps").token("").send_unchecked().await.status,
            401
        );
    })
    .await;
}

#[tokio::test]
async fn health_document_and_reference_need_no_token() {
    in_world(async |world| {
        for path in ["/healthz", "/readyz"] {
            let answer = world.ask("GET", path).token("").send().await;
            assert_eq!((answer.status, &answer.json), (200, &json!({"status": "ok"})));
        }
        let served = world.ask("GET", "/openapi.json").token("").send().await;
        assert_eq!(served.json["paths"], world.document.value()["paths"]);
        assert_eq!(served.json["info"]["version"], "0.0.0-test");
        let page = world.ask("GET", "/docs").token("").send().await;
        assert!(page.header("content-security-policy").contains("style-src 'self'"));
        assert!(!page.header("content-security-policy").contains("unsafe"));
        assert!(page.text.contains("/v1/apps/{app}/deployments") && page.text.contains("problem-missing_secrets"));
        assert!(!page.text.contains("<script") && !page.text.contains(" style="));
        let style = world.ask("GET", "/docs/style.css").token("").send().await;
        assert_eq!(
            (style.status, style.header("content-type")),
            (200, "text/css; charset=utf-8")
        );
    })
    .await;
}

#[tokio::test]
async fn every_request_is_told_of_by_its_route_and_never_by_its_path() {
    in_world(async |world| {
        world.get("/v1/apps/nobody").await;
        world.ask("GET", "/nowhere/at/all").send_unchecked().await;
        world.ask("BREW", "/v1/apps").send_unchecked().await;
        let told = world.answered.lock().expect("no panic").clone();
        assert_eq!(
            told,
            [
                ("GET", Some("/v1/apps/{app}".to_owned()), 404),
                ("GET", None, 404),
                ("_OTHER", Some("/v1/apps".to_owned()), 405),
            ]
        );
    })
    .await;
}
