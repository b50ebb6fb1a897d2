//! `plan`, `apply` and `spec`: what a manifest changes, and that nothing is lost on the way.

use axum::response::Response;
use serde_json::{Value, json};

use crate::api::{Seen, Server, deployment, empty, list, ok, problem, status};
use crate::world::World;

const MANIFEST: &str = "app = \"web\"\nimage = \"registry.example.com/web:1\"\ninternal_port = 3000\n\
    [env]\nLOG_LEVEL = \"debug\"\n[health]\npath = \"/up\"\n";

fn spec() -> Value {
    json!({"internal_port": 8080, "env": {"OLD": "1"}, "health": {"path": "/up"}})
}

/// A server with the app `web`, the spec above and one deployment of this image.
fn with_app(image: &'static str) -> impl Fn(&Seen) -> Response + Send + Sync {
    move |seen| match seen.line().as_str() {
        "GET /v1/apps/web/spec" => {
            let mut response = ok(&json!({ "spec": spec(), "generation": 4 }));
            response
                .headers_mut()
                .insert("etag", "\"4\"".parse().expect("a header"));
            response
        }
        "GET /v1/apps/web/deployments" => {
            let mut newest = deployment("succeeded", &[]);
            newest["image"] = image.into();
            list(&[newest])
        }
        "PUT /v1/apps/web/spec" => empty(204),
        "POST /v1/apps/web/deployments" => status(202, &deployment("pending", &[])),
        _ => ok(&deployment("succeeded", &[])),
    }
}

#[tokio::test]
async fn a_plan_shows_the_difference_and_changes_nothing() {
    let server = Server::start(with_app("registry.example.com/web:0")).await;
    let world = World::at(&server.url);
    world.file("slipway.toml", MANIFEST);
    let outcome = world.run(&["plan"]).await.succeeded();
    assert_eq!(
        outcome.stdout.lines().collect::<Vec<_>>(),
        [
            "web in production",
            "  + env.LOG_LEVEL = \"debug\"",
            "  - env.OLD = \"1\"",
            "  ~ internal_port = 8080 -> 3000",
            "  ~ image = registry.example.com/web:0 -> registry.example.com/web:1",
            "`slipway apply` makes it so",
        ]
    );
    let outcome = world.run(&["plan", "--json", "-e", "production"]).await.succeeded();
    assert_eq!(
        outcome.json()["changes"][0],
        json!({"path": "env.LOG_LEVEL", "old": null, "new": "debug"})
    );
    assert!(server.seen().iter().all(|s| s.method == "GET"));
}

#[tokio::test]
async fn apply_stages_the_spec_if_unchanged_and_deploys_the_image_as_one_release() {
    let server = Server::start(with_app("registry.example.com/web:0")).await;
    let world = World::at(&server.url);
    world.file("slipway.toml", MANIFEST);
    world.run(&["apply"]).await.succeeded();
    let put = &server.calls("PUT /v1/apps/web/spec")[0];
    assert_eq!(
        (put.header("if-match"), put.query.as_str()),
        (Some("\"4\""), "environment=production&apply=false")
    );
    assert_eq!(put.body["internal_port"], 3000);
    assert!(put.body.get("app").is_none() && put.body.get("image").is_none());
    let post = &server.calls("POST /v1/apps/web/deployments")[0];
    assert_eq!(
        post.body,
        json!({"image": "registry.example.com/web:1", "environment": "production"})
    );
}

#[tokio::test]
async fn what_is_as_the_manifest_says_is_left_alone() {
    let server = Server::start(with_app("registry.example.com/web:1")).await;
    let world = World::at(&server.url);
    world.file(
        "slipway.toml",
        "app = \"web\"\nimage = \"registry.example.com/web:1\"\nenv.OLD = \"1\"\nhealth.path = \"/up\"\n",
    );
    let outcome = world.run(&["plan"]).await.succeeded();
    assert!(outcome.stdout.contains("nothing to change"), "{outcome:?}");
    let outcome = world.run(&["apply"]).await.succeeded();
    assert!(outcome.stderr.contains("nothing to do"), "{outcome:?}");
    assert!(server.seen().iter().all(|s| s.method == "GET"));
}

#[tokio::test]
async fn a_spec_that_was_changed_meanwhile_is_not_overwritten() {
    let server = Server::start(|seen| match seen.line().as_str() {
        "PUT /v1/apps/web/spec" => problem(412, "precondition_failed", "The spec has generation 5 by now."),
        _ => with_app("registry.example.com/web:0")(seen),
    })
    .await;
    let world = World::at(&server.url);
    world.file("slipway.toml", MANIFEST);
    world
        .run(&["apply"])
        .await
        .refused(1, &["generation 5", "run `slipway plan` again"]);
    assert!(server.calls("POST /v1/apps/web/deployments").is_empty());
}

#[tokio::test]
async fn a_missing_app_and_environment_are_created() {
    let server = Server::start(|seen| match seen.line().as_str() {
        "GET /v1/apps/web/spec" | "GET /v1/apps/web" => problem(404, "not_found", "There is no app `web`."),
        "POST /v1/apps" | "POST /v1/apps/web/environments" => status(201, &json!({"name": "web"})),
        _ => with_app("registry.example.com/web:0")(seen),
    })
    .await;
    let world = World::at(&server.url);
    world.file("slipway.toml", MANIFEST);
    let outcome = world.run(&["plan", "-e", "staging"]).await.succeeded();
    assert!(outcome.stdout.contains("+ the app web is created"), "{outcome:?}");
    // This server never has the app, so reading its spec after the creation is refused: what counts is the order.
    world
        .run(&["apply", "-e", "staging"])
        .await
        .refused(1, &["There is no app `web`."]);
    let posts: Vec<_> = server.lines().into_iter().filter(|l| l.starts_with("POST")).collect();
    assert_eq!(posts, ["POST /v1/apps", "POST /v1/apps/web/environments"]);
}

#[tokio::test]
async fn a_broken_manifest_is_refused_before_anything_is_sent() {
    let server = Server::start(|_| empty(500)).await;
    let world = World::at(&server.url);
    let hints = ["slipway.toml", "No such file", "make one", "slipway spec show"];
    world.run(&["plan"]).await.refused(2, &hints);
    world.file(
        "slipway.toml",
        "app = \"web\"\n[helth]\npath = \"/x\"\n[scale]\nmin = 99\n",
    );
    world
        .run(&["apply"])
        .await
        .refused(2, &["did you mean `health`?", "/scale/min", "nothing was changed"]);
    world.file("slipway.toml", "app = web\n");
    world.run(&["plan"]).await.refused(2, &["is not TOML", "line 1"]);
    // A command that takes only the app's name from it says the same.
    let hints = ["slipway.toml is not TOML", "line 1"];
    world.run(&["status"]).await.refused(2, &hints);
    world.file("slipway.toml", "internal_port = 1\n");
    world.run(&["plan"]).await.refused(2, &["give the app's name"]);
    world
        .run(&["status"])
        .await
        .refused(2, &["slipway.toml names no app", "--app NAME"]);
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_spec_is_shown_as_toml_and_taken_back_from_a_file_or_standard_input() {
    let server = Server::start(with_app("registry.example.com/web:0")).await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web");
    let shown = world.run(&["spec", "show"]).await.succeeded().stdout;
    assert!(
        shown.contains("internal_port = 8080\n") && shown.contains("[health]\npath = \"/up\""),
        "{shown}"
    );
    world.file("spec.toml", &shown);
    world.run(&["spec", "set", "spec.toml", "--stage"]).await.succeeded();
    let world = world.stdin("{\"internal_port\": 9000}");
    world.run(&["spec", "set", "-"]).await.succeeded();
    let puts = server.calls("PUT /v1/apps/web/spec");
    assert_eq!(
        (puts[0].query.as_str(), &puts[0].body["internal_port"]),
        ("environment=production&apply=false", &json!(8080))
    );
    assert_eq!(
        (puts[1].query.as_str(), &puts[1].body["internal_port"]),
        ("environment=production&apply=true", &json!(9000))
    );
    world
        .stdin("internal_port = 0")
        .run(&["spec", "set", "-"])
        .await
        .refused(2, &["/internal_port"]);
}

#[tokio::test]
async fn single_keys_of_a_spec_are_changed_and_the_rest_stays_and_every_change_is_told() {
    let server = Server::start(with_app("registry.example.com/web:0")).await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web");
    let keys = [
        "spec",
        "set",
        "internal_port=9999",
        "health.path=/ready",
        "security.read_only=false",
        "env.NEW=3",
        "resources.cpu=0.5",
        "security.user=1000",
    ];
    let outcome = world.run(&keys).await.succeeded();
    assert!(outcome.stderr.contains("~ internal_port = 8080 -> 9999"), "{outcome:?}");
    let put = &server.calls("PUT /v1/apps/web/spec")[0];
    assert_eq!(put.header("if-match"), Some("\"4\""));
    let changed = [
        "/resources/cpu",
        "/security/user",
        "/internal_port",
        "/health/path",
        "/security/read_only",
        "/env/OLD",
        "/env/NEW",
    ];
    let changed = changed.map(|place| put.body.pointer(place).cloned().unwrap_or_default());
    assert_eq!(
        changed,
        [
            json!("0.5"),
            json!("1000"),
            json!(9999),
            json!("/ready"),
            json!(false),
            json!("1"),
            json!("3")
        ]
    );
    // A file that leaves something out says so.
    let world = world.stdin("internal_port = 8080");
    let outcome = world.run(&["spec", "set", "-"]).await.succeeded();
    assert!(outcome.stderr.contains("- env.OLD = \"1\""), "{outcome:?}");
    let keys = ["spec", "unset", "env.OLD"];
    let outcome = world.run(&keys).await.succeeded();
    assert!(outcome.stderr.contains("- env.OLD = \"1\""), "{outcome:?}");
    let put = server.calls("PUT /v1/apps/web/spec").pop().expect("one more");
    assert_eq!(put.body.pointer("/env/OLD"), None, "{}", put.body);
    for wrong in [&["env.OLD=1"][..], &["env..OLD"], &["internal_port.x"], &["helth.path"]] {
        world.run(&[&["spec", "unset"], wrong].concat()).await.refused(2, &[]);
    }
    for wrong in [
        &["internal_prt=1"][..],
        &["a.toml", "internal_port=1"],
        &["internal_port.x=1"],
    ] {
        world.run(&[&["spec", "set"], wrong].concat()).await.refused(2, &[]);
    }
}

#[tokio::test]
async fn an_apply_that_is_refused_half_way_says_what_stays() {
    let made = std::sync::atomic::AtomicBool::new(false);
    let server = Server::start(move |seen| match seen.line().as_str() {
        "POST /v1/apps" => {
            made.store(true, std::sync::atomic::Ordering::SeqCst);
            status(201, &json!({"name": "web"}))
        }
        "GET /v1/apps/web/spec" if made.load(std::sync::atomic::Ordering::SeqCst) => {
            ok(&json!({ "spec": spec(), "generation": 1 }))
        }
        "PUT /v1/apps/web/spec" => empty(204),
        "POST /v1/apps/web/deployments" => problem(422, "missing_secrets", "Set the secret TOKEN first."),
        _ => problem(404, "not_found", "There is no app `web`."),
    })
    .await;
    let world = World::at(&server.url);
    world.file("slipway.toml", MANIFEST);
    let outcome = world.run(&["apply"]).await;
    outcome.refused(
        1,
        &["web in production was made and stays", "Set the secret TOKEN first."],
    );
}
