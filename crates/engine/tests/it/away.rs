//! An engine that is not there: every verb says so and nothing is concluded.

use std::sync::Arc;

use slipway_domain::image::Pin;
use slipway_domain::ports::{LogQuery, PullPolicy, ResolveError};
use slipway_domain::quantity::Span;
use slipway_engine::docker::DockerEngine;
use slipway_engine::{Engine, EngineError, Job};

use crate::place::Place;

/// Only the answer's error.
fn is_away<T>(what: &str, answer: Result<T, EngineError>) {
    match answer {
        Err(error @ EngineError::Unavailable(_)) => assert!(error.is_transient()),
        Err(error) => panic!("{what}: {error:?}"),
        Ok(_) => panic!("{what}: an answer of nobody"),
    }
}

async fn every_verb_says_that_it_is_away(host: &str) {
    let place = Place::new();
    let group = place.group("").await;
    let environment = place.environment();
    let engine = DockerEngine::new(host);
    is_away("info", engine.info().await);
    is_away("has_image", engine.has_image(&group.image).await);
    is_away("subnets_in_use", engine.subnets_in_use().await);
    is_away("ensure_network", engine.ensure_network(&place.network()).await);
    is_away("remove_network", engine.remove_network(environment).await);
    is_away("apply_group", engine.apply_group(&group, &[0]).await);
    is_away("observe", engine.observe(Some(environment)).await);
    let stopped = engine.remove_instance("x", Span::from_secs(1)).await;
    is_away("remove_instance", stopped);
    is_away(
        "start_job",
        engine
            .start_job(&group, Job::Release(group.release), &["/app".to_owned()])
            .await,
    );
    is_away("job", engine.job(Job::Release(group.release), 50).await);
    is_away("remove_job", engine.remove_job(Job::Release(group.release)).await);
    is_away("log_tail", engine.log_tail("x", 1).await);
    is_away("logs", engine.logs(environment, LogQuery::default()).await);
    is_away("images", engine.images().await);
    is_away("remove_image", engine.remove_image("slipway-test/none:1").await);
    let volume = "files".parse().expect("a name");
    is_away("remove_volume", engine.remove_volume(environment, &volume).await);
    is_away("events", engine.events().await);
    assert_eq!(engine.usage(&["x".to_owned()]).await, []);
    assert_eq!(engine.listening("x").await, []);
    for policy in [PullPolicy::Registry, PullPolicy::Local] {
        let reference = "slipway-test/app:1".parse().expect("a reference");
        let answer = engine.resolve(&reference, policy, None).await;
        assert!(matches!(answer, Err(ResolveError::EngineUnavailable(_))), "{answer:?}");
    }
    let pin = Pin::Registry {
        name: "127.0.0.1:1/web".to_owned(),
        registry: "127.0.0.1:1".to_owned(),
        digest: group.image.digest().clone(),
    };
    let answer = engine.pull(&pin, None, Arc::new(|_, _| {})).await;
    assert!(matches!(&answer, Err(error) if error.is_transient()), "{answer:?}");
}

#[tokio::test]
async fn a_socket_that_is_not_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let host = format!("unix://{}", directory.path().join("docker.sock").display());
    every_verb_says_that_it_is_away(&host).await;
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("docker.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    every_verb_says_that_it_is_away(&format!("unix://{}", path.display())).await;
}

#[tokio::test]
async fn a_port_that_nobody_listens_on() {
    every_verb_says_that_it_is_away("tcp://127.0.0.1:1").await;
}

#[tokio::test]
async fn an_engine_that_comes_later_is_found_without_a_new_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("docker.sock");
    let engine = DockerEngine::new(&format!("unix://{}", path.display()));
    is_away("info", engine.info().await);
    let real = crate::place::host();
    let real = real
        .strip_prefix("unix://")
        .expect("the engine under test is behind a Unix socket");
    std::os::unix::fs::symlink(real, &path).expect("a link");
    engine.info().await.expect("it is there now");
}
