//! What the proxy before an engine does to calls, and what it leaves alone.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use slipway_chaos::faults::{Fault, Moment, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::engine::{World, request};
use crate::within;

#[tokio::test]
async fn what_no_script_names_is_forwarded_counted_and_logged() {
    let world = World::start(Script::new());
    let (status, said) = within("an answer", world.call("POST", "/containers/create?name=a", "{}"))
        .await
        .expect("forwarded");
    assert_eq!((status, said.as_str()), (200, "did /containers/create {}"));
    within("an answer", world.call("GET", "/_ping", ""))
        .await
        .expect("forwarded");
    assert_eq!(world.seen(), ["POST /containers/create {}", "GET /_ping"]);
    let control = world.proxy.control();
    let log: Vec<String> = control.log().iter().map(ToString::to_string).collect();
    assert_eq!(log, ["call 1: POST /containers/create?name=a", "call 2: GET /_ping"]);
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn a_call_that_is_cut_before_has_no_effect_and_one_that_is_cut_after_has_it_once() {
    let world = World::start(Script::new().at(1, Fault::CutBefore).at(2, Fault::CutAfter));
    let cut = within("the cut", world.call("POST", "/one", "x")).await;
    assert!(cut.is_err(), "{cut:?}");
    assert_eq!(world.seen(), [""; 0]);
    let cut = within("the cut", world.call("POST", "/two", "x")).await;
    assert!(cut.is_err(), "{cut:?}");
    assert_eq!(world.seen(), ["POST /two x"]);
    within("an answer", world.call("POST", "/three", "x"))
        .await
        .expect("forwarded");
    assert_eq!(world.seen(), ["POST /two x", "POST /three x"]);
}

#[tokio::test]
async fn a_status_is_answered_by_the_proxy_and_a_delay_only_delays() {
    let script = Script::new()
        .at(1, Fault::Status(500))
        .at(2, Fault::Delay(Duration::from_millis(1)));
    let world = World::start(script);
    let (status, said) = within("an answer", world.call("POST", "/one", "x"))
        .await
        .expect("answered");
    assert_eq!(status, 500);
    assert!(said.contains("\"message\""), "{said}");
    let (status, _) = within("an answer", world.call("GET", "/two", ""))
        .await
        .expect("forwarded");
    assert_eq!(status, 200);
    assert_eq!(world.seen(), ["GET /two"]);
}

#[tokio::test]
async fn another_script_is_in_force_for_the_calls_to_come() {
    let world = World::start(Script::new().onwards(1, Fault::CutBefore));
    assert!(within("the cut", world.call("GET", "/one", "")).await.is_err());
    world.proxy.control().follow(Script::new());
    within("an answer", world.call("GET", "/two", ""))
        .await
        .expect("forwarded");
    assert_eq!(world.seen(), ["GET /two"]);
}

#[tokio::test]
async fn a_call_that_hangs_ends_with_the_proxy() {
    let mut world = World::start(Script::new().onwards(1, Fault::Hang));
    let mut client = world.client().await;
    let arrived = world.proxy.control().at_call(1, Moment::Before);
    let hanging = client.send_request(request("POST", "/one", "x"));
    let replaced = World::start(Script::new());
    let ended = async {
        drop(within("the call", arrived).await.expect("it comes"));
        drop(std::mem::replace(&mut world.proxy, replaced.proxy));
    };
    let (answer, ()) = within("the end", async { tokio::join!(hanging, ended) }).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(world.seen(), [""; 0]);
}

#[tokio::test]
async fn a_call_is_held_before_it_is_forwarded() {
    let world = World::start(Script::new());
    let arrived = world.proxy.control().at_call(1, Moment::Before);
    let held = async {
        let held = within("the call", arrived).await.expect("it comes");
        assert_eq!(held.call().what, "POST /one");
        assert_eq!(world.seen(), [""; 0]);
    };
    let (answer, ()) = within("an answer", async {
        tokio::join!(world.call("POST", "/one", "x"), held)
    })
    .await;
    assert_eq!(answer.expect("forwarded").0, 200);
    assert_eq!(world.seen(), ["POST /one x"]);
}

#[tokio::test]
async fn a_call_is_held_after_its_effect_and_can_be_cut_then() {
    let world = World::start(Script::new());
    for (number, fault) in [(1, None), (2, Some(Fault::CutAfter)), (3, Some(Fault::Status(504)))] {
        let path = format!("/{number}");
        let arrived = world.proxy.control().at_next(&path, Moment::After);
        let held = async {
            let held = within("the call", arrived).await.expect("it comes");
            assert_eq!(world.seen().last(), Some(&format!("POST {path} x")));
            if let Some(fault) = fault {
                held.decide(fault);
            }
        };
        let call = world.call("POST", &path, "x");
        let (answer, ()) = within("an answer", async { tokio::join!(call, held) }).await;
        match number {
            1 => assert_eq!(answer.expect("passed on"), (200, "did /1 x".to_owned())),
            2 => assert!(answer.is_err(), "{answer:?}"),
            _ => assert_eq!(answer.expect("answered").0, 504),
        }
    }
    assert_eq!(world.seen().len(), 3);
}

#[tokio::test]
async fn a_held_call_whose_client_is_gone_is_not_forwarded() {
    let world = World::start(Script::new());
    let arrived = world.proxy.control().at_call(1, Moment::Before);
    let mut client = UnixStream::connect(world.socket()).await.expect("a connection");
    let request = b"POST /one HTTP/1.1\r\nhost: engine\r\ncontent-length: 1\r\n\r\nx";
    client.write_all(request).await.expect("written");
    let held = within("the call", arrived).await.expect("it comes");
    drop(client);
    drop(held);
    within("an answer", world.call("GET", "/two", ""))
        .await
        .expect("forwarded");
    assert_eq!(world.seen(), ["GET /two"]);
}

#[tokio::test]
async fn an_endless_answer_flows_and_can_be_held_and_cut_by_its_head() {
    let world = World::start(Script::new().at(2, Fault::CutAfter));
    let mut client = world.client().await;
    let response = within("a head", client.send_request(request("GET", "/events", ""))).await;
    let mut body = response.expect("forwarded").into_body();
    for event in ["one", "two"] {
        world
            .events
            .send(Bytes::from_static(event.as_bytes()))
            .await
            .expect("the engine listens");
        let frame = within("an event", body.frame())
            .await
            .expect("not the end")
            .expect("whole");
        assert_eq!(frame.into_data().expect("data"), event);
    }
    assert!(within("the cut", world.call("GET", "/events", "")).await.is_err());
}

#[tokio::test]
async fn a_connection_that_switches_protocols_is_joined() {
    let world = World::start(Script::new());
    let mut client = world.client().await;
    let mut attach = request("POST", "/containers/a/attach?stdin=1", "");
    for (name, value) in [("connection", "Upgrade"), ("upgrade", "tcp")] {
        attach.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let response = within("a head", client.send_request(attach)).await.expect("forwarded");
    assert_eq!(response.status(), 101);
    let upgraded = within("the switch", hyper::upgrade::on(response))
        .await
        .expect("switched");
    let mut stream = TokioIo::new(upgraded);
    for word in [b"one", b"two"] {
        stream.write_all(word).await.expect("written");
        let mut back = [0; 3];
        within("the echo", stream.read_exact(&mut back)).await.expect("whole");
        assert_eq!(&back, word);
    }
}

#[tokio::test]
async fn without_an_engine_the_connection_is_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (socket, nobody) = (dir.path().join("proxy.sock"), dir.path().join("nobody.sock"));
    let proxy = slipway_chaos::faults::http::HttpProxy::start(&socket, &nobody, Script::new()).expect("a proxy");
    let mut client = UnixStream::connect(&socket).await.expect("a connection");
    client
        .write_all(b"GET /_ping HTTP/1.1\r\nhost: engine\r\n\r\n")
        .await
        .expect("written");
    let mut said = Vec::new();
    within("the end", client.read_to_end(&mut said)).await.expect("closed");
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert_eq!(proxy.control().calls(), 1);
    drop(proxy);
    assert!(!socket.exists());
}
