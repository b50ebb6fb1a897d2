//! Instances: making the wanted slots run, and ending one.

use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, ContainerStateStatusEnum};
use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptions, StartContainerOptions, StopContainerOptions,
};
use futures_util::StreamExt;
use slipway_domain::quantity::Span;

use crate::docker::{BULK, WORK, create, labels, observe, or_gone, volumes, within};
use crate::engine::{EngineError, GroupSpec};

/// So many containers of one group are started at once.
const STARTS_MAX: usize = 4;
/// What an engine needs beyond an app's own time to stop.
const STOP_MARGIN: Duration = Duration::from_secs(10);

pub(crate) async fn apply(docker: &Docker, group: &GroupSpec, slots: &[u32]) -> Result<(), EngineError> {
    volumes::ensure(docker, group).await?;
    let group = Arc::new(group.clone());
    let starts: Vec<_> = slots
        .iter()
        .map(|slot| run(docker.clone(), Arc::clone(&group), *slot))
        .collect();
    let results: Vec<_> = futures_util::stream::iter(starts)
        .buffer_unordered(STARTS_MAX)
        .collect()
        .await;
    results.into_iter().collect()
}

async fn run(docker: Docker, group: Arc<GroupSpec>, slot: u32) -> Result<(), EngineError> {
    let name = create::instance_name(&group, slot);
    let id = ensure(&docker, &name, create::instance(&group, slot)).await?;
    volumes::hand_over(&docker, &group, &id).await?;
    match within(WORK, docker.start_container(&id, None::<StartContainerOptions>)).await {
        // The engine starts nothing that is frozen; asking costs a call that is hardly ever needed.
        Err(EngineError::Busy(_) | EngineError::Refused(_))
            if own(&docker, &id).await? == Some(ContainerStateStatusEnum::PAUSED) =>
        {
            within(WORK, docker.unpause_container(&id)).await
        }
        other => other,
    }
}

/// Creates the container, or finds the one of the same identity that an earlier attempt left.
pub(crate) async fn ensure(docker: &Docker, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
    let identity = body.labels.clone().unwrap_or_default();
    let options = CreateContainerOptions {
        name: Some(name.to_owned()),
        ..CreateContainerOptions::default()
    };
    match within(WORK, docker.create_container(Some(options), body)).await {
        Ok(created) => Ok(created.id),
        Err(EngineError::Busy(text) | EngineError::Refused(text)) if text.contains("already in use") => {
            match observe::find(docker, name).await? {
                Some((found, theirs)) if labels::is_same_place(&identity, &theirs) => {
                    found.id.ok_or(EngineError::Busy(text))
                }
                Some(_) => Err(EngineError::Refused(format!(
                    "a container named {name} exists that is not this release's: remove or rename it (`docker rm {name}`)"
                ))),
                // It was on its way out.
                None => Err(EngineError::Busy(text)),
            }
        }
        Err(error) => Err(error),
    }
}

/// Lets a container of ours go on; anybody else's is refused.
pub(crate) async fn resume(docker: &Docker, id: &str) -> Result<(), EngineError> {
    match own(docker, id).await? {
        None => Err(EngineError::NotFound(format!("the container {id}"))),
        Some(ContainerStateStatusEnum::RUNNING) => Ok(()),
        Some(ContainerStateStatusEnum::PAUSED) => within(WORK, docker.unpause_container(id)).await,
        Some(_) => within(WORK, docker.start_container(id, None::<StartContainerOptions>)).await,
    }
}

/// Freezes a container of ours; anybody else's is refused.
pub(crate) async fn pause(docker: &Docker, id: &str) -> Result<(), EngineError> {
    match own(docker, id).await? {
        Some(ContainerStateStatusEnum::RUNNING) => or_gone(within(WORK, docker.pause_container(id)).await),
        _ => Ok(()),
    }
}

/// Ends a container of ours; anybody else's is refused.
pub(crate) async fn stop(docker: &Docker, id: &str, timeout: Span) -> Result<(), EngineError> {
    let Some(status) = own(docker, id).await? else {
        return Ok(());
    };
    if status == ContainerStateStatusEnum::PAUSED {
        // What is frozen does not hear the signal.
        or_gone(within(WORK, docker.unpause_container(id)).await)?;
    }
    let seconds = i32::try_from(timeout.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
    // The signal was given when the container was created: older engines take it only there.
    let options = StopContainerOptions {
        t: Some(seconds),
        signal: None,
    };
    let stopped = within(timeout.to_std() + STOP_MARGIN, docker.stop_container(id, Some(options))).await;
    or_gone(stopped)
}

/// Ends and removes a container of ours; anybody else's is refused.
pub(crate) async fn remove(docker: &Docker, id: &str, timeout: Span) -> Result<(), EngineError> {
    if own(docker, id).await?.is_none() {
        return Ok(());
    }
    stop(docker, id, timeout).await?;
    discard(docker, id).await
}

/// How a container of ours stands; `None` when it is gone. Anybody else's is refused.
async fn own(docker: &Docker, id: &str) -> Result<Option<ContainerStateStatusEnum>, EngineError> {
    match observe::find(docker, id).await? {
        None => Ok(None),
        Some((_, labels)) if !labels::is_container(&labels) => Err(EngineError::Refused(format!(
            "the container {id} does not carry Slipway's labels: it is left alone"
        ))),
        Some((found, _)) => Ok(Some(
            found
                .state
                .and_then(|state| state.status)
                .unwrap_or(ContainerStateStatusEnum::EMPTY),
        )),
    }
}

/// Removes a container known to be ours, running or not, with its anonymous volumes.
pub(crate) async fn discard(docker: &Docker, id: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptions {
        force: true,
        v: true,
        ..RemoveContainerOptions::default()
    };
    or_gone(within(BULK, docker.remove_container(id, Some(options))).await)
}
