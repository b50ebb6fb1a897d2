//! One network for each environment, on the subnet it was given.

use slipway_domain::image::Pin;
use slipway_engine::{Engine, EngineError};

use crate::place::{Place, docker, docker_lossy};

fn name(place: &Place) -> String {
    format!("slipway-{}", place.environment())
}

fn id_and_subnet(place: &Place) -> String {
    let format = "{{.Id}} {{(index .IPAM.Config 0).Subnet}} {{.Driver}}";
    docker(&["network", "inspect", "--format", format, &name(place)])
}

#[tokio::test]
async fn a_network_is_made_once_and_removed_once() {
    let place = Place::with_network().await;
    let first = id_and_subnet(&place);
    assert!(first.ends_with(&format!(" {} bridge", place.subnet)), "{first}");
    place.engine.ensure_network(&place.network()).await.expect("again");
    assert_eq!(id_and_subnet(&place), first);
    let used = place.engine.subnets_in_use().await.expect("a list");
    assert!(used.contains(&place.subnet), "{used:?}");
    place.engine.remove_network(place.environment()).await.expect("removed");
    place
        .engine
        .remove_network(place.environment())
        .await
        .expect("gone already");
    let used = place.engine.subnets_in_use().await.expect("a list");
    assert!(!used.contains(&place.subnet), "{used:?}");
}

#[tokio::test]
async fn asked_for_many_times_at_once_one_network_is_made() {
    let place = Place::new();
    let spec = place.network();
    let asking = (0..4).map(|_| place.engine.ensure_network(&spec));
    for answer in futures_util::future::join_all(asking).await {
        answer.expect("made, or there already");
    }
    let label = format!("label=slipway.environment-id={}", place.environment());
    let networks = docker(&["network", "ls", "--quiet", "--filter", &label]);
    assert_eq!(networks.lines().count(), 1, "{networks}");
}

#[tokio::test]
async fn it_carries_whose_it_is() {
    let place = Place::with_network().await;
    let labels = docker(&["network", "inspect", "--format", "{{json .Labels}}", &name(&place)]);
    let labels: std::collections::BTreeMap<String, String> = serde_json::from_str(&labels).expect("labels");
    let expected = [
        ("slipway.team", place.owner.team.to_string()),
        ("slipway.app", place.owner.app.to_string()),
        ("slipway.environment", "production".to_owned()),
        ("slipway.environment-id", place.environment().to_string()),
        ("slipway.generation", "1".to_owned()),
        ("slipway.epoch", "7".to_owned()),
    ];
    for (label, value) in expected {
        assert_eq!(labels.get(label), Some(&value), "{label}");
    }
}

#[tokio::test]
async fn a_subnet_that_another_network_has_is_named_as_taken_in_the_engines_words() {
    let first = Place::with_network().await;
    let second = Place::new();
    let mut wanted = second.network();
    wanted.subnet.clone_from(&first.subnet);
    let answer = second.engine.ensure_network(&wanted).await;
    let Err(EngineError::SubnetTaken(text)) = answer else {
        panic!("{answer:?}")
    };
    assert!(text.contains("overlaps"), "{text}");
    second
        .engine
        .ensure_network(&second.network())
        .await
        .expect("another subnet is free");
}

/// A network of somebody else's under the name that an environment's would have.
struct ForeignNetwork(String);

impl Drop for ForeignNetwork {
    fn drop(&mut self) {
        docker_lossy(&["network", "rm", &self.0]);
    }
}

#[tokio::test]
async fn somebody_elses_network_of_that_name_is_neither_used_nor_removed() {
    let place = Place::new();
    docker(&["network", "create", "--subnet", &place.subnet, &name(&place)]);
    let foreign = ForeignNetwork(name(&place));
    let before = id_and_subnet(&place);
    let answer = place.engine.ensure_network(&place.network()).await;
    assert!(
        matches!(&answer, Err(EngineError::Refused(t)) if t.contains(&format!("docker network rm {}", foreign.0))),
        "{answer:?}"
    );
    place
        .engine
        .remove_network(place.environment())
        .await
        .expect("ours is not there");
    assert_eq!(id_and_subnet(&place), before);
}

#[tokio::test]
async fn a_network_in_use_stays_until_it_is_empty() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    assert!(matches!(group.image, Pin::Local { .. }));
    place.engine.apply_group(&group, &[0]).await.expect("one slot");
    let answer = place.engine.remove_network(place.environment()).await;
    assert!(matches!(&answer, Err(error) if error.is_transient()), "{answer:?}");
    let instance = place.only().await;
    place
        .engine
        .remove_instance(&instance.id, group.kill_timeout)
        .await
        .expect("removed");
    place
        .engine
        .remove_network(place.environment())
        .await
        .expect("empty now");
}

/// The engine's own pools end at about thirty. `make soak` makes 250.
#[tokio::test]
async fn f35_many_networks_are_made_beside_each_other_and_nothing_is_left_of_them() {
    let count: u32 = std::env::var("CHAOS_NETWORKS").map_or(40, |n| n.parse().expect("a number"));
    let first = (10 << 24 | 64 << 16) + std::process::id() % 16 * 4_096;
    let places: Vec<Place> = (0..count)
        .map(|n| {
            let mut place = Place::new();
            place.subnet = format!("{}/28", std::net::Ipv4Addr::from(first + n * 16));
            place
        })
        .collect();
    for place in &places {
        place.engine.ensure_network(&place.network()).await.expect("made");
    }
    let used = places[0].engine.subnets_in_use().await.expect("a list");
    assert!(places.iter().all(|place| used.contains(&place.subnet)), "{used:?}");
    let group = places[places.len() - 1].group("ok").await;
    let answer = places[places.len() - 1].engine.apply_group(&group, &[0]).await;
    answer.expect("an instance in the last one");
    for place in &places {
        for instance in place.engine.observe(Some(place.environment())).await.expect("a look") {
            let removed = place
                .engine
                .remove_instance(&instance.id, slipway_domain::quantity::Span::from_secs(1));
            removed.await.expect("removed");
        }
        place.engine.remove_network(place.environment()).await.expect("removed");
    }
    let used = places[0].engine.subnets_in_use().await.expect("a list");
    assert!(!places.iter().any(|place| used.contains(&place.subnet)), "{used:?}");
}
