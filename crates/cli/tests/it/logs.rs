//! Logs: shown, followed, resumed.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::api::{Server, problem, stream};
use crate::world::World;

fn line(time: &str, text: &str) -> String {
    let value = json!({ "time": time, "stream": "stdout", "instance": "ins_1", "release": 7, "line": text });
    format!("{value}\n")
}

#[tokio::test]
async fn lines_are_shown_and_filters_travel_in_the_query() {
    let server = Server::start(|_| {
        let whole = line("2026-02-02T02:40:00Z", "hello \u{1b}[31mred");
        let (a, b) = whole.split_at(20);
        stream(
            "application/x-ndjson",
            vec![a.into(), b.into(), "\n".into(), line("2026-02-02T02:40:01Z", "bye")],
        )
    })
    .await;
    let world = World::at(&server.url);
    let words = [
        "logs",
        "-a",
        "web",
        "--since",
        "10m",
        "--query",
        "a b",
        "--stream",
        "stderr",
        "--release",
        "v7",
        "-n",
        "5",
    ];
    let outcome = world.run(&words).await.succeeded();
    assert_eq!(
        outcome.stdout,
        "2026-02-02T02:40:00Z v7 ins_1 | hello \u{1b}[31mred\n2026-02-02T02:40:01Z v7 ins_1 | bye\n"
    );
    let query = &server.seen()[0].query;
    for part in [
        "environment=production",
        "since=2026-02-02T02%3A30%3A00.000Z",
        "query=a+b",
        "stream=stderr",
        "release=v7",
        "tail=5",
    ] {
        assert!(query.contains(part), "{part} in {query}");
    }
    let outcome = world.terminal().run(&["logs", "-a", "web"]).await.succeeded();
    assert!(outcome.stdout.contains("hello red"), "{outcome:?}");
}

#[tokio::test]
async fn with_json_the_lines_pass_through_unchanged() {
    let server = Server::start(|_| stream("application/x-ndjson", vec![line("2026-02-02T02:40:00Z", "x")])).await;
    let outcome = World::at(&server.url)
        .run(&["logs", "-a", "web", "--json"])
        .await
        .succeeded();
    assert_eq!(outcome.stdout, line("2026-02-02T02:40:00Z", "x"));
}

#[tokio::test]
async fn a_followed_stream_that_breaks_goes_on_where_it_stopped() {
    let opened = AtomicU32::new(0);
    let server = Server::start(move |_| match opened.fetch_add(1, Ordering::SeqCst) {
        0 => stream("application/x-ndjson", vec![line("t1", "one"), line("t2", "two")]),
        1 => stream(
            "application/x-ndjson",
            vec![line("t2", "two"), line("t2", "three"), line("t3", "four")],
        ),
        _ => problem(404, "not_found", "There is no such app."),
    })
    .await;
    let outcome = World::at(&server.url)
        .run(&["logs", "-f", "-a", "web"])
        .await
        .refused(1, &["no such app"]);
    let texts: Vec<_> = outcome.stdout.lines().filter_map(|l| l.rsplit("| ").next()).collect();
    assert_eq!(texts, ["one", "two", "three", "four"]);
    let queries: Vec<_> = server.seen().into_iter().map(|s| s.query).collect();
    assert!(
        queries[0].contains("follow=true") && !queries[0].contains("since="),
        "{queries:?}"
    );
    assert!(queries[1].contains("since=t2"), "{queries:?}");
}

#[tokio::test]
async fn a_reader_that_has_gone_ends_the_command_quietly() {
    let server = Server::start(|_| stream("application/x-ndjson", vec![line("t1", "one")])).await;
    let mut world = World::at(&server.url);
    world.stdout_broken = true;
    let outcome = world.run(&["logs", "-f", "-a", "web"]).await.succeeded();
    assert_eq!(outcome.stderr, "");
}

#[tokio::test]
async fn a_stream_of_something_else_is_told() {
    let server = Server::start(|_| stream("text/plain", vec!["<html>\n".into()])).await;
    World::at(&server.url)
        .run(&["logs", "-a", "web"])
        .await
        .refused(1, &["not a log line"]);
}

#[tokio::test]
async fn an_empty_log_says_why_it_may_be_empty() {
    let server = Server::start(|_| stream("application/x-ndjson", Vec::new())).await;
    let world = World::at(&server.url).with("SLIPWAY_APP", "web");
    let outcome = world.run(&["logs", "--release", "v1"]).await.succeeded();
    assert_eq!(outcome.stdout, "");
    assert_eq!(
        outcome.stderr,
        "nothing was written, or the instances that wrote it are gone: logs live as long as their container\n"
    );
    for words in [&["logs", "--quiet"][..], &["logs", "-n", "0"]] {
        let outcome = world.run(words).await.succeeded();
        assert_eq!(outcome.stderr, "");
    }
}
