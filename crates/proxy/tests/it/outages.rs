//! The control plane away, the proxy restarted, the proxy told to stop.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use slipway_domain::generation::RouteVersion;

use crate::apps;
use crate::client::{Speak, request};
use crate::world::{Scene, World, mode, within};

const NAME: &str = "web.apps.localhost";

async fn await_ready(world: &World) {
    within("readiness", async {
        while world.client.admin("/readyz").await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn it_serves_on_and_restarts_from_disk_while_the_control_plane_is_away() {
    let app = apps::polite("web1").await;
    let scene = Scene::new().serving("web", &[app.upstream()]);
    let mut world = World::start(&scene).await;
    world.control.stop();
    assert_eq!(world.client.get(NAME, "/").await.text(), "web1");
    world.restart().await;
    await_ready(&world).await;
    assert_eq!(world.client.get(NAME, "/").await.text(), "web1");
    let state = world.state_dir();
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("snapshot.json")), 0o600);
    for entry in std::fs::read_dir(state.join("certificates")).expect("a directory") {
        assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
    }
    // Back again, with something newer.
    let later = apps::polite("web2").await;
    world.control.forget_acks();
    world.control.start();
    world.show(&scene.next().serving("web", &[later.upstream()])).await;
    assert_eq!(world.client.get(NAME, "/").await.text(), "web2");
}

#[tokio::test]
async fn an_older_snapshot_is_not_applied_and_the_version_in_force_is_told() {
    let (old, new) = (apps::polite("old").await, apps::polite("new").await);
    let mut scene = Scene::new().serving("web", &[new.upstream()]);
    scene.snapshot.version = RouteVersion(7);
    let mut world = World::start(&scene).await;
    world.control.stop();
    let mut restored = Scene::new().serving("web", &[old.upstream()]);
    restored.snapshot.version = RouteVersion(3);
    world.control.publish(restored.snapshot);
    world.control.forget_acks();
    world.control.start();
    within("the refusal", async {
        let refused = "slipway_proxy_snapshots_refused_total{why=\"older\"} 1";
        while !world.client.admin("/metrics").await.text().contains(refused) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let ack = world.control.acknowledged("an ack after the reconnect", |_| true).await;
    assert_eq!(ack.applied, RouteVersion(7));
    assert_eq!(world.client.get(NAME, "/").await.text(), "new");
}

#[tokio::test]
async fn it_is_not_ready_before_the_first_snapshot() {
    let mut world = World::start(&Scene::new()).await;
    assert_eq!(world.client.admin("/readyz").await.status, StatusCode::OK);
    world.control.stop();
    std::fs::remove_file(world.state_dir().join("snapshot.json")).expect("removed");
    world.restart().await;
    assert_eq!(
        world.client.admin("/readyz").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(world.client.admin("/healthz").await.status, StatusCode::OK);
    assert!(world.client.tls(NAME, Speak::H1).await.is_err());
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_is_under_way() {
    let app = apps::polite("web1").await;
    let mut world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    let mut h2 = world.client.h2::<Full<Bytes>>(NAME).await;
    let mut h1 = world.client.h1::<Full<Bytes>>(NAME).await;
    let over_h2 = h2.send_request(request(Method::GET, &format!("https://{NAME}/wait"), &[], ""));
    let over_h1 = h1.send_request(request(Method::GET, "/wait", &[("host", NAME)], ""));
    let stop = async {
        within("both requests", async {
            while app.seen() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        world.tell_to_stop();
        within("the listener to close", async {
            while tokio::net::TcpStream::connect(world.client.https).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        app.release.notify_waiters();
    };
    let (over_h2, over_h1, ()) = tokio::join!(over_h2, over_h1, stop);
    let over_h1 = over_h1.expect("an answer");
    assert_eq!(
        over_h1.headers().get("connection").and_then(|v| v.to_str().ok()),
        Some("close")
    );
    for answer in [over_h2.expect("an answer"), over_h1] {
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            answer.into_body().collect().await.expect("whole").to_bytes(),
            "web1 waited"
        );
    }
    drop((h1, h2));
    world.stopped().await;
}

#[tokio::test]
async fn the_drain_has_a_deadline() {
    let app = apps::polite("web1").await;
    let limits = slipway_proxy::ProxyLimits {
        drain_ms_max: 300,
        ..Default::default()
    };
    let mut world = World::start_with(&Scene::new().serving("web", &[app.upstream()]), limits, &[]).await;
    let mut h1 = world.client.h1::<Full<Bytes>>(NAME).await;
    let never = h1.send_request(request(Method::GET, "/never", &[("host", NAME)], ""));
    let stop = async {
        within("the request", async {
            while app.seen() < 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        world.tell_to_stop();
        world.stopped().await;
    };
    let (never, ()) = tokio::join!(never, stop);
    assert!(never.is_err());
}
