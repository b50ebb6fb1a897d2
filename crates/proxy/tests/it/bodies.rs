//! Bodies: large, streamed, limited, expected.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use sha2::{Digest as _, Sha256};
use slipway_domain::routing::{Limits, RouteState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::apps;
use crate::client::{Speak, request};
use crate::world::{LIMITS, Scene, World, within};

const NAME: &str = "web.apps.localhost";
const PIECE: usize = 64 * 1024;

type Pieces = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// So many pieces, each different.
fn pieces(count: usize) -> StreamBody<Pieces> {
    let stream = futures_util::stream::iter(0..count).map(|n| {
        let byte = u8::try_from(n % 251).expect("below 251");
        Ok(Frame::data(Bytes::from(vec![byte; PIECE])))
    });
    StreamBody::new(Box::pin(stream))
}

fn digest(count: usize) -> String {
    let mut hasher = Sha256::new();
    for n in 0..count {
        hasher.update(vec![u8::try_from(n % 251).expect("below 251"); PIECE]);
    }
    format!("{} {:x?}", count * PIECE, hasher.finalize().as_slice())
}

#[tokio::test]
async fn fifty_mebibytes_go_up_unchanged_over_both_protocols() {
    let app = apps::polite("web1").await;
    let world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    let count = 50 * 1024 * 1024 / PIECE;
    let h1 = Request::post("/digest")
        .header("host", NAME)
        .body(pieces(count))
        .expect("a request");
    let answer = within("h1", async { world.client.h1(NAME).await.send_request(h1).await })
        .await
        .expect("an answer");
    let body = within("h1 body", answer.into_body().collect())
        .await
        .expect("whole")
        .to_bytes();
    assert_eq!(body, digest(count));
    let h2 = Request::post(format!("https://{NAME}/digest"))
        .body(pieces(count))
        .expect("a request");
    let answer = within("h2", async { world.client.h2(NAME).await.send_request(h2).await })
        .await
        .expect("an answer");
    let body = within("h2 body", answer.into_body().collect())
        .await
        .expect("whole")
        .to_bytes();
    assert_eq!(body, digest(count));
}

#[tokio::test]
async fn a_body_comes_back_while_it_is_still_being_sent() {
    let app = apps::polite("web1").await;
    let world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((Ok::<_, Infallible>(Frame::data(receiver.recv().await?)), receiver))
    });
    let request = Request::post(format!("https://{NAME}/echo"))
        .body(StreamBody::new(Box::pin(stream)))
        .expect("a request");
    sender.send("one".into()).await.expect("room");
    let answer = within("the head", async {
        world.client.h2(NAME).await.send_request(request).await
    })
    .await;
    let mut body = answer.expect("an answer").into_body();
    for piece in ["one", "two", "three"] {
        if piece != "one" {
            sender.send(piece.into()).await.expect("room");
        }
        let frame = within(piece, body.frame()).await.expect("a frame").expect("whole");
        assert_eq!(frame.into_data().expect("data"), piece);
    }
    drop(sender);
    let rest = within("the end", body.collect()).await.expect("whole").to_bytes();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_by_length_and_by_count() {
    let app = apps::polite("web1").await;
    let limits = Limits {
        body_bytes_max: 100_000,
        ..LIMITS
    };
    let world = World::start(&Scene::new().app("web", RouteState::Serving, &[app.upstream()], limits)).await;
    for speak in [Speak::H1, Speak::H2] {
        let fits = request(Method::POST, "/digest", &[], vec![1; 100_000]);
        assert_eq!(
            world.client.send(speak, NAME, fits).await.status,
            StatusCode::OK,
            "{speak:?}"
        );
        let declared = request(
            Method::POST,
            "/digest",
            &[("accept", "application/json")],
            vec![1; 100_001],
        );
        let answer = world.client.send(speak, NAME, declared).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{speak:?}");
        assert_eq!(answer.json()["code"], "body_too_large");
    }
    let seen = app.seen();
    assert_eq!(seen, 2, "a declared length beyond the limit never reaches the app");
    let streamed = Request::post("/digest")
        .header("host", NAME)
        .body(pieces(16))
        .expect("a request");
    let answer = within("an answer", async {
        world.client.h1(NAME).await.send_request(streamed).await
    })
    .await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_to_continue_is() {
    let app = apps::polite("web1").await;
    let world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    let mut stream = world.client.tls(NAME, Speak::H1).await.expect("TLS");
    let head = format!(
        "POST /echo HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut buffer = [0; 1024];
    let read = within("the go-ahead", stream.read(&mut buffer)).await.expect("read");
    assert!(
        buffer[..read].starts_with(b"HTTP/1.1 100"),
        "{}",
        String::from_utf8_lossy(&buffer[..read])
    );
    stream.write_all(b"hello").await.expect("written");
    let mut rest = Vec::new();
    let _ = within("the answer", stream.read_to_end(&mut rest)).await;
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains("HTTP/1.1 200") && rest.contains("hello"), "{rest}");
}

#[tokio::test]
async fn an_upload_that_stops_is_given_up() {
    let app = apps::polite("web1").await;
    let limits = slipway_proxy::ProxyLimits {
        body_idle_ms_max: 300,
        ..Default::default()
    };
    let world = World::start_with(&Scene::new().serving("web", &[app.upstream()]), limits, &[]).await;
    let head = format!("POST /digest HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 10\r\n\r\nabc");
    let answer = world.client.raw(NAME, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn an_app_that_answers_an_upload_early_and_hangs_up_is_heard_all_the_same() {
    // It reads the head and a little of the body; closing with the rest unread makes its kernel reset the connection.
    let says = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much";
    let (instance, _) = apps::blunt("full", says).await;
    let world = World::start(&Scene::new().serving("web", &[instance])).await;
    let upload = 8 * 1024 * 1024;
    let head = format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {upload}\r\nConnection: close\r\n\r\n");
    let bytes = [head.into_bytes(), vec![1; upload]].concat();
    for n in 0..20 {
        let answer = world.client.raw(NAME, &bytes).await;
        assert!(
            answer.starts_with("HTTP/1.1 413") && answer.ends_with("too much"),
            "{n}: {answer}"
        );
        let h2 = request(Method::POST, "/", &[], vec![1; upload]);
        let answer = world.client.send(Speak::H2, NAME, h2).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{n}");
        assert_eq!(answer.text(), "too much", "{n}");
    }
}
