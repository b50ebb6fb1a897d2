//! What is said when something is wrong: with the words, the server, the network.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::api::{Server, empty, ok, problem, status};
use crate::world::{World, token};

#[tokio::test]
async fn what_is_typed_wrong_is_usage_with_a_suggestion() {
    let world = World::at("http://127.0.0.1:1");
    world.run(&["deplyo", "x"]).await.refused(2, &["deploy"]);
    world.run(&["apps", "lst"]).await.refused(2, &["list"]);
    world
        .run(&["deploy", "Registry/UPPER"])
        .await
        .refused(2, &["is not an image reference"]);
    world
        .run(&["deploy", "web", "--timout", "3s"])
        .await
        .refused(2, &["--timeout"]);
    world
        .run(&["deploy", "web", "--timeout", "3 minutes"])
        .await
        .refused(2, &["a duration such as"]);
    world
        .run(&["releases", "-a", "A"])
        .await
        .refused(2, &["the app name", "3 to 40 characters"]);
    world.run(&["releases"]).await.refused(2, &["which app?", "--app NAME"]);
    let outcome = World::at("http://127.0.0.1:1")
        .with("SLIPWAY_APP", "?")
        .run(&["releases"])
        .await;
    outcome.refused(2, &["SLIPWAY_APP"]);
    world
        .run(&["logs", "-a", "web", "--since", "yesterday"])
        .await
        .refused(2, &["neither a time"]);
}

#[tokio::test]
async fn help_goes_to_standard_output_and_is_success() {
    let outcome = World::bare().run(&["--help"]).await.succeeded();
    for text in ["deploy", "rollback", "SLIPWAY_URL", "--json"] {
        assert!(outcome.stdout.contains(text), "{text}");
    }
    for absent in ["flags", "backup", "exec"] {
        assert!(!outcome.stdout.contains(&format!("\n  {absent}")), "{absent}");
    }
}

#[tokio::test]
async fn restart_is_said_to_make_a_new_release() {
    let outcome = World::bare().run(&["restart", "--help"]).await.succeeded();
    assert!(
        outcome.stdout.contains("new release of the same contents"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let outcome = World::bare().run(&["completions", shell]).await.succeeded();
        assert!(outcome.stdout.contains("rollback"), "{shell}");
    }
}

#[tokio::test]
async fn wrong_fields_are_listed_and_with_json_the_problem_is_the_result() {
    let server = Server::start(|_| {
        status(
            422,
            &json!({"status": 422, "title": "Invalid", "code": "invalid_spec", "detail": "The name is taken or wrong.",
                "request_id": "req_9", "errors": [{"pointer": "/name", "detail": "too short"}]}),
        )
    })
    .await;
    let world = World::at(&server.url);
    let outcome = world.run(&["apps", "create", "web", "--json"]).await;
    assert_eq!(outcome.json()["code"], "invalid_spec");
    outcome.refused(
        1,
        &[
            "error: The name is taken or wrong.",
            "  /name: too short",
            "request id: req_9",
        ],
    );
}

#[tokio::test]
async fn what_the_sentence_says_already_is_not_said_again() {
    let server = Server::start(|_| {
        let fields = json!([
            {"pointer": "/env/PORT", "detail": "PORT is set by the platform."},
            {"pointer": "/scale/min", "detail": "give at least 1"},
        ]);
        let detail = "/env/PORT: PORT is set by the platform.";
        status(
            422,
            &json!({"status": 422, "code": "invalid_spec", "detail": detail, "errors": fields}),
        )
    })
    .await;
    let outcome = World::at(&server.url).run(&["apps", "create", "web"]).await;
    let outcome = outcome.refused(1, &["error: /env/PORT: PORT is set", "  /scale/min: give at least 1"]);
    assert_eq!(outcome.stderr.matches("PORT is set").count(), 1, "{outcome:?}");
}

#[tokio::test]
async fn without_a_valid_token_the_way_is_to_log_in() {
    let detail = "Send a valid token in the header `Authorization: Bearer slw_…`.";
    let server = Server::start(move |_| problem(401, "unauthenticated", detail)).await;
    let outcome = World::at(&server.url).run(&["apps", "list"]).await;
    let said = "the server does not accept this token: it is wrong, expired or revoked";
    let outcome = outcome.refused(1, &[said, "slipway login URL", "SLIPWAY_TOKEN"]);
    assert!(!outcome.stderr.contains("header"), "{outcome:?}");
}

#[tokio::test]
async fn without_any_token_nothing_is_sent() {
    let server = Server::start(|_| empty(500)).await;
    let world = World::bare()
        .with("SLIPWAY_URL", &server.url)
        .with("SLIPWAY_APP", "web");
    for words in [&["apps", "list"][..], &["logs"], &["deploy", "web:1"]] {
        let outcome = world.run(words).await;
        outcome.refused(1, &["error: not logged in", "slipway login URL", "SLIPWAY_TOKEN"]);
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn where_nothing_listens_the_address_and_the_next_step_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let outcome = World::at(&format!("http://{address}")).run(&["apps", "list"]).await;
    outcome.refused(1, &[&address, "connection refused", "slipway up"]);
    let world = World::bare().with("SLIPWAY_API_LISTEN", &address);
    world
        .run(&["apps", "list"])
        .await
        .refused(1, &["not logged in", "slipway login URL", "slipway up"]);
    let outcome = world.with("SLIPWAY_TOKEN", &token()).run(&["apps", "list"]).await;
    outcome.refused(1, &[&address, "slipway up", "slipway login URL"]);
}

#[tokio::test]
async fn something_else_at_the_address_is_recognised() {
    let server = Server::start(|_| {
        let mut response = empty(200);
        *response.body_mut() = "<html>hello</html>".into();
        response
    })
    .await;
    World::at(&server.url)
        .run(&["apps", "list"])
        .await
        .refused(1, &["not JSON", "check the address"]);
    let server = Server::start(|_| ok(&json!({"hello": 1}))).await;
    World::at(&server.url)
        .run(&["apps", "list"])
        .await
        .refused(1, &["is not a list"]);
    World::at(&server.url)
        .run(&["deployments", "show", "x"])
        .await
        .refused(1, &["is not a deployment"]);
    let server = Server::start(|_| {
        let mut response = empty(308);
        response.headers_mut().insert(
            "location",
            "https://elsewhere.example.com/v1/apps".parse().expect("a header"),
        );
        response
    })
    .await;
    let outcome = World::at(&server.url).run(&["apps", "list"]).await;
    outcome.refused(1, &["sends its callers on to https://elsewhere.example.com"]);
}

/// A server that closes the first connections without an answer.
async fn closes_first(times: usize) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move {
        let mut taken = 0;
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            taken += 1;
            if taken > times {
                let body = "{\"items\":[],\"next_cursor\":null}";
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                return taken;
            }
        }
    });
    (url, task)
}

#[tokio::test]
async fn a_broken_connection_is_tried_again_a_few_times() {
    let (url, task) = closes_first(2).await;
    World::at(&url).run(&["apps", "list"]).await.succeeded();
    assert_eq!(task.await.expect("ended"), 3);
    let (url, task) = closes_first(100).await;
    World::at(&url)
        .run(&["apps", "list"])
        .await
        .refused(1, &["no answer from", "try again"]);
    task.abort();
}

#[tokio::test]
async fn a_call_without_a_key_is_not_sent_twice() {
    let (url, task) = closes_first(1).await;
    let world = World::at(&url);
    world
        .run(&["env", "set", "A=1", "-a", "web"])
        .await
        .refused(1, &["no answer from"]);
    assert!(!task.is_finished(), "the call was repeated");
    task.abort();
}
