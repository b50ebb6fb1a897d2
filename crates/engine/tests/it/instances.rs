//! Instances: applying a group, what is seen of it, what it uses, and its end.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use slipway_domain::observed::{Instance, InstanceState};
use slipway_domain::quantity::{Bytes, Span};
use slipway_domain::spec::KillSignal;
use slipway_domain::{Epoch, ReleaseNumber};
use slipway_engine::{Engine, EngineError};

use crate::place::{Foreign, LOCAL_IMAGE, Place, docker, docker_lossy, get, until};

/// Waits until the only instance of a place has ended.
async fn ended(place: &Place) -> Instance {
    until("the instance ends", async || {
        let found = place.only().await;
        matches!(found.state, InstanceState::Exited { .. }).then_some(found)
    })
    .await
}

#[tokio::test]
async fn applying_a_group_twice_makes_nothing_new_and_leaves_what_runs() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    place.engine.apply_group(&group, &[0, 1]).await.expect("two slots");
    let first = place.observe().await;
    place.engine.apply_group(&group, &[0, 1]).await.expect("the same again");
    assert_eq!(place.observe().await, first);
    let slots: Vec<u32> = first.iter().map(|i| i.slot).collect();
    assert_eq!(slots, [0, 1]);
    place.engine.apply_group(&group, &[2]).await.expect("one more");
    let third = place.observe().await;
    assert_eq!((third.len(), &third[..2]), (3, &first[..]));
}

#[tokio::test]
async fn a_running_instance_is_seen_with_its_labels_and_its_address() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    let (instance, address) = place.serve(&group).await;
    assert_eq!(
        (instance.environment, instance.release, instance.slot),
        (place.environment(), group.release, 0)
    );
    assert_eq!((instance.release_number, instance.epoch), (ReleaseNumber(1), Epoch(7)));
    let network = place.subnet.split_once('/').expect("a subnet").0;
    let IpAddr::V4(ip) = address.ip() else {
        panic!("{address}")
    };
    let base: std::net::Ipv4Addr = network.parse().expect("an address");
    assert_eq!(u32::from(ip) & !15, u32::from(base), "{ip} is not in {}", place.subnet);
    assert_eq!(address.port(), 8080);
    let InstanceState::Running { started_at } = instance.state else {
        panic!("{:?}", instance.state)
    };
    let started = docker(&["inspect", "--format", "{{.State.StartedAt}}", &instance.id]);
    assert_eq!(Ok(started_at), started.parse());
    assert_eq!(
        docker(&["inspect", "--format", "{{.Id}}", &place.container(0)]),
        instance.id
    );
    let environment = get(address, "/env").expect("an answer");
    let expected = format!("SLIPWAY_INSTANCE={}-v1-0", place.owner.app);
    assert!(environment.lines().any(|l| l == expected), "{environment}");
    let everywhere = place.engine.observe(None).await.expect("a look at everything");
    assert!(everywhere.iter().any(|i| i.id == instance.id));
}

#[tokio::test]
async fn listening_sockets_are_told_to_explain_a_closed_port() {
    let place = Place::with_network().await;
    place
        .engine
        .apply_group(&place.group("wrong-port").await, &[0])
        .await
        .expect("one slot");
    let id = place.only().await.id;
    let found = until("it listens", async || {
        Some(place.engine.listening(&id).await).filter(|f| !f.is_empty())
    })
    .await;
    assert_eq!(found, ["0.0.0.0:9999".parse().expect("an address")]);
    assert_eq!(place.engine.listening("no-such-container").await, []);
}

#[tokio::test]
async fn an_instance_that_has_ended_tells_how_and_is_started_again() {
    let place = Place::with_network().await;
    let group = place.group("exit").await;
    place.engine.apply_group(&group, &[0]).await.expect("one slot");
    let first = ended(&place).await;
    let InstanceState::Exited {
        exit_code,
        oom_killed,
        finished_at,
    } = first.state
    else {
        panic!("{:?}", first.state)
    };
    assert_eq!((exit_code, oom_killed, first.address), (3, false, None));
    let finished_at = finished_at.expect("a time");
    // The engine does not restart it by itself: that is decided, counted and paced elsewhere.
    let policy = docker(&["inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", &first.id]);
    assert_eq!(policy, "no");
    place.engine.apply_group(&group, &[0]).await.expect("again");
    let again = until("it ends again", async || {
        let found = place.only().await;
        match found.state {
            InstanceState::Exited {
                finished_at: Some(at), ..
            } if at > finished_at => Some(found),
            _ => None,
        }
    })
    .await;
    assert_eq!(again.id, first.id);
}

#[tokio::test]
async fn an_instance_that_was_only_made_is_seen_and_then_started() {
    let place = Place::with_network().await;
    let mut group = place.group("").await;
    let (instance, _) = place.serve(&group).await;
    // Slot 1 is made of the same labels and never started, as by an attempt that was cut off.
    let labels = docker(&["inspect", "--format", "{{json .Config.Labels}}", &instance.id]);
    let mut labels: std::collections::BTreeMap<String, String> = serde_json::from_str(&labels).expect("labels");
    labels.insert("slipway.slot".to_owned(), "1".to_owned());
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("--label={k}={v}")).collect();
    let network = format!("--network=slipway-{}", place.environment());
    let name = format!("--name={}", place.container(1));
    let mut arguments = vec!["create", name.as_str(), network.as_str()];
    arguments.extend(labels.iter().map(String::as_str));
    arguments.push(LOCAL_IMAGE);
    let made = docker(&arguments);
    let found = place.observe().await;
    assert_eq!(
        (found[1].id.as_str(), &found[1].state, found[1].address),
        (made.as_str(), &InstanceState::Created, None)
    );
    // Under a later lease it is still the same place of the same release.
    group.owner.epoch = Epoch(8);
    place.engine.apply_group(&group, &[1]).await.expect("started");
    let found = place.observe().await;
    assert!(
        found.len() == 2 && found[1].id == made && found[1].is_running(),
        "{found:?}"
    );
}

#[tokio::test]
async fn want_of_memory_is_told_from_other_ends() {
    let place = Place::with_network().await;
    let mut group = place.group("oom").await;
    group.resources.memory = Bytes(16 << 20);
    place.engine.apply_group(&group, &[0]).await.expect("one slot");
    let found = ended(&place).await;
    assert!(
        matches!(
            found.state,
            InstanceState::Exited {
                exit_code: 137,
                oom_killed: true,
                ..
            }
        ),
        "{:?}",
        found.state
    );
}

#[tokio::test]
async fn somebody_elses_container_of_that_name_is_never_touched() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    let foreign = Foreign(place.container(0));
    docker(&["create", "--name", &foreign.0, LOCAL_IMAGE]);
    let format = "{{.Id}} {{.State.Status}}";
    let before = docker(&["inspect", "--format", format, &foreign.0]);
    let answer = place.engine.apply_group(&group, &[0]).await;
    assert!(
        matches!(&answer, Err(EngineError::Refused(t)) if t.contains(&format!("docker rm {}", foreign.0))),
        "{answer:?}"
    );
    let id = before.split_once(' ').expect("an id").0;
    let answer = place.engine.remove_instance(id, Span::from_secs(1)).await;
    assert!(
        matches!(&answer, Err(EngineError::Refused(t)) if t.contains("left alone")),
        "{answer:?}"
    );
    assert_eq!(docker(&["inspect", "--format", format, &foreign.0]), before);
    assert_eq!(place.observe().await, []);
}

#[tokio::test]
async fn another_release_of_the_same_name_is_not_taken_for_this_one() {
    let place = Place::with_network().await;
    let first = place.group("").await;
    place.engine.apply_group(&first, &[0]).await.expect("one slot");
    let before = place.only().await;
    let second = place.group("").await;
    assert_ne!(first.release, second.release);
    let answer = place.engine.apply_group(&second, &[0]).await;
    assert!(matches!(answer, Err(EngineError::Refused(_))), "{answer:?}");
    assert_eq!(place.only().await, before);
}

#[tokio::test]
async fn what_the_engine_refuses_to_run_is_refused_for_good() {
    let place = Place::with_network().await;
    let mut group = place.group("").await;
    group.resources.memory = Bytes(1 << 20);
    let answer = place.engine.apply_group(&group, &[0]).await;
    assert!(
        matches!(&answer, Err(EngineError::Refused(t)) if t.to_lowercase().contains("memory")),
        "{answer:?}"
    );
    let without_network = Place::new();
    let group = without_network.group("").await;
    let answer = without_network.engine.apply_group(&group, &[0]).await;
    assert!(matches!(&answer, Err(EngineError::NotFound(_))), "{answer:?}");
}

/// The signal that ended the container and how long after it was asked to stop, out of the engine's own record.
async fn removed(frozen: bool, timeout: Span) -> (String, Duration) {
    let place = Place::with_network().await;
    let mut group = place.group("").await;
    group.kill_signal = KillSignal::Int;
    let (instance, _) = place.serve(&group).await;
    if frozen {
        docker(&["kill", "--signal", "STOP", &instance.id]);
    }
    let since = docker(&["info", "--format", "{{.SystemTime}}"]);
    let asked = Instant::now();
    place
        .engine
        .remove_instance(&instance.id, timeout)
        .await
        .expect("removed");
    let took = asked.elapsed();
    assert_eq!(place.observe().await, []);
    assert_eq!(
        docker_lossy(&["inspect", "--format", "{{.Id}}", &instance.id]).trim(),
        ""
    );
    place
        .engine
        .remove_instance(&instance.id, timeout)
        .await
        .expect("gone already");
    let until = docker(&["info", "--format", "{{.SystemTime}}"]);
    let container = format!("container={}", instance.id);
    let format = "{{.Action}} {{index .Actor.Attributes \"signal\"}}";
    let filters = ["--filter", &container, "--filter", "event=kill", "--format", format];
    let record = docker(&[&["events", "--since", &since, "--until", &until], &filters[..]].concat());
    (record, took)
}

#[tokio::test]
async fn an_instance_that_heeds_its_signal_ends_by_it() {
    let (record, _) = removed(false, Span::from_secs(30)).await;
    assert_eq!(record, "kill 2");
}

#[tokio::test]
async fn an_instance_that_does_not_is_killed_after_its_time() {
    let (record, took) = removed(true, Span::from_secs(1)).await;
    assert_eq!(record, "kill 2\nkill 9");
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn use_is_told_for_what_runs_and_left_out_for_what_does_not() {
    let place = Place::with_network().await;
    let (instance, _) = place.serve(&place.group("").await).await;
    let asked = [instance.id.clone(), "no-such-container".to_owned()];
    let first = place.engine.usage(&asked).await;
    assert_eq!(first.len(), 1);
    let (id, usage) = &first[0];
    assert_eq!(*id, instance.id);
    assert!(usage.memory_bytes > 0 && usage.memory_bytes <= 64 << 20, "{usage:?}");
    assert!(
        usage.cpu_cores.abs() < f64::EPSILON,
        "nothing to compare with: {usage:?}"
    );
    let second = place.engine.usage(&asked).await;
    assert!((0.0..2.0).contains(&second[0].1.cpu_cores), "{second:?}");
    docker(&["stop", "--time", "0", &instance.id]);
    assert_eq!(place.engine.usage(&asked).await, []);
}
