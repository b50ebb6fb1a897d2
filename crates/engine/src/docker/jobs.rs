//! One-off commands: one container for each, so that a command runs once however often it is asked for.

use std::collections::BTreeSet;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::StartContainerOptions;
use slipway_domain::ids::{EnvironmentId, ReleaseId};

use crate::docker::labels::Role;
use crate::docker::{WORK, containers, create, labels, logs, observe, volumes, within};
use crate::engine::{EngineError, FoundRun, GroupSpec, Job, JobExit, JobState, job_container};

pub(crate) async fn start(docker: &Docker, group: &GroupSpec, job: Job, command: &[String]) -> Result<(), EngineError> {
    if state(docker, job, 0).await? != JobState::Absent {
        return Ok(());
    }
    volumes::ensure(docker, group).await?;
    let id = containers::ensure(docker, &job_container(job), create::job(group, job, command)).await?;
    // A command may be the first to use a volume.
    volumes::hand_over(docker, group, &id).await?;
    within(WORK, docker.start_container(&id, None::<StartContainerOptions>)).await
}

pub(crate) async fn state(docker: &Docker, job: Job, lines_max: u32) -> Result<JobState, EngineError> {
    let name = job_container(job);
    let Some(found) = find(docker, job, &name).await? else {
        return Ok(JobState::Absent);
    };
    let state = found.state.unwrap_or_default();
    Ok(match state.status {
        // Made and never begun: an earlier attempt was cut off, and beginning it now is the first time.
        Some(ContainerStateStatusEnum::CREATED) => JobState::Absent,
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => JobState::Ended(JobExit {
            exit_code: state.exit_code.unwrap_or(-1),
            oom_killed: state.oom_killed.unwrap_or_default(),
            log_tail: if lines_max == 0 {
                Vec::new()
            } else {
                logs::tail(docker, &name, lines_max).await.unwrap_or_default()
            },
        }),
        _ => JobState::Running,
    })
}

pub(crate) async fn remove(docker: &Docker, job: Job) -> Result<(), EngineError> {
    let name = job_container(job);
    match find(docker, job, &name).await? {
        Some(_) => containers::discard(docker, &name).await,
        None => Ok(()),
    }
}

/// The releases of which the release command has a container.
pub(crate) async fn of(docker: &Docker, environment: EnvironmentId) -> Result<BTreeSet<ReleaseId>, EngineError> {
    let found = observe::list(docker, Some(environment), Role::Job).await?;
    let labels = found.into_iter().filter_map(|c| c.labels);
    Ok(labels.filter_map(|l| labels::release_command_of(&l)).collect())
}

/// The containers of runs.
pub(crate) async fn runs(docker: &Docker) -> Result<Vec<FoundRun>, EngineError> {
    let listed = observe::list(docker, None, Role::Job).await?;
    let found = listed.into_iter().filter_map(|container| {
        let (run, environment, release) = labels::run_of(&container.labels?)?;
        Some(FoundRun {
            run,
            environment,
            release,
            command: container.command.unwrap_or_default(),
        })
    });
    Ok(found.collect())
}

/// The container of the command; a foreign one of that name is not it.
async fn find(docker: &Docker, job: Job, name: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
    let found = observe::find(docker, name).await?;
    Ok(found.and_then(|(found, labels)| labels::is_job(&labels, job).then_some(found)))
}
