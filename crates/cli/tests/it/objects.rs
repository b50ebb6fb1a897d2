//! Lists and the small commands around them.

use serde_json::{Value, json};

use crate::api::{Server, deployment, empty, list, ok, status};
use crate::world::{World, token};

#[tokio::test]
async fn a_list_is_a_plain_table_and_with_json_the_items() {
    let server = Server::start(|_| {
        list(&[
            json!({"name": "web", "team": "default", "created_at": "2026-02-02T02:30:00Z",
                "environments": [{"name": "production", "release": 7, "state": "running"}]}),
            json!({"name": "a\u{1b}[2Jb", "team": "default"}),
        ])
    })
    .await;
    let world = World::at(&server.url);
    let outcome = world.run(&["apps", "list"]).await.succeeded();
    assert_eq!(
        outcome.stdout.lines().map(str::trim_end).collect::<Vec<_>>(),
        [
            "NAME  TEAM     ENVIRONMENTS             CREATED",
            "web   default  production v7 (running)  10m ago",
            "ab    default  -                        -",
        ]
    );
    let outcome = world.run(&["apps", "ls", "--json"]).await.succeeded();
    assert_eq!(outcome.json()["items"][0]["name"], "web");
    assert_eq!(outcome.json()["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_release_is_written_the_same_way_in_every_table() {
    let environments = [
        json!({"name": "production", "release": 5, "state": "running", "url": "https://web.example.com"}),
        json!({"name": "staging", "release": null, "state": "empty", "url": "https://staging.web.example.com"}),
    ];
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/v1/apps/web" => ok(&json!({"name": "web", "environments": environments})),
        _ => list(&environments),
    })
    .await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web");
    for words in [["apps", "show"], ["environments", "list"]] {
        let outcome = world.run(&words).await.succeeded();
        for (name, release) in [("production", "v5"), ("staging", "-")] {
            let line = outcome.stdout.lines().find(|l| l.starts_with(name)).expect("a row");
            assert_eq!(line.split_whitespace().nth(1), Some(release), "{line}");
        }
    }
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page_up_to_the_limit() {
    let server = Server::start(|seen| {
        let from: u64 = seen
            .query
            .split("cursor=")
            .nth(1)
            .map_or(0, |c| c.parse().expect("a number"));
        let items: Vec<_> = (from..from + 200)
            .map(|n| json!({"name": format!("app-{n}")}))
            .collect();
        ok(&json!({"items": items, "next_cursor": (from + 200).to_string()}))
    })
    .await;
    let outcome = World::at(&server.url)
        .run(&["apps", "list", "--limit", "450", "--json"])
        .await
        .succeeded();
    let queries: Vec<_> = server.seen().into_iter().map(|s| s.query).collect();
    assert_eq!(queries, ["limit=200", "limit=200&cursor=200", "limit=50&cursor=400"]);
    assert_eq!(outcome.json()["next_cursor"], "600");
}

#[tokio::test]
async fn a_command_about_many_things_lists_them_when_it_is_not_told_what_to_do() {
    let answer = json!({"items": [], "next_cursor": null, "spec": {}, "env": {}});
    let server = Server::start(move |_| ok(&answer)).await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web");
    for (command, line) in [
        ("apps", "GET /v1/apps"),
        ("deployments", "GET /v1/apps/web/deployments"),
        ("environments", "GET /v1/apps/web/environments"),
        ("secrets", "GET /v1/apps/web/secrets"),
        ("env", "GET /v1/apps/web/env"),
        ("spec", "GET /v1/apps/web/spec"),
        ("registries", "GET /v1/registries"),
        ("tokens", "GET /v1/tokens"),
        ("teams", "GET /v1/teams"),
    ] {
        let before = server.lines().len();
        world.run(&[command]).await.succeeded();
        assert_eq!(server.lines().get(before).map(String::as_str), Some(line));
    }
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_failure() {
    let server = Server::start(|_| list(&[json!({"name": "web"})])).await;
    let mut world = World::at(&server.url);
    world.stdout_broken = true;
    let outcome = world.run(&["apps", "list"]).await.succeeded();
    assert_eq!(outcome.stderr, "");
}

#[tokio::test]
async fn domains_are_those_of_the_app_that_is_named_or_of_all() {
    let server = Server::start(|_| list(&[json!({"host": "shop.example.com", "app": "web"})])).await;
    let world = World::at(&server.url);
    let shown = world.run(&["domains"]).await.succeeded();
    assert!(
        shown.stdout.contains("shop.example.com") && shown.stdout.contains("web"),
        "{}",
        shown.stdout
    );
    world.run(&["domains", "-a", "web"]).await.succeeded();
    let lines: Vec<String> = server.seen().iter().map(crate::api::Seen::line).collect();
    assert_eq!(lines, ["GET /v1/domains", "GET /v1/apps/web/domains"]);
}

#[tokio::test]
async fn deletion_asks_for_the_name_and_passes_force_on() {
    let server = Server::start(|_| empty(204)).await;
    let world = World::at(&server.url);
    world.run(&["apps", "delete", "web"]).await.refused(2, &["add --yes"]);
    world
        .run(&["dns", "delete", "example.com"])
        .await
        .refused(2, &["add --yes"]);
    let mut world = world.stdin("wep\n");
    world.typed = Some(String::new());
    world
        .run(&["apps", "delete", "web"])
        .await
        .refused(1, &["the name does not match"]);
    assert_eq!(server.seen().len(), 0);
    let world = world.stdin("web\n");
    world.run(&["apps", "delete", "web"]).await.succeeded();
    world
        .run(&["environments", "delete", "staging", "-a", "web", "--yes", "--force"])
        .await
        .succeeded();
    let seen = server.seen();
    assert_eq!(seen[0].line(), "DELETE /v1/apps/web");
    assert_eq!(
        (seen[1].line().as_str(), seen[1].query.as_str()),
        ("DELETE /v1/apps/web/environments/staging", "force=true")
    );
}

#[tokio::test]
async fn several_secrets_make_one_release_and_no_value_is_ever_printed() {
    let server = Server::start(|seen| {
        if seen.query.ends_with("apply=true") {
            status(202, &deployment("succeeded", &[]))
        } else {
            empty(204)
        }
    })
    .await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web").stdin("from stdin\n");
    let outcome = world
        .run(&["secrets", "set", "A=first", "B", "--no-wait"])
        .await
        .succeeded();
    assert!(!format!("{outcome:?}").contains("first"), "{outcome:?}");
    let seen = server.seen();
    assert_eq!(seen[0].line(), "PUT /v1/apps/web/secrets/A");
    assert_eq!(
        (&seen[0].body, seen[0].query.as_str()),
        (&json!({"value": "first"}), "environment=production&apply=false")
    );
    assert_eq!(
        (&seen[1].body, seen[1].query.as_str()),
        (&json!({"value": "from stdin"}), "environment=production&apply=true")
    );
    world
        .run(&["secrets", "set", "A", "B"])
        .await
        .refused(2, &["one secret only"]);
    world
        .run(&["secrets", "set", "1A=x"])
        .await
        .refused(2, &["not starting with a digit"]);
    let outcome = world.run(&["secrets", "unset", "A", "--stage"]).await.succeeded();
    assert!(outcome.stderr.contains("the next release"), "{outcome:?}");
    World::at(&server.url)
        .run(&["secrets", "set", "A", "-a", "web"])
        .await
        .refused(2, &["is empty"]);
    let mut asked = World::at(&server.url);
    asked.typed = Some("typed".into());
    asked
        .run(&["secrets", "set", "C", "-a", "web", "--stage"])
        .await
        .succeeded();
    assert_eq!(
        server.calls("PUT /v1/apps/web/secrets/C")[0].body,
        json!({"value": "typed"})
    );
}

#[tokio::test]
async fn settings_that_wait_for_the_next_release_are_told_as_such_and_so_is_a_change_of_nothing() {
    for (staged, last, told, done) in [
        (true, "succeeded", "the next deploy", "kept; the next release has it\n"),
        (false, "succeeded", "", "nothing changed: it was so already\n"),
        (
            false,
            "failed",
            "the last deployment failed",
            "nothing changed: it was so already\n",
        ),
    ] {
        let production = json!({"name": "production", "release": 3, "staged": staged, "last_deployment": last});
        let app = json!({"name": "web", "environments": [production]});
        let server = Server::start(move |seen| match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "/v1/apps/web") => ok(&app),
            ("GET", "/v1/apps/web/env") => ok(&json!({"env": {"A": "1"}})),
            ("GET", "/v1/apps/web/spec") => ok(&json!({"spec": {"internal_port": 8080}})),
            ("GET", _) => ok(&json!({"items": []})),
            _ => empty(204),
        })
        .await;
        let world = World::at(&server.url).with("SLIPWAY_APP", "web");
        for command in [["env", "list"], ["secrets", "list"], ["spec", "show"]] {
            let outcome = world.run(&command).await.succeeded();
            assert!(outcome.stderr.contains(told), "{command:?} {outcome:?}");
            assert_eq!(
                outcome.stderr.contains("deploy"),
                !told.is_empty(),
                "{command:?} {outcome:?}"
            );
        }
        let outcome = world.run(&["status"]).await.succeeded();
        assert_eq!(
            outcome.stdout.contains("wait for the next deploy"),
            staged,
            "{outcome:?}"
        );
        let outcome = world.run(&["env", "set", "A=1"]).await.succeeded();
        assert_eq!(outcome.stderr, done);
    }
}

#[tokio::test]
async fn variables_are_changed_together() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "GET" => ok(&json!({"env": {"A": "1", "B": "two words"}})),
        _ => empty(204),
    })
    .await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web");
    let outcome = world.run(&["env", "list"]).await.succeeded();
    assert_eq!(outcome.stdout, "A=1\nB=two words\n");
    let outcome = world.run(&["env", "set", "A=2", "C=x=y"]).await.succeeded();
    assert_eq!(outcome.stderr, "kept; the next release has it\n");
    let outcome = world.run(&["env", "unset", "A", "B", "--stage"]).await.succeeded();
    assert_eq!(outcome.stderr, "removed; the next release does not have it\n");
    let outcome = world.run(&["env", "unset", "A", "NEVER"]).await.succeeded();
    assert!(outcome.stderr.starts_with("NEVER was not set\n"), "{outcome:?}");
    let asked = server.calls("PATCH /v1/apps/web/env").len();
    world.run(&["env", "unset", "NEVER"]).await.succeeded();
    assert_eq!(
        server.calls("PATCH /v1/apps/web/env").len(),
        asked,
        "nothing is changed"
    );
    let bodies: Vec<_> = server
        .calls("PATCH /v1/apps/web/env")
        .into_iter()
        .map(|s| (s.body, s.query))
        .collect();
    assert_eq!(
        bodies[0],
        (
            json!({"env": {"A": "2", "C": "x=y"}}),
            "environment=production&apply=true".into()
        )
    );
    assert_eq!(
        bodies[1],
        (
            json!({"env": {"A": null, "B": null}}),
            "environment=production&apply=false".into()
        )
    );
    world.run(&["env", "set", "A"]).await.refused(2, &["NAME=VALUE"]);
}

#[tokio::test]
async fn a_new_token_is_alone_on_standard_output() {
    let server = Server::start(|_| {
        status(
            201,
            &json!({"id": "tok_1", "token": "slw_dpl_x", "expires_at": "2026-05-03T02:40:00Z"}),
        )
    })
    .await;
    let words = [
        "tokens",
        "create",
        "ci",
        "--scope",
        "deploy:app,read:app",
        "--apps",
        "web",
        "--expires-in",
        "90d",
    ];
    let outcome = World::at(&server.url).run(&words).await.succeeded();
    assert_eq!(outcome.stdout, "slw_dpl_x\n");
    assert!(outcome.stderr.contains("tok_1, expires in 90d"), "{outcome:?}");
    assert_eq!(
        server.seen()[0].body,
        json!({"name": "ci", "scopes": ["deploy:app", "read:app"], "apps": ["web"], "expires_in": "90d"})
    );
    let world = World::at(&server.url);
    world
        .run(&["tokens", "create", "ci", "--scope", "deploy:apps"])
        .await
        .refused(2, &["is not a scope"]);
}

#[tokio::test]
async fn tokens_are_listed_as_valid_expired_or_revoked() {
    let server = Server::start(|_| {
        list(&[
            json!({"id": "tok_1", "name": "good", "scopes": ["read:app"], "expires_at": "2126-01-01T00:00:00Z"}),
            json!({"id": "tok_2", "name": "late", "scopes": ["read:app"], "expires_at": "2006-01-01T00:00:00Z"}),
            json!({"id": "tok_3", "name": "gone", "scopes": ["read:app"], "expires_at": "2006-01-01T00:00:00Z",
                "revoked_at": "2005-01-01T00:00:00Z"}),
        ])
    })
    .await;
    let outcome = World::at(&server.url).run(&["tokens", "list"]).await.succeeded();
    let states: Vec<_> = outcome
        .stdout
        .lines()
        .skip(1)
        .filter_map(|row| row.split_whitespace().last())
        .collect();
    assert_eq!(states, ["valid", "expired", "revoked"], "{outcome:?}");
}

#[tokio::test]
async fn a_token_is_revoked_by_its_name_if_only_one_valid_token_has_it() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "DELETE" => empty(204),
        _ => list(&[
            json!({"id": "tok_1", "name": "ci", "expires_at": "2126-01-01T00:00:00Z"}),
            json!({"id": "tok_2", "name": "ci", "expires_at": "2006-01-01T00:00:00Z"}),
            json!({"id": "tok_3", "name": "two", "expires_at": "2126-01-01T00:00:00Z"}),
            json!({"id": "tok_4", "name": "two", "expires_at": "2126-01-01T00:00:00Z"}),
        ]),
    })
    .await;
    let world = World::at(&server.url);
    world.run(&["tokens", "revoke", "ci"]).await.succeeded();
    assert_eq!(server.calls("DELETE /v1/tokens/tok_1").len(), 1);
    let outcome = world.run(&["tokens", "revoke", "two"]).await;
    outcome.refused(2, &["2 valid tokens are called `two`: tok_3, tok_4"]);
    let outcome = world.run(&["tokens", "revoke", "cy"]).await;
    outcome.refused(2, &["no valid token is called `cy`", "slipway tokens list"]);
    let id = "tok_00000000000000000000000001";
    world.run(&["tokens", "revoke", id]).await.succeeded();
    let sent = server.calls(&format!("DELETE /v1/tokens/{id}"));
    let bearer = format!("Bearer {}", token());
    assert_eq!(
        sent[0].header("authorization"),
        Some(bearer.as_str()),
        "not what is revoked"
    );
}

#[tokio::test]
async fn a_registry_password_comes_from_standard_input() {
    let server = Server::start(|_| empty(204)).await;
    let world = World::at(&server.url).stdin("pass word\r\n");
    world
        .run(&["registries", "set", "127.0.0.1:5000", "--username", "ci"])
        .await
        .succeeded();
    let seen = server.seen();
    assert_eq!(seen[0].path, "/v1/registries/127.0.0.1:5000");
    assert_eq!(seen[0].body, json!({"username": "ci", "password": "pass word"}));
    let words = [
        "registries",
        "set",
        "127.0.0.1:5000",
        "--username",
        "ci",
        "--team",
        "crew",
    ];
    world.run(&words).await.succeeded();
    assert_eq!(server.seen()[1].query, "team=crew");
}

#[tokio::test]
async fn a_status_of_no_app_is_that_of_all() {
    let app = json!({"name": "web", "team": "default",
        "environments": [{"name": "production", "state": "degraded", "release": 7}]});
    let server = Server::start(move |_| list(std::slice::from_ref(&app))).await;
    let outcome = World::at(&server.url).run(&["status"]).await.succeeded();
    assert_eq!(server.lines(), ["GET /v1/apps"]);
    assert!(
        outcome.stdout.contains("web") && outcome.stdout.contains("degraded"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn an_audit_log_that_was_tampered_with_is_a_failure() {
    let server = Server::start(|_| ok(&json!({"ok": true, "rows": 12}))).await;
    let outcome = World::at(&server.url).run(&["audit", "--verify"]).await.succeeded();
    assert_eq!(outcome.stdout, "the chain is whole: 12 rows\n");
    let server = Server::start(|_| ok(&json!({"ok": false, "rows": 12, "broken_at": 5}))).await;
    World::at(&server.url)
        .run(&["audit", "--verify"])
        .await
        .refused(1, &["broken at row 5"]);
}

#[tokio::test]
async fn status_shows_address_deployment_and_instances() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/v1/apps/web" => {
            ok(&json!({"name": "web", "environments": [
                {"name": "production", "url": "https://web.example.com", "state": "stopped"}]}))
        }
        "/v1/apps/web/instances" => list(&[json!({
            "id": "0123456789abcdef", "release": 7, "state": "exited", "health": "unhealthy", "started_at": "2026-02-02T02:39:00Z",
            "restarts": 2, "exit_code": 137, "oom_killed": true, "cpu": 0.5, "memory_bytes": 268_435_456_u64,
        })]),
        _ => list(&[deployment("succeeded", &[])]),
    })
    .await;
    let outcome = World::at(&server.url).run(&["status", "web"]).await.succeeded();
    for text in [
        "https://web.example.com",
        "stopped: `slipway start` brings it back",
        "0123456789ab ",
        "v7 succeeded",
        "exited (out of memory)",
        "256.0 MiB",
        "1m ago",
    ] {
        assert!(outcome.stdout.contains(text), "{text}: {outcome:?}");
    }
}

#[tokio::test]
async fn scale_restart_stop_and_start_reach_the_environment() {
    let server = Server::start(|_| empty(202)).await;
    let world = World::at(&server.url)
        .with("SLIPWAY_APP", "web")
        .with("SLIPWAY_ENVIRONMENT", "staging");
    world.run(&["scale", "3", "web"]).await.succeeded();
    for words in [&["restart"][..], &["stop", "--no-wait"], &["start"]] {
        world.run(words).await.succeeded();
    }
    assert_eq!(server.seen()[0].body["count"], 3);
    assert_eq!(
        server.lines(),
        [
            "POST /v1/apps/web/scale",
            "POST /v1/apps/web/restart",
            "POST /v1/apps/web/stop",
            "POST /v1/apps/web/start"
        ]
    );
    world
        .run(&["scale", "0"])
        .await
        .refused(2, &["`slipway stop` stops it"]);
}
