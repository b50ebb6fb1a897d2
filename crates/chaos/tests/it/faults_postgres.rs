//! What the proxy before a database does to round trips, and what it leaves alone.

use std::time::Duration;

use slipway_chaos::faults::postgres::{KEPT_BYTES_MAX, PostgresProxy, Upstream};
use slipway_chaos::faults::{Fault, Moment, Script};

use crate::backend::{Backend, Client};
use crate::within;

async fn start(script: Script) -> (Backend, PostgresProxy) {
    let backend = Backend::start(false).await;
    let proxy = PostgresProxy::start(Upstream::Tcp(backend.address), script).expect("a proxy");
    (backend, proxy)
}

fn log(proxy: &PostgresProxy) -> Vec<String> {
    proxy.control().log().into_iter().map(|call| call.what).collect()
}

#[tokio::test]
async fn round_trips_are_forwarded_counted_and_logged() {
    let (backend, proxy) = start(Script::new()).await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.query("select  1").await.expect("forwarded"), b"CZ");
    client.send(b'P', b"\0insert into t\0\0\0").await;
    client.send(b'B', b"\0\0").await;
    client.send(b'E', b"\0").await;
    client.send(b'S', b"").await;
    assert_eq!(within("an answer", client.answer()).await.expect("forwarded"), b"Z");
    client.send(b'X', b"").await;
    backend.ended(1).await;
    assert_eq!(backend.seen(), ["select  1", "P", "B", "E", "S", "X"]);
    assert_eq!(log(&proxy), ["select 1", "Sync after PBE: insert into t"]);
    assert_eq!(proxy.control().calls(), 2);
}

#[tokio::test]
async fn a_commit_that_is_cut_before_never_reaches_the_server() {
    let (backend, proxy) = start(Script::new().at(2, Fault::CutBefore)).await;
    let mut client = Client::connect(proxy.address()).await;
    client.query("BEGIN").await.expect("forwarded");
    assert!(client.query("COMMIT").await.is_err());
    backend.ended(1).await;
    assert_eq!(backend.seen(), ["BEGIN"]);
}

#[tokio::test]
async fn a_commit_that_is_cut_after_has_its_effect_and_no_answer() {
    let (backend, proxy) = start(Script::new().at(2, Fault::CutAfter)).await;
    let mut client = Client::connect(proxy.address()).await;
    client.query("BEGIN").await.expect("forwarded");
    client.ask("COMMIT").await;
    assert_eq!(client.rest().await, b"");
    backend.ended(1).await;
    assert_eq!(backend.seen(), ["BEGIN", "COMMIT"]);
    let mut client = Client::connect(proxy.address()).await;
    client.query("select 1").await.expect("the script names no other call");
}

#[tokio::test]
async fn of_two_queries_in_one_go_only_the_second_is_cut() {
    let (backend, proxy) = start(Script::new().at(2, Fault::CutAfter)).await;
    let mut client = Client::connect(proxy.address()).await;
    client.ask("one").await;
    client.ask("two").await;
    assert_eq!(within("an answer", client.answer()).await.expect("passed on"), b"CZ");
    assert_eq!(client.rest().await, b"");
    backend.ended(1).await;
    assert_eq!(backend.seen(), ["one", "two"]);
}

#[tokio::test]
async fn a_large_answer_that_is_cut_is_not_passed_on() {
    let (backend, proxy) = start(Script::new().at(1, Fault::CutAfter)).await;
    let mut client = Client::connect(proxy.address()).await;
    client.ask(&format!("rows {}", 2 * KEPT_BYTES_MAX)).await;
    assert_eq!(client.rest().await, b"");
    backend.ended(1).await;
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn large_messages_are_streamed_both_ways_even_when_they_are_held() {
    let (_backend, proxy) = start(Script::new()).await;
    let mut client = Client::connect(proxy.address()).await;
    let large = "x".repeat(3 * KEPT_BYTES_MAX);
    assert_eq!(client.query(&large).await.expect("forwarded"), b"CZ");
    let arrived = proxy.control().at_call(2, Moment::After);
    client.ask(&format!("rows {}", 2 * KEPT_BYTES_MAX)).await;
    let (answer, ()) = within("an answer", async {
        tokio::join!(client.answer(), async { drop(arrived.await.expect("it comes")) })
    })
    .await;
    assert_eq!(answer.expect("passed on"), b"DCZ");
}

#[tokio::test]
async fn a_call_is_held_before_it_is_forwarded_and_after_its_effect() {
    let (backend, proxy) = start(Script::new().at(3, Fault::Delay(Duration::from_millis(1)))).await;
    let mut client = Client::connect(proxy.address()).await;
    for (number, moment, seen) in [(1, Moment::Before, 0), (2, Moment::After, 2), (3, Moment::Before, 2)] {
        let arrived = proxy.control().at_call(number, moment);
        client.ask("select 1").await;
        let held = within("the call", arrived).await.expect("it comes");
        assert_eq!(held.call().number, number);
        assert_eq!(backend.seen().len(), seen);
        drop(held);
        assert_eq!(within("an answer", client.answer()).await.expect("passed on"), b"CZ");
    }
    assert_eq!(backend.seen().len(), 3);
}

#[tokio::test]
async fn a_held_call_can_be_cut_at_either_moment() {
    let (backend, proxy) = start(Script::new()).await;
    for (moment, fault, seen) in [
        (Moment::Before, Fault::CutBefore, 0),
        (Moment::After, Fault::CutAfter, 1),
    ] {
        let mut client = Client::connect(proxy.address()).await;
        let arrived = proxy.control().at_next("COMMIT", moment);
        client.ask("COMMIT").await;
        within("the call", arrived).await.expect("it comes").decide(fault);
        assert_eq!(client.rest().await, b"");
        assert_eq!(backend.seen().len(), seen);
    }
}

#[tokio::test]
async fn a_held_call_whose_client_is_gone_is_not_forwarded() {
    let (backend, proxy) = start(Script::new()).await;
    let mut client = Client::connect(proxy.address()).await;
    let arrived = proxy.control().at_call(1, Moment::Before);
    client.ask("COMMIT").await;
    let held = within("the call", arrived).await.expect("it comes");
    drop(client);
    drop(held);
    backend.ended(1).await;
    assert_eq!(backend.seen(), [""; 0]);
}

#[tokio::test]
async fn a_call_that_hangs_ends_with_its_client_and_with_the_proxy() {
    let (backend, proxy) = start(Script::new().onwards(1, Fault::Hang)).await;
    let mut clients = Vec::new();
    for number in 1..=2 {
        let mut client = Client::connect(proxy.address()).await;
        let arrived = proxy.control().at_call(number, Moment::Before);
        client.ask("select 1").await;
        drop(within("the call", arrived).await.expect("it comes"));
        clients.push(client);
    }
    drop(clients.pop());
    backend.ended(1).await;
    drop(proxy);
    let client = clients.pop().expect("the other one");
    assert_eq!(client.rest().await, b"");
    backend.ended(2).await;
    assert_eq!(backend.seen(), [""; 0]);
}

#[tokio::test]
async fn tls_and_requests_to_cancel_pass_through_unseen() {
    let backend = Backend::start(true).await;
    let proxy = PostgresProxy::start(Upstream::Tcp(backend.address), Script::new()).expect("a proxy");
    let mut client = Client::silent(proxy.address()).await;
    assert_eq!(client.ask_for_tls().await, b'S');
    assert_eq!(
        client.echo(b"Q\0\0\0\x05\0 or anything else").await,
        b"Q\0\0\0\x05\0 or anything else"
    );
    let mut client = Client::silent(proxy.address()).await;
    client.cancel().await;
    assert_eq!(client.rest().await, b"");
    assert_eq!(backend.seen(), ["cancel"]);
    assert_eq!(proxy.control().calls(), 0);
}

#[tokio::test]
async fn a_server_on_a_unix_socket_is_reached_and_one_that_is_away_closes_the_connection() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(".s.PGSQL.5432");
    let proxy = PostgresProxy::start(Upstream::Unix(path.clone()), Script::new()).expect("a proxy");
    let client = Client::silent(proxy.address()).await;
    assert_eq!(client.rest().await, b"");

    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    let mut client = Client::silent(proxy.address()).await;
    let (mut server, _) = within("a connection", listener.accept()).await.expect("accepted");
    client.cancel().await;
    let mut packet = [0; 16];
    let read = tokio::io::AsyncReadExt::read_exact(&mut server, &mut packet);
    within("the packet", read).await.expect("whole");
    assert_eq!(packet[4..8], 80_877_102_u32.to_be_bytes());
}
