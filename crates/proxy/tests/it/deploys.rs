//! Deploys as the proxy sees them: instances come and go while requests run.

use http::{Method, StatusCode};
use slipway_domain::ReleaseNumber;
use slipway_domain::routing::{GroupRoute, RouteState};

use crate::apps;
use crate::client::{Speak, request};
use crate::world::{LIMITS, Scene, World, within};

const NAME: &str = "web.apps.localhost";

#[tokio::test]
async fn a_removed_instance_finishes_its_requests_and_is_acknowledged_as_draining() {
    let (old, new) = (apps::polite("old").await, apps::polite("new").await);
    let scene = Scene::new().serving("web", &[old.upstream()]);
    let world = World::start(&scene).await;
    let slow = world.client.get(NAME, "/wait");
    let deploy = async {
        old.waiting.notified().await;
        let version = scene.clone().next().snapshot.version;
        world
            .show(&scene.clone().next().serving("web", &[new.upstream()]))
            .await;
        let ack = world
            .control
            .acknowledged("old drains", |ack| ack.applied == version)
            .await;
        assert_eq!(ack.draining, ["old"]);
        for _ in 0..20 {
            assert_eq!(world.client.get(NAME, "/").await.text(), "new");
        }
        world.control.forget_acks();
        old.release.notify_one();
        world
            .control
            .acknowledged("old is done", |ack| ack.draining.is_empty())
            .await;
    };
    let (slow, ()) = within("both", Box::pin(async { tokio::join!(slow, deploy) })).await;
    assert_eq!((slow.status, slow.text()), (StatusCode::OK, "old waited"));
    assert_eq!(old.seen(), 1);
}

#[tokio::test]
async fn no_request_is_lost_while_instances_are_swapped() {
    let apps: Vec<apps::App> = vec![apps::polite("a").await, apps::polite("b").await];
    let mut scene = Scene::new().serving("web", &[apps[0].upstream()]);
    let world = World::start(&scene).await;
    let done = tokio_util::sync::CancellationToken::new();
    let load = async {
        let mut sent = 0;
        let mut connection = world.client.h1::<http_body_util::Full<bytes::Bytes>>(NAME).await;
        while !done.is_cancelled() {
            let request = request(Method::POST, "/digest", &[("host", NAME)], "abc");
            let answer = within("an answer", connection.send_request(request))
                .await
                .expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK, "request {sent}");
            http_body_util::BodyExt::collect(answer.into_body())
                .await
                .expect("whole");
            connection.ready().await.expect("the connection stays");
            sent += 1;
        }
        sent
    };
    let deploys = async {
        for n in 1..=20 {
            let next = &apps[n % 2];
            let before = next.seen();
            scene = scene.clone().next().serving("web", &[next.upstream()]);
            world.show(&scene).await;
            within("a request to the new instance", async {
                while next.seen() == before {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            })
            .await;
        }
        done.cancel();
    };
    let (sent, ()) = tokio::join!(load, deploys);
    assert!(sent >= 20, "{sent}");
    assert!(apps.iter().all(|app| app.seen() > 0));
}

#[tokio::test]
async fn two_releases_share_traffic_by_weight() {
    let (old, new) = (apps::polite("old").await, apps::polite("new").await);
    let mut scene = Scene::new().serving("web", &[]);
    let group = |release, weight, app: &apps::App| GroupRoute {
        release: ReleaseNumber(release),
        weight,
        instances: vec![app.upstream()],
    };
    scene.snapshot.environments[0].groups = vec![group(1, 80, &old), group(2, 20, &new)];
    let world = World::start(&scene).await;
    let mut connection = world.client.h1::<http_body_util::Full<bytes::Bytes>>(NAME).await;
    for _ in 0..400 {
        let request = request(Method::GET, "/", &[("host", NAME)], "");
        let answer = connection.send_request(request).await.expect("an answer");
        http_body_util::BodyExt::collect(answer.into_body())
            .await
            .expect("whole");
        connection.ready().await.expect("the connection stays");
    }
    assert_eq!(old.seen() + new.seen(), 400);
    assert!((30..150).contains(&new.seen()), "{}", new.seen());
}

#[tokio::test]
async fn a_held_request_is_served_once_the_app_serves() {
    let app = apps::polite("web1").await;
    let scene = Scene::new().app("web", RouteState::Asleep, &[], LIMITS);
    let world = World::start(&scene).await;
    let held = world.client.get(NAME, "/");
    let wake = async {
        world.is_asked_for_web().await;
        world
            .show(&scene.clone().next().serving("web", &[app.upstream()]))
            .await;
    };
    let (held, ()) = tokio::join!(held, wake);
    assert_eq!((held.status, held.text()), (StatusCode::OK, "web1"));
}

#[tokio::test]
async fn a_held_request_does_not_wait_for_ever() {
    let limits = slipway_proxy::ProxyLimits {
        hold_ms_max: 200,
        ..Default::default()
    };
    let scene = Scene::new().app("web", RouteState::Holding, &[], LIMITS);
    let world = World::start_with(&scene, limits, &[]).await;
    let answer = world.client.get(NAME, "/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_request_that_finds_nobody_waits_for_word_and_goes_where_it_is_told() {
    let app = apps::polite("web2").await;
    let (hole, _full) = apps::black_hole("web1").await;
    for gone in [apps::nobody("web1").await, hole] {
        let scene = Scene::new().serving("web", std::slice::from_ref(&gone));
        let world = World::start(&scene).await;
        // With a body: nothing of it was sent, so nothing speaks against sending it elsewhere.
        let upload = request(Method::POST, "/digest", &[], "abc");
        let asked = world.client.send(Speak::H1, NAME, upload);
        let news = async {
            world.is_asked_for_web().await;
            let held = scene.clone().next().app("web", RouteState::Holding, &[], LIMITS);
            world.show(&held).await;
            world.show(&held.next().serving("web", &[app.upstream()])).await;
        };
        let (answer, ()) = tokio::join!(asked, news);
        assert_eq!(answer.status, StatusCode::OK, "{gone:?}: {}", answer.text());
        assert!(answer.text().starts_with("3 "), "the body came along");
    }
}

#[tokio::test]
async fn an_instance_that_is_back_a_moment_later_is_found_without_any_word() {
    let gone = apps::nobody("web1").await;
    let world = World::start(&Scene::new().serving("web", std::slice::from_ref(&gone))).await;
    let upload = request(Method::POST, "/digest", &[], "abc");
    let asked = world.client.send(Speak::H1, NAME, upload);
    let back = async {
        world.is_asked_for_web().await;
        apps::polite_at("web1", gone.address).await
    };
    let (answer, app) = tokio::join!(asked, back);
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(app.seen(), 1);
}
