//! Answers that stay open: event streams and `WebSocket` connections.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use slipway_domain::routing::Upstream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::apps;
use crate::client::Speak;
use crate::world::{Scene, World, within};

const NAME: &str = "web.apps.localhost";

#[tokio::test]
async fn each_event_arrives_when_it_is_sent() {
    let app = apps::polite("web1").await;
    let limits = slipway_proxy::ProxyLimits {
        body_idle_ms_max: 200,
        ..Default::default()
    };
    let world = World::start_with(&Scene::new().serving("web", &[app.upstream()]), limits, &[]).await;
    let request = Request::get(format!("https://{NAME}/events"))
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let answer = within("the head", async {
        world.client.h2(NAME).await.send_request(request).await
    })
    .await;
    let mut body = answer.expect("an answer").into_body();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        // Longer than any other body may be silent.
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        app.events.send(event.into()).await.expect("somebody listens");
        let frame = within(event, body.frame()).await.expect("a frame").expect("whole");
        assert_eq!(frame.into_data().expect("data"), event);
    }
}

async fn websocket(world: &World) -> WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let stream = world.client.tls(NAME, Speak::H1).await.expect("TLS");
    let (socket, response) = within(
        "the switch",
        Box::pin(client_async(format!("wss://{NAME}/chat"), stream)),
    )
    .await
    .expect("a WebSocket");
    assert_eq!(response.status().as_u16(), 101);
    socket
}

async fn echoes<S>(socket: &mut WebSocketStream<S>, text: &str)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    socket.send(Message::text(text)).await.expect("sent");
    let back = within("the echo", socket.next())
        .await
        .expect("open")
        .expect("a message");
    assert_eq!(back.into_text().expect("text").as_str(), text);
}

#[tokio::test]
async fn websockets_pass_and_a_change_to_another_app_leaves_them_alone() {
    let instance: Upstream = apps::websocket("ws1").await;
    let (blog, later) = (apps::polite("blog1").await, apps::polite("blog2").await);
    let scene = Scene::new()
        .serving("web", std::slice::from_ref(&instance))
        .serving("blog", &[blog.upstream()]);
    let world = World::start(&scene).await;
    let mut socket = Box::pin(websocket(&world)).await;
    echoes(&mut socket, "hello").await;
    let scene = scene.next().serving("blog", &[later.upstream()]);
    world.show(&scene).await;
    assert_eq!(world.client.get("blog.apps.localhost", "/").await.text(), "blog2");
    echoes(&mut socket, &"long ".repeat(20_000)).await;
    // Even its own instance's removal only makes it drain.
    world.show(&scene.next().serving("web", &[])).await;
    echoes(&mut socket, "still here").await;
    world
        .control
        .acknowledged("ws1 drains", |ack| ack.draining == ["ws1"])
        .await;
    world.control.forget_acks();
    socket.close(None).await.expect("closed");
    drop(socket);
    world
        .control
        .acknowledged("ws1 is gone", |ack| ack.draining.is_empty())
        .await;
}

#[tokio::test]
async fn a_switch_nobody_asked_for_is_the_apps_error() {
    let says = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let (instance, _) = apps::blunt("web1", says).await;
    let world = World::start(&Scene::new().serving("web", &[instance])).await;
    assert_eq!(world.client.get(NAME, "/").await.status.as_u16(), 502);
}
