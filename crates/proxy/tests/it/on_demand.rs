//! Names that nobody added and that visitors come with.

use http::StatusCode;

use crate::apps;
use crate::client::Speak;
use crate::world::{Scene, World, within};

#[tokio::test]
async fn the_first_visitor_of_a_name_that_an_app_wants_waits_for_its_certificate() {
    let web = apps::polite("web1").await;
    let scene = Scene::new().serving("web", &[web.upstream()]).on_demand();
    let mut world = World::start(&scene).await;
    world.control.wants("shop.example.com");
    world.certify(&["shop.example.com"]);
    let (first, second) = tokio::join!(
        async {
            tokio::join!(
                world.client.get("shop.example.com", "/"),
                world.client.get("shop.example.com", "/")
            )
        },
        async {
            world.control.is_asked_for("shop.example.com").await;
            world.show(&scene.clone().also("shop.example.com").next()).await;
        }
    );
    for answer in [first.0, first.1] {
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "web1"));
    }
    let () = second;
    assert_eq!(world.control.asked(), ["shop.example.com"], "once for all who wait");
    let metrics = world.client.admin("/metrics").await;
    let counted = "slipway_proxy_on_demand_names_total{outcome=\"served\"} 2";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test]
async fn what_nobody_wants_is_refused_and_not_asked_for_again() {
    let web = apps::polite("web1").await;
    let scene = Scene::new().serving("web", &[web.upstream()]);
    let world = World::start(&scene).await;
    let visit = async |name: &str| {
        let error = within(name, world.client.tls(name, Speak::H1))
            .await
            .expect_err("refused");
        assert!(error.to_string().to_lowercase().contains("unrecogni"), "{error}");
    };
    visit("shop.example.com").await;
    assert!(world.control.asked().is_empty(), "no app may have such names");
    world.show(&scene.on_demand().next()).await;
    for _ in 0..3 {
        visit("shop.example.com").await;
    }
    assert_eq!(world.control.asked(), ["shop.example.com"]);
}

#[tokio::test]
async fn a_control_plane_that_is_away_refuses_nobody_for_longer_than_it_is_away() {
    let web = apps::polite("web1").await;
    let scene = Scene::new().serving("web", &[web.upstream()]).on_demand();
    let mut world = World::start(&scene).await;
    world.control.stop();
    let refused = within("a refusal", world.client.tls("shop.example.com", Speak::H1)).await;
    assert!(refused.is_err());
    world.control.wants("shop.example.com");
    world.control.start();
    world.certify(&["shop.example.com"]);
    let (answer, ()) = tokio::join!(world.client.get("shop.example.com", "/"), async {
        world.control.is_asked_for("shop.example.com").await;
        world.show(&scene.clone().also("shop.example.com").next()).await;
    });
    assert_eq!(answer.status, StatusCode::OK);
}

/// S-52: a flood of names that nobody has.
#[tokio::test]
async fn s52_ten_thousand_names_are_asked_for_at_the_pace_of_one_address_and_harm_no_visitor() {
    let web = apps::polite("web1").await;
    let scene = Scene::new().serving("web", &[web.upstream()]).on_demand();
    let world = World::start(&scene).await;
    let world = &world;
    let flood = async {
        for batch in 0..100 {
            let visits = (0..100).map(|n| async move {
                let name = format!("n{batch}x{n}.example.com");
                assert!(world.client.tls(&name, Speak::H1).await.is_err(), "{name}");
            });
            futures_util::future::join_all(visits).await;
        }
    };
    let visitor = async {
        let mut answered = 0;
        while answered < 200 {
            let answer = world.client.get("web.apps.localhost", "/").await;
            assert_eq!(answer.status, StatusCode::OK);
            answered += 1;
        }
    };
    tokio::join!(flood, visitor);
    let asked = world.control.asked().len();
    assert!((1..=30).contains(&asked), "{asked} names were asked for");
}
