//! `login` and `logout`, and which server a command goes to.

use std::os::unix::fs::PermissionsExt as _;

use axum::response::Response;

use crate::api::{Seen, Server, list, problem};
use crate::world::{World, token};

/// A server that knows one token.
fn knows_one(seen: &Seen) -> Response {
    if seen.header("authorization") == Some(&format!("Bearer {}", token())) {
        list(&[])
    } else {
        problem(401, "unauthorized", "This call needs a valid token.")
    }
}

#[tokio::test]
async fn a_login_is_stored_for_its_owner_only_and_used_from_then_on() {
    let server = Server::start(knows_one).await;
    let world = World::bare().stdin(&format!("{}\n", token()));
    let outcome = world.run(&["login", &server.url, "--token-stdin"]).await.succeeded();
    assert!(outcome.stderr.contains("logged in to"), "{outcome:?}");
    assert!(!format!("{outcome:?}").contains(&token()));
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&world.config()), 0o600);
    assert_eq!(mode(world.config().parent().expect("a folder")), 0o700);
    world.run(&["apps", "list"]).await.succeeded();
    // Logging in again needs no token while the stored one is good.
    world.stdin("").run(&["login", &server.url]).await.succeeded();
}

#[tokio::test]
async fn a_token_that_is_malformed_or_unknown_is_not_stored() {
    let server = Server::start(|_| problem(401, "unauthorized", "This call needs a valid token.")).await;
    let world = World::bare().stdin("slw_pat_mistyped");
    world
        .run(&["login", &server.url, "--token-stdin"])
        .await
        .refused(2, &["not a Slipway token"]);
    assert_eq!(server.seen().len(), 0, "a malformed token is not even sent");
    let world = world.stdin(&token());
    world
        .run(&["login", &server.url, "--token-stdin"])
        .await
        .refused(1, &["does not accept this token"]);
    assert!(!world.config().exists());
    let world = World::at(&server.url);
    world.run(&["login"]).await.refused(1, &["does not accept this token"]);
    World::bare().run(&["login"]).await.refused(2, &["which server?"]);
}

#[tokio::test]
async fn a_token_is_asked_for_on_a_terminal_and_may_be_of_narrow_scope() {
    let server = Server::start(|_| problem(403, "forbidden", "This token may not list apps.")).await;
    let mut world = World::bare();
    world.typed = Some(format!(" {} ", token()));
    world.run(&["login", &server.url]).await.succeeded();
    let stored = std::fs::read_to_string(world.config()).expect("there");
    assert!(stored.contains(&token()) && stored.contains(&server.url), "{stored}");
}

#[tokio::test]
async fn a_stored_token_goes_to_its_own_server_only() {
    let (home, other) = (Server::start(knows_one).await, Server::start(knows_one).await);
    let world = World::bare().stdin(&token());
    world.run(&["login", &home.url, "--token-stdin"]).await.succeeded();
    world
        .run(&["apps", "list", "--url", &other.url])
        .await
        .refused(1, &["not logged in", "slipway login"]);
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn logout_forgets_the_token() {
    let (one, two) = (Server::start(knows_one).await, Server::start(knows_one).await);
    let world = World::bare().stdin(&token());
    world.run(&["login", &one.url, "--token-stdin"]).await.succeeded();
    world.run(&["login", &two.url, "--token-stdin"]).await.succeeded();
    let outcome = world.run(&["logout"]).await.succeeded();
    assert!(
        outcome.stderr.contains(&format!("slipway login {}", one.url)),
        "{outcome:?}"
    );
    let stored = std::fs::read_to_string(world.config()).expect("there");
    assert!(!stored.contains(&two.url) && stored.contains(&one.url), "{stored}");
    let outcome = world.run(&["logout", &two.url]).await.succeeded();
    assert!(outcome.stderr.contains("not logged in"), "{outcome:?}");
}

#[tokio::test]
async fn on_the_server_itself_the_admin_token_is_found() {
    let server = Server::start(knows_one).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let world = World::bare().with("SLIPWAY_API_LISTEN", &address);
    std::fs::create_dir(world.path().join("data")).expect("writable");
    world.file("data/admin.token", &format!("{}\n", token()));
    world.run(&["apps", "list"]).await.succeeded();
    // Named explicitly it is still this machine.
    world.run(&["apps", "list", "--url", &server.url]).await.succeeded();
    let outcome = world.run(&["logout"]).await.succeeded();
    assert!(
        outcome.stderr.contains("go on with the admin token of this machine"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn names_below_localhost_reach_this_machine() {
    let server = Server::start(knows_one).await;
    let port = server.url.rsplit(':').next().expect("a port");
    let world = World::at(&format!("console.localhost:{port}"));
    world.run(&["apps", "list"]).await.succeeded();
}
