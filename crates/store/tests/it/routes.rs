//! What proxies are told: versions grow with every change and with nothing else, and a snapshot is of one moment.

use slipway_domain::ids::{CertificateId, ProxyId};
use slipway_domain::quantity::Bytes;
use slipway_domain::routing::{Ack, GroupRoute, RouteState, Upstream};
use slipway_domain::secret::Sealed;
use slipway_domain::spec::Spec;
use slipway_domain::{Epoch, ReleaseNumber};
use slipway_store::{Certificate, Environment, EnvironmentStatus, Store};

use crate::db::with_store;
use crate::fixture::{Counter, accept, add_app, add_team, deploy, fenced, lead, second, tx, web};

fn groups(release: i64, instances: &[&str]) -> Vec<GroupRoute> {
    vec![GroupRoute {
        release: ReleaseNumber(release),
        weight: 1,
        instances: instances
            .iter()
            .map(|i| Upstream {
                instance: (*i).to_owned(),
                address: "10.90.0.2:8080".parse().expect("valid"),
            })
            .collect(),
    }]
}

async fn publish(store: &Store, epoch: Epoch, e: &Environment, groups: &[GroupRoute]) -> i64 {
    let mut tx = fenced(store, epoch).await;
    let version = tx
        .set_route(e, RouteState::Serving, groups, None)
        .await
        .expect("written");
    tx.commit().await.expect("commits");
    version.0
}

#[tokio::test]
async fn the_version_grows_with_a_change_and_not_without() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("free");
        let first = publish(&store, epoch, &environment, &groups(1, &["a"])).await;
        assert_eq!(publish(&store, epoch, &environment, &groups(1, &["a"])).await, first);
        let second = publish(&store, epoch, &environment, &groups(1, &["a", "b"])).await;
        assert_eq!(second, first + 1);
        let mut tx = tx(&store).await;
        assert_eq!(tx.route_version().await.expect("read").0, second);
    })
    .await;
}

#[tokio::test]
async fn a_database_older_than_its_proxies_goes_on_above_them() {
    with_store(async |_, store| {
        let mut tx = tx(&store).await;
        let version = tx.bump_routes().await.expect("bumped");
        tx.raise_route_version(slipway_domain::generation::RouteVersion(41))
            .await
            .expect("raised");
        assert_eq!(tx.bump_routes().await.expect("bumped").0, 42);
        tx.raise_route_version(version).await.expect("asked");
        assert_eq!(tx.route_version().await.expect("read").0, 42, "never down");
    })
    .await;
}

/// Whatever a proxy confirmed before the database was put back, it has none of its routes in force.
#[tokio::test]
async fn a_database_that_was_put_back_takes_nothing_for_confirmed() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("free");
        let version = publish(&store, epoch, &environment, &groups(1, &["a"])).await;
        let mut api = tx(&store).await;
        let ack = |applied| Ack {
            proxy: ProxyId::mint(second(1), &Counter),
            applied: slipway_domain::generation::RouteVersion(applied),
            draining: Vec::new(),
        };
        api.upsert_ack(&ack(version)).await.expect("noted");
        api.disconnect_proxies().await.expect("noted");
        assert_eq!(
            api.proxies().await.expect("read")[0].applied.0,
            0,
            "it is to be heard anew"
        );
        api.raise_route_version(slipway_domain::generation::RouteVersion(version + 41))
            .await
            .expect("raised");
        api.upsert_ack(&ack(version + 40)).await.expect("noted");
        api.commit().await.expect("commits");
        let mut api = tx(&store).await;
        let world = api.load_world(environment.id).await.expect("read").expect("there");
        let route = world.route.expect("published").version;
        assert!(world.proxies[0].applied < route, "{:?} {route:?}", world.proxies);
    })
    .await;
}

/// The limits that hold are those of the newest release that has traffic, not of one that is still being tried.
#[tokio::test]
async fn limits_change_with_the_switch() {
    with_store(async |db, store| {
        let (_, _, environment) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("free");
        let mut api = tx(&store).await;
        let wide = |max| {
            let mut spec = Spec::default();
            spec.http.max_body = Bytes(max);
            spec
        };
        accept(&mut api, environment.id, wide(1_000), second(1)).await;
        accept(&mut api, environment.id, wide(2_000), second(2)).await;
        api.commit().await.expect("commits");
        let limit = async || {
            let mut tx = tx(&store).await;
            let rows = tx.snapshot_rows().await.expect("read");
            rows.environments[0].spec.http.max_body.0
        };
        assert_eq!(limit().await, 2_000, "before anything serves, what should run");
        publish(&store, epoch, &environment, &groups(1, &["a"])).await;
        assert_eq!(limit().await, 1_000, "the new one has no traffic yet");
        let mut both = groups(1, &["a"]);
        both.extend(groups(2, &["b"]));
        publish(&store, epoch, &environment, &both).await;
        assert_eq!(limit().await, 2_000);
        let serves = "update environment_status set serving_release_id = (select id from releases where number = 1)";
        db.execute(serves).await.expect("written");
        publish(&store, epoch, &environment, &[]).await;
        assert_eq!(limit().await, 1_000, "without traffic, what served last");
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_has_every_environment_that_is_not_gone() {
    with_store(async |_, store| {
        let team = add_team(&store, "default").await;
        let epoch = lead(&store, 1).await.expect("free");
        let (_, fresh) = add_app(&store, &team, "fresh").await;
        let (_, serving) = add_app(&store, &team, "serving").await;
        let (going_app, going) = add_app(&store, &team, "going").await;
        let (gone_app, gone) = add_app(&store, &team, "gone").await;
        for e in [&serving, &going] {
            deploy(&store, e.id, second(1)).await;
            publish(&store, epoch, e, &groups(1, &["a"])).await;
        }
        let mut api = tx(&store).await;
        api.delete_app(going_app.id, second(9)).await.expect("marked");
        api.delete_app(gone_app.id, second(9)).await.expect("marked");
        api.commit().await.expect("commits");

        let mut tx = tx(&store).await;
        let rows = tx.snapshot_rows().await.expect("read");
        let mut names: Vec<_> = rows
            .environments
            .iter()
            .map(|e| (e.app.to_string(), e.route.as_ref().map(|(s, g)| (*s, g.len()))))
            .collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        let serving_state = Some((RouteState::Serving, 1));
        assert_eq!(
            names,
            [
                ("fresh".to_owned(), None),
                ("going".to_owned(), serving_state),
                ("serving".to_owned(), serving_state)
            ]
        );
        let host = |e: &Environment| {
            rows.hosts
                .iter()
                .find(|(_, id)| *id == e.id)
                .map(|(h, _)| h.to_string())
        };
        assert_eq!(host(&fresh).as_deref(), Some("fresh.apps.localhost"));
        assert_eq!(host(&gone).as_deref(), Some("gone.apps.localhost"));
    })
    .await;
}

/// A snapshot that is being read does not see what is published meanwhile: its version and its content are of one moment.
#[tokio::test]
async fn a_snapshot_is_of_one_moment() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("free");
        let before = publish(&store, epoch, &environment, &groups(1, &["a"])).await;
        let mut reading = tx(&store).await;
        let first = reading.snapshot_rows().await.expect("read");
        publish(&store, epoch, &environment, &groups(1, &["b"])).await;
        assert_eq!(first.version.0, before);
        assert_eq!(reading.route_version().await.expect("read").0, before);
    })
    .await;
}

#[tokio::test]
async fn a_certificate_takes_the_place_of_the_one_before() {
    with_store(async |_, store| {
        let certificate = |s: i64, names: &[&str]| Certificate {
            id: CertificateId::mint(second(s), &Counter),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            issuer: "internal".into(),
            chain_pem: "pem".into(),
            sealed_key: Sealed {
                key_version: 1,
                bytes: vec![1],
            },
            not_before: second(s),
            not_after: second(s + 100),
            created_at: second(s),
            ca: None,
            renew_at: second(s + 60),
            ari_at: None,
            failures: 0,
            uploaded: false,
        };
        let mut tx = tx(&store).await;
        let old = certificate(1, &["*.apps.localhost"]);
        let other = certificate(1, &["api.localhost"]);
        let new = certificate(2, &["*.apps.localhost"]);
        tx.insert_certificate(&old).await.expect("inserted");
        tx.insert_certificate(&other).await.expect("inserted");
        let version = tx.route_version().await.expect("read");
        tx.insert_certificate(&new).await.expect("inserted");
        assert!(tx.route_version().await.expect("read") > version, "proxies are told");
        tx.commit().await.expect("committed");
        let mut tx = self::tx(&store).await;
        let rows = tx.snapshot_rows().await.expect("read");
        let mut current: Vec<_> = rows.certificates.iter().map(|c| c.id).collect();
        current.sort();
        let mut expected = [other.id, new.id];
        expected.sort();
        assert_eq!(current, expected);
        let kept = tx
            .certificate(old.id)
            .await
            .expect("read")
            .expect("a proxy may still ask for it");
        assert_eq!((kept.names, kept.not_after), (old.names, old.not_after));
    })
    .await;
}

#[tokio::test]
async fn proxies_are_known_by_what_they_said_last_and_forgotten_after_a_while() {
    with_store(async |db, store| {
        let proxy = ProxyId::mint(second(1), &Counter);
        let mut api = tx(&store).await;
        let ack = |applied, draining: &[&str]| Ack {
            proxy,
            applied: slipway_domain::generation::RouteVersion(applied),
            draining: draining.iter().map(|d| (*d).to_owned()).collect(),
        };
        api.upsert_ack(&ack(3, &["a"])).await.expect("noted");
        api.upsert_ack(&ack(4, &[])).await.expect("noted");
        api.commit().await.expect("commits");
        let mut api = tx(&store).await;
        let known = api.proxies().await.expect("read");
        assert_eq!(known.len(), 1);
        assert_eq!((known[0].applied.0, known[0].connected), (4, true));
        assert!(known[0].draining.is_empty());
        api.commit().await.expect("commits");
        db.execute("update proxies set seen_at = now() - interval '1 hour'")
            .await
            .expect("written");
        let mut api = tx(&store).await;
        assert_eq!(api.forget_proxies(60).await.expect("asked"), 0, "it is connected");
        api.disconnect_proxies().await.expect("noted");
        api.commit().await.expect("commits");
        db.execute("update proxies set seen_at = now() - interval '1 hour'")
            .await
            .expect("written");
        let mut api = tx(&store).await;
        assert_eq!(api.forget_proxies(7200).await.expect("asked"), 0);
        assert_eq!(api.forget_proxies(60).await.expect("asked"), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_get_subnets_that_do_not_overlap() {
    with_store(async |_, store| {
        let team = add_team(&store, "default").await;
        let pool: ipnet::Ipv4Net = "10.90.0.0/24".parse().expect("valid");
        let taken = [
            "10.90.0.0/30".parse().expect("valid"),
            "10.0.0.0/16".parse().expect("valid"),
        ];
        let mut allocating = Vec::new();
        for n in 0..4 {
            let (_, environment) = add_app(&store, &team, &format!("app{n}")).await;
            let store = store.clone();
            allocating.push(tokio::spawn(async move {
                let mut tx = tx(&store).await;
                let subnet = tx.allocate_subnet(environment.id, pool, &taken).await.expect("asked");
                tx.commit().await.expect("commits");
                (environment.id, subnet)
            }));
        }
        let mut got = Vec::new();
        for one in allocating {
            got.push(one.await.expect("no panic"));
        }
        let mut subnets: Vec<_> = got.iter().filter_map(|(_, s)| s.as_deref()).collect();
        subnets.sort_unstable();
        assert_eq!(
            subnets,
            ["10.90.0.128/26", "10.90.0.192/26", "10.90.0.64/26"],
            "three are free, the fourth asks in vain"
        );
        let (id, first) = got.iter().find(|(_, s)| s.is_some()).expect("three");
        let mut tx = tx(&store).await;
        assert_eq!(
            &tx.allocate_subnet(*id, pool, &[]).await.expect("asked"),
            first,
            "it keeps what it has"
        );
        let had = first.as_deref().expect("a subnet");
        tx.forget_subnet(*id, "10.90.1.0/26").await.expect("asked");
        let kept = tx.allocate_subnet(*id, pool, &[]).await.expect("asked");
        assert_eq!(kept.as_deref(), Some(had), "another subnet is not its own");
        tx.forget_subnet(*id, had).await.expect("asked");
        let another = tx.allocate_subnet(*id, pool, &[had.parse().expect("a subnet")]).await;
        assert_eq!(
            another.expect("asked").as_deref(),
            Some("10.90.0.0/26"),
            "the one that is free now that nothing else is said to be taken"
        );
    })
    .await;
}

#[tokio::test]
async fn a_status_of_nothing_is_empty() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let mut tx = tx(&store).await;
        let status = tx.status(environment.id).await.expect("read").expect("is there");
        let empty = EnvironmentStatus {
            replicas: None,
            scaled_at: None,
            rest: slipway_domain::rest::Rest::Awake,
            rest_since: None,
            observed_generation: slipway_domain::Generation(0),
            serving: None,
            serving_since: None,
            previous: None,
            instances: Vec::new(),
            conditions: Vec::new(),
        };
        assert_eq!(status, empty);
    })
    .await;
}
