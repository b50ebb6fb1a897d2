//! Which name leads where: TLS by name, routing by host, redirects, challenges.

use http::{Method, StatusCode, Version};
use slipway_domain::routing::{NamePolicy, RouteState};

use crate::apps;
use crate::client::{Speak, request};
use crate::world::{LIMITS, Scene, World};

#[tokio::test]
async fn each_name_leads_to_its_app_over_both_protocols() {
    let (web, blog) = (apps::polite("web1").await, apps::polite("blog1").await);
    let world = World::start(
        &Scene::new()
            .serving("web", &[web.upstream()])
            .serving("blog", &[blog.upstream()]),
    )
    .await;
    for (speak, version) in [(Speak::H1, Version::HTTP_11), (Speak::H2, Version::HTTP_2)] {
        for (name, expected) in [("web.apps.localhost", "web1"), ("blog.apps.localhost", "blog1")] {
            let answer = world.client.send(speak, name, request(Method::GET, "/", &[], "")).await;
            assert_eq!(
                (answer.status, answer.text()),
                (StatusCode::OK, expected),
                "{speak:?} {name}"
            );
            assert_eq!(answer.version, version);
            assert!(answer.header("x-request-id").starts_with("req_"));
        }
    }
    let target = world.client.get("web.apps.localhost", "/target?a=b&c=%20d").await;
    assert_eq!(target.status, StatusCode::OK);
    assert_eq!(target.text(), "/target?a=b&c=%20d");
}

#[tokio::test]
async fn an_unknown_name_below_the_base_domain_gets_a_page_saying_so() {
    let world = World::start(&Scene::new()).await;
    let page = world.client.get("nobody.apps.localhost", "/").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text().contains("No such app"), "{}", page.text());
    let json = request(Method::GET, "/", &[("accept", "application/json")], "");
    let problem = world.client.send(Speak::H2, "nobody.apps.localhost", json).await;
    assert_eq!(problem.header("content-type"), "application/problem+json");
    let body = problem.json();
    assert_eq!(
        (body["status"].as_u64(), body["code"].as_str()),
        (Some(404), Some("no_such_app"))
    );
    assert_eq!(body["request_id"].as_str(), Some(problem.header("x-request-id")));
    for member in ["type", "title", "detail"] {
        assert!(body[member].is_string(), "{member}: {body}");
    }
}

#[tokio::test]
async fn any_other_unknown_name_fails_the_handshake() {
    let world = World::start(&Scene::new()).await;
    for name in ["shop.example.com", "a.b.apps.localhost", "apps.localhost"] {
        let error = world
            .client
            .tls(name, Speak::H1)
            .await
            .expect_err("refused")
            .to_string();
        assert!(error.to_lowercase().contains("unrecogni"), "{name}: {error}");
    }
    // An address instead of a name sends no name at all.
    assert!(world.client.tls("127.0.0.1", Speak::H1).await.is_err());
}

#[tokio::test]
async fn a_name_outside_the_connections_certificate_is_misdirected() {
    let api = apps::polite("api").await;
    let web = apps::polite("web1").await;
    let scene = Scene::new()
        .serving("web", &[web.upstream()])
        .api("console.test", api.address);
    let world = World::start(&scene).await;
    for speak in [Speak::H1, Speak::H2] {
        let headers = [("host", "console.test")];
        let answer = world
            .client
            .send(speak, "web.apps.localhost", request(Method::GET, "/", &headers, ""))
            .await;
        assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{speak:?}");
        let headers = [("host", "other.apps.localhost")];
        let answer = world
            .client
            .send(speak, "web.apps.localhost", request(Method::GET, "/", &headers, ""))
            .await;
        assert_eq!(
            answer.status,
            StatusCode::NOT_FOUND,
            "{speak:?}: covered by the wildcard, but no app"
        );
    }
    assert_eq!(api.seen(), 0);
    assert_eq!(world.client.get("console.test", "/").await.text(), "api");
}

#[tokio::test]
async fn plain_http_redirects_known_names_and_answers_challenges() {
    let web = apps::polite("web1").await;
    let mut scene = Scene::new().serving("web", &[web.upstream()]);
    scene
        .snapshot
        .challenges
        .insert("token-1".into(), "token-1.thumbprint".into());
    let world = World::start(&scene).await;
    let answer = world.client.get_plain("web.apps.localhost", "/a/b?c=d").await;
    assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT);
    let port = world.client.https.port();
    assert_eq!(
        answer.header("location"),
        format!("https://web.apps.localhost:{port}/a/b?c=d")
    );
    assert_eq!(
        world.client.get_plain("nobody.apps.localhost", "/").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        world.client.get_plain("shop.example.com", "/").await.status,
        StatusCode::NOT_FOUND
    );
    // Validation comes for names that have no route yet, too.
    let challenge = world
        .client
        .get_plain("shop.example.com", "/.well-known/acme-challenge/token-1")
        .await;
    assert_eq!(
        (challenge.status, challenge.text()),
        (StatusCode::OK, "token-1.thumbprint")
    );
    let other = world
        .client
        .get_plain("shop.example.com", "/.well-known/acme-challenge/token-2")
        .await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    assert_eq!(web.seen(), 0);
}

#[tokio::test]
async fn a_renewed_or_added_certificate_is_used_without_a_restart() {
    let web = apps::polite("web1").await;
    let mut scene = Scene::new().serving("web", &[web.upstream()]);
    let mut world = World::start(&scene).await;
    assert!(world.client.tls("shop.test", Speak::H1).await.is_err());
    world.certify(&["shop.test"]);
    let id = scene.snapshot.environments[0].id;
    scene.snapshot.hosts.insert(crate::world::host("shop.test").into(), id);
    world.show(&scene.clone().next()).await;
    assert_eq!(world.client.get("shop.test", "/").await.text(), "web1");
    assert_eq!(world.client.get("web.apps.localhost", "/").await.text(), "web1");
}

#[tokio::test]
async fn a_wildcard_serves_each_name_one_label_below_and_an_exact_name_wins() {
    let (web, blog) = (apps::polite("web1").await, apps::polite("blog1").await);
    let mut scene = Scene::new()
        .serving("web", &[web.upstream()])
        .serving("blog", &[blog.upstream()]);
    let [wild, exact] = [0, 1].map(|at| scene.snapshot.environments[at].id);
    scene
        .snapshot
        .hosts
        .insert("*.shop.test".parse().expect("a name"), wild);
    scene
        .snapshot
        .hosts
        .insert("blog.shop.test".parse().expect("a name"), exact);
    let mut world = World::start(&scene).await;
    world.certify(&["*.shop.test"]);
    world.show(&scene.clone().next()).await;
    for (host, seen) in [
        ("a.shop.test", "web1"),
        ("B.Shop.Test", "web1"),
        ("blog.shop.test", "blog1"),
    ] {
        assert_eq!(world.client.get(host, "/").await.text(), seen, "{host}");
    }
    for host in ["shop.test", "a.b.shop.test"] {
        assert!(world.client.tls(host, Speak::H1).await.is_err(), "{host}");
    }
}

#[tokio::test]
async fn browsers_are_told_to_remember_over_tls_only_and_in_place_of_what_the_app_says() {
    let web = apps::polite("web1").await;
    let mut scene = Scene::new().serving("web", &[web.upstream()]);
    let id = scene.snapshot.environments[0].id;
    scene.snapshot.hosts.insert("shop.test".parse().expect("a name"), id);
    let policy = NamePolicy {
        hsts: Some("max-age=300".into()),
        client_ca_pem: None,
    };
    scene
        .snapshot
        .policies
        .insert("shop.test".parse().expect("a name"), policy);
    let mut world = World::start(&scene).await;
    world.certify(&["shop.test"]);
    world.show(&scene.clone().next()).await;
    let told = |answer: &crate::client::Answer| answer.headers.get("strict-transport-security").cloned();
    let answer = world.client.get("shop.test", "/").await;
    assert_eq!(
        told(&answer).as_ref().map(http::HeaderValue::as_bytes),
        Some(&b"max-age=300"[..])
    );
    let other = world.client.get("web.apps.localhost", "/").await;
    assert_eq!(told(&other), None);
    let plain = world.client.get_plain("shop.test", "/").await;
    assert_eq!((plain.status, told(&plain)), (StatusCode::PERMANENT_REDIRECT, None));
}

/// A CA, and somebody it vouches for.
fn visitor() -> (String, (rustls_pki_types::CertificateDer<'static>, Vec<u8>)) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let ca = params.self_signed(&key).expect("signed");
    let issuer = rcgen::Issuer::new(params, &key);
    let mut person = rcgen::CertificateParams::default();
    person.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let person_key = rcgen::KeyPair::generate().expect("a key");
    let certificate = person.signed_by(&person_key, &issuer).expect("signed");
    (ca.pem(), (certificate.der().clone(), person_key.serialize_der()))
}

/// Whether a whole request gets through: with TLS 1.3 a client learns only then that it was not let in.
async fn is_let_in(world: &World, host: &str) -> Option<crate::client::Answer> {
    let stream = world.client.tls(host, Speak::H1).await.ok()?;
    let mut sender = crate::client::h1_over(stream).await;
    let mut request = request(Method::GET, "/headers", &[("client-cert", ":aGVsbG8=:")], "");
    request
        .headers_mut()
        .insert(http::header::HOST, host.parse().expect("a host"));
    let response = sender.send_request(request).await.ok()?;
    crate::client::collect(response).await.ok()
}

#[tokio::test]
async fn visitors_of_a_name_that_asks_show_a_certificate_that_its_cas_vouch_for_on_that_very_name() {
    let web = apps::polite("web1").await;
    let mut scene = Scene::new().serving("web", &[web.upstream()]);
    let id = scene.snapshot.environments[0].id;
    let (ca, known) = visitor();
    let (_, stranger) = visitor();
    for name in ["*.shop.test", "open.shop.test"] {
        scene.snapshot.hosts.insert(name.parse().expect("a name"), id);
    }
    let mut world = World::start(&scene).await;
    world.certify(&["*.shop.test"]);
    world.client.show(Some(known.clone()));
    world.show(&scene.clone().next()).await;
    // Before anybody is asked: a session to come back with later.
    let before = is_let_in(&world, "a.shop.test").await.expect("anybody is let in");
    assert!(
        !before.text().contains("client-cert"),
        "nobody else can say who came: {}",
        before.text()
    );
    let policy = |pem: &str| NamePolicy {
        hsts: None,
        client_ca_pem: Some(pem.into()),
    };
    scene = scene.next();
    scene
        .snapshot
        .policies
        .insert("*.shop.test".parse().expect("a name"), policy(&ca));
    world.show(&scene.clone().next()).await;
    let seen = is_let_in(&world, "a.shop.test").await.expect("who is known is let in");
    let shown = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &known.0);
    assert!(
        seen.text().contains(&format!("client-cert: :{shown}:")),
        "{}",
        seen.text()
    );
    assert!(
        is_let_in(&world, "a.shop.test").await.is_some(),
        "also when coming back"
    );
    for shows in [None, Some(stranger.clone())] {
        world.client = world.client.forgetful();
        world.client.show(shows);
        assert!(is_let_in(&world, "a.shop.test").await.is_none());
        assert!(
            is_let_in(&world, "open.shop.test").await.is_some(),
            "a name of its own asks nobody"
        );
    }
}

#[tokio::test]
async fn no_way_round_leads_to_a_name_that_asks() {
    let web = apps::polite("web1").await;
    let mut scene = Scene::new().serving("web", &[web.upstream()]);
    let id = scene.snapshot.environments[0].id;
    let ((ca, known), (other_ca, stranger)) = (visitor(), visitor());
    for name in ["*.shop.test", "open.shop.test"] {
        scene.snapshot.hosts.insert(name.parse().expect("a name"), id);
    }
    let policy = |pem: &str| NamePolicy {
        hsts: None,
        client_ca_pem: Some(pem.into()),
    };
    scene
        .snapshot
        .policies
        .insert("*.shop.test".parse().expect("a name"), policy(&ca));
    let mut world = World::start(&scene).await;
    world.certify(&["*.shop.test"]);
    world.show(&scene.clone().next()).await;
    scene = scene.next();
    // Over a connection to the open name, whose certificate covers the other one too.
    let stream = world.client.tls("open.shop.test", Speak::H1).await.expect("TLS");
    let mut sender = crate::client::h1_over(stream).await;
    let around = request(Method::GET, "/", &[("host", "a.shop.test")], "");
    let answer = sender.send_request(around).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    // Other CAs: who was known is not, not even with a session from before.
    world.client.show(Some(known));
    assert!(is_let_in(&world, "a.shop.test").await.is_some());
    scene = scene.next();
    scene
        .snapshot
        .policies
        .insert("*.shop.test".parse().expect("a name"), policy(&other_ca));
    world.show(&scene.clone().next()).await;
    assert!(is_let_in(&world, "a.shop.test").await.is_none());
    // CAs that cannot be read let nobody in.
    scene = scene.next();
    scene
        .snapshot
        .policies
        .insert("*.shop.test".parse().expect("a name"), policy("nothing"));
    world.show(&scene.clone().next()).await;
    world.client.show(Some(stranger));
    assert!(is_let_in(&world, "a.shop.test").await.is_none());
}

#[tokio::test]
async fn every_state_of_an_app_has_its_page() {
    let mut scene = Scene::new();
    let states = [
        ("empty", RouteState::Empty, 404, "nothing_deployed", false),
        ("starting", RouteState::Starting, 503, "app_starting", true),
        ("failed", RouteState::Failed, 503, "app_failed", false),
        ("stopped", RouteState::Stopped, 503, "app_stopped", false),
        ("maintenance", RouteState::Maintenance, 503, "app_maintenance", true),
        ("headless", RouteState::Serving, 503, "no_healthy_instance", true),
    ];
    for (name, state, ..) in states {
        scene = scene.app(name, state, &[], LIMITS);
    }
    let world = World::start(&scene).await;
    for (name, _, status, code, retry) in states {
        let headers = [("accept", "application/problem+json")];
        let name = format!("{name}.apps.localhost");
        let answer = world
            .client
            .send(Speak::H1, &name, request(Method::GET, "/", &headers, ""))
            .await;
        assert_eq!(answer.status.as_u16(), status, "{name}");
        assert_eq!(answer.json()["code"].as_str(), Some(code), "{name}");
        assert_eq!(answer.headers.contains_key("retry-after"), retry, "{name}");
    }
}
