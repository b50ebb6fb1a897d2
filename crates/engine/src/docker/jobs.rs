//! One-off commands: one container for each release and purpose, so that a command runs once however often it is
//! asked for.

use std::collections::BTreeSet;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::StartContainerOptions;
use slipway_domain::deployment::StepName;
use slipway_domain::ids::{EnvironmentId, ReleaseId};

use crate::docker::labels::Role;
use crate::docker::{WORK, containers, create, labels, logs, observe, volumes, within};
use crate::engine::{EngineError, GroupSpec, JobExit, JobState};

/// So many last lines are kept of a command that ended.
const TAIL_LINES_MAX: u32 = 50;

pub(crate) async fn start(
    docker: &Docker,
    group: &GroupSpec,
    purpose: StepName,
    command: &[String],
) -> Result<(), EngineError> {
    let name = create::job_name(group.release, purpose);
    if state(docker, group.release, purpose).await? != JobState::Absent {
        return Ok(());
    }
    volumes::ensure(docker, group).await?;
    let id = containers::ensure(docker, &name, create::job(group, command)).await?;
    // A command may be the first to use a volume.
    volumes::hand_over(docker, group, &id).await?;
    within(WORK, docker.start_container(&id, None::<StartContainerOptions>)).await
}

pub(crate) async fn state(docker: &Docker, release: ReleaseId, purpose: StepName) -> Result<JobState, EngineError> {
    let name = create::job_name(release, purpose);
    let Some(found) = find(docker, release, &name).await? else {
        return Ok(JobState::Absent);
    };
    let state = found.state.unwrap_or_default();
    Ok(match state.status {
        // Made and never begun: an earlier attempt was cut off, and beginning it now is the first time.
        Some(ContainerStateStatusEnum::CREATED) => JobState::Absent,
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => JobState::Ended(JobExit {
            exit_code: state.exit_code.unwrap_or(-1),
            oom_killed: state.oom_killed.unwrap_or_default(),
            log_tail: logs::tail(docker, &name, TAIL_LINES_MAX).await.unwrap_or_default(),
        }),
        _ => JobState::Running,
    })
}

pub(crate) async fn remove(docker: &Docker, release: ReleaseId, purpose: StepName) -> Result<(), EngineError> {
    let name = create::job_name(release, purpose);
    match find(docker, release, &name).await? {
        Some(_) => containers::discard(docker, &name).await,
        None => Ok(()),
    }
}

/// The releases of which a command has a container.
pub(crate) async fn of(docker: &Docker, environment: EnvironmentId) -> Result<BTreeSet<ReleaseId>, EngineError> {
    let found = observe::list(docker, Some(environment), Role::Job).await?;
    let labels = found.into_iter().filter_map(|c| c.labels);
    Ok(labels.filter_map(|l| labels::release_of(&l)).collect())
}

/// The container of the release's command; a foreign one of that name is not it.
async fn find(
    docker: &Docker,
    release: ReleaseId,
    name: &str,
) -> Result<Option<ContainerInspectResponse>, EngineError> {
    let found = observe::find(docker, name).await?;
    Ok(found.and_then(|(found, labels)| labels::is_job_of(&labels, release).then_some(found)))
}
