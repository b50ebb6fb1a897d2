//! What is really sent to the engine under test: the version of the API that both sides know, before every path.

use std::path::Path;

use slipway_domain::ports::{LogQuery, PullPolicy};
use slipway_engine::Engine;
use slipway_engine::Job;

use crate::place::{LOCAL_IMAGE, Place, docker, host};
use crate::played::Socket;

/// 1.41, or the oldest that the engine under test still takes.
fn expected() -> String {
    let least = docker(&["version", "--format", "{{.Server.MinAPIVersion}}"]);
    let minor = least.strip_prefix("1.").and_then(|m| m.parse().ok()).unwrap_or(0_u32);
    format!("v1.{}", minor.max(41))
}

fn in_front() -> Socket {
    let host = host();
    let path = host
        .strip_prefix("unix://")
        .expect("the engine under test is behind a Unix socket");
    Socket::in_front_of(Path::new(path))
}

#[tokio::test]
async fn the_first_question_is_for_the_version_and_the_next_is_asked_in_it() {
    let socket = in_front();
    let info = socket.engine().info().await.expect("the engine answers");
    assert_eq!(info.version, docker(&["version", "--format", "{{.Server.Version}}"]));
    assert_eq!(
        socket.asked(),
        ["GET /version".to_owned(), format!("GET /{}/info", expected())]
    );
}

#[tokio::test]
async fn every_verb_is_asked_in_that_version() {
    let socket = in_front();
    let mut place = Place::new();
    place.engine = socket.engine();
    let group = place.group("").await;
    place.engine.ensure_network(&place.network()).await.expect("a network");
    let _events = place.engine.events().await.expect("a stream");
    let (instance, _) = place.serve(&group).await;
    place.engine.usage(std::slice::from_ref(&instance.id)).await;
    place.engine.log_tail(&instance.id, 1).await.expect("a tail");
    place
        .engine
        .logs(place.environment(), LogQuery::default())
        .await
        .expect("logs");
    place.engine.images().await.expect("a list");
    place.engine.subnets_in_use().await.expect("a list");
    let reference = LOCAL_IMAGE.parse().expect("a reference");
    place
        .engine
        .resolve(&reference, PullPolicy::Local, None)
        .await
        .expect("the image");
    let command = ["/app", "release"].map(str::to_owned);
    place
        .engine
        .start_job(&group, Job::Release(group.release), &command)
        .await
        .expect("a command");
    place
        .engine
        .remove_job(Job::Release(group.release))
        .await
        .expect("removed");
    place
        .engine
        .remove_instance(&instance.id, group.kill_timeout)
        .await
        .expect("removed");
    place.engine.remove_network(place.environment()).await.expect("removed");
    let prefix = format!("/{}/", expected());
    let asked = socket.asked();
    for wanted in [
        "POST networks/create",
        "POST containers/create",
        "GET images/json",
        "GET containers/json",
    ] {
        let (method, path) = wanted.split_once(' ').expect("two words");
        let line = format!("{method} {prefix}{path}");
        assert!(asked.contains(&line), "{line} is not in {asked:?}");
    }
    let others = asked.iter().filter_map(|line| line.split_once(' '));
    let others: Vec<_> = others.filter(|(_, path)| !path.starts_with(&prefix)).collect();
    assert!(others.iter().all(|o| *o == ("GET", "/version")), "{others:?}");
}
