//! From rows, engine and memory to the planner's world. Nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use slipway_domain::Timestamp;
use slipway_domain::alert::AlertKind;
use slipway_domain::deployment::{DeploymentState, StepName};
use slipway_domain::ids::ReleaseId;
use slipway_domain::name::HostName;
use slipway_domain::observed::{Instance, InstanceState, Observed};
use slipway_domain::release::{Release, ReleaseCause};
use slipway_domain::routing::RouteState;
use slipway_engine::JobState;
use slipway_planner::world::{
    CanaryProgress, CommandFacts, DeploymentFacts, Desired, Health, Load, OpFailure, ReleaseFacts, RouteFacts, Traffic,
    World,
};
use slipway_store::EnvironmentWorld;

use crate::board::Subject;
use crate::memory::Memory;
use crate::probe::Question;

/// What was asked besides, where it mattered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Whether the image is here.
    pub(crate) image_present: Option<bool>,
    /// How the release command stands.
    pub(crate) release_command: Option<JobState>,
    /// Releases whose release command has a container.
    pub(crate) commands: BTreeSet<ReleaseId>,
    /// Releases of instances that the database does not know.
    pub(crate) unknown: BTreeSet<ReleaseId>,
}

/// Whether the next plan needs to know about the image, and about the release command.
pub(crate) fn questions(rows: &EnvironmentWorld) -> (bool, bool) {
    let Some(deployment) = &rows.deployment else {
        return (false, false);
    };
    let done = |name: StepName| {
        deployment
            .steps
            .iter()
            .any(|s| s.name == name && s.finished_at.is_some())
    };
    let command = rows.release(deployment.release).is_some_and(runs_command);
    let pulled = done(StepName::Pull);
    (!pulled, command && !done(StepName::ReleaseCommand))
}

/// The planner's world.
pub(crate) fn world(
    rows: &EnvironmentWorld,
    instances: Observed<Vec<Instance>>,
    health: BTreeMap<String, Health>,
    asked: &Asked,
    memory: &Memory,
    (traffic, load): (Option<Traffic>, Option<Load>),
    now: Timestamp,
) -> World {
    let of = |id: Option<ReleaseId>| id.and_then(|id| rows.release(id)).map(|r| facts(rows, r));
    World {
        now,
        desired: match rows.environment.desired {
            slipway_store::Desired::Running => Desired::Running,
            slipway_store::Desired::Stopped => Desired::Stopped,
            slipway_store::Desired::Deleted => Desired::Deleted,
        },
        serving: of(rows.status.serving),
        serving_since: rows.status.serving_since,
        previous: of(rows.status.previous),
        deployment: deployment(rows, asked),
        draining: rows.draining,
        last_failed: rows.last_failed,
        commands: asked.commands.clone(),
        decided_at: rows.environment.decided_at,
        unknown: asked.unknown.clone(),
        route: route(rows, memory, &instances),
        instances,
        health,
        smoked: memory.smoked,
        running: memory.running.clone(),
        failed: memory
            .failed
            .iter()
            .map(|(op, (_, failure))| (op.clone(), failure.clone()))
            .collect::<BTreeMap<_, OpFailure>>(),
        cleaned: memory.cleaned,
        traffic,
        rest: rows.status.rest,
        rest_since: rows.status.rest_since,
        wake_asked: rows
            .wake_asked_at
            .zip(rows.status.rest_since)
            .is_some_and(|(asked, since)| asked >= since),
        load,
        scaled_at: rows.status.scaled_at,
        crash_alert: rows.alerts.get(&AlertKind::CrashLoop).copied(),
        unknown_alert: rows.alerts.get(&AlertKind::UnknownRelease).copied(),
        restarts: memory.restarts.iter().map(|(slot, r)| (*slot, r.restart)).collect(),
    }
}

fn facts(rows: &EnvironmentWorld, release: &Release) -> ReleaseFacts {
    let deploy = &release.spec.deploy;
    let replicas = replicas(rows, release);
    let alike = rows.releases.iter().filter(|r| r.root() == release.root());
    ReleaseFacts {
        id: release.id,
        number: release.number,
        like: alike.map(|r| r.id).filter(|id| *id != release.id).collect(),
        is_rollback: release.cause.is_rollback(),
        strategy: deploy.strategy,
        surge: deploy.max_surge.unwrap_or_else(|| replicas.div_ceil(4)).max(1),
        bake_time: deploy.bake_time,
        canary: deploy.canary.clone(),
        sticky: deploy.sticky,
        scale: release.spec.scale,
        replicas,
        drain_timeout: deploy.drain_timeout,
        kill_timeout: deploy.kill_timeout,
        health_deadline: release.spec.health.deadline,
        restart_after: release.spec.health.restart_after,
        has_release_command: runs_command(release),
        has_smoke: !deploy.smoke.is_empty() && release.cause != ReleaseCause::Scale,
    }
}

/// Whether a release's command is to run: another scale of the same contents does not run it again.
fn runs_command(release: &Release) -> bool {
    let is_scale = release.cause == ReleaseCause::Scale && release.same_as.is_some();
    !release.spec.deploy.release_command.is_empty() && !is_scale
}

/// How many instances a release is to have: what the load called for last, within the release's own bounds.
pub(crate) fn replicas(rows: &EnvironmentWorld, release: &Release) -> u32 {
    let scale = release.spec.scale;
    let last = rows.status.replicas.filter(|_| scale.follows_load());
    last.map_or(scale.floor(), |n| n.clamp(scale.floor(), scale.ceiling()))
}

fn deployment(rows: &EnvironmentWorld, asked: &Asked) -> Option<DeploymentFacts> {
    // What waits for a word does not exist yet, as far as the engine is concerned.
    let row = rows
        .deployment
        .as_ref()
        .filter(|d| d.state != DeploymentState::AwaitingApproval)?;
    let target = facts(rows, rows.release(row.release)?);
    Some(DeploymentFacts {
        id: row.id,
        state: row.state,
        target,
        steps: row.steps.iter().map(|s| (s.name, (s.state, s.started_at))).collect(),
        image_present: asked.image_present,
        release_command: asked.release_command.as_ref().map(|job| match job {
            JobState::Absent => CommandFacts::Absent,
            JobState::Running => CommandFacts::Running,
            JobState::Ended(exit) => CommandFacts::Ended {
                exit_code: exit.exit_code,
            },
        }),
        canary: row.canary.map(|(step, since)| CanaryProgress { step, since }),
        promoted: row.promoted,
    })
}

/// Every proxy that is connected, or was a moment ago, must have the version in force; with none there is no proof.
fn route(rows: &EnvironmentWorld, memory: &Memory, instances: &Observed<Vec<Instance>>) -> RouteFacts {
    let upstreams = || rows.route.iter().flat_map(|r| &r.groups).flat_map(|g| &g.instances);
    let known = instances.known().map_or(&[][..], Vec::as_slice);
    let address = |id: &str| known.iter().find(|i| i.id == id).and_then(|i| i.address);
    let version = rows.route.as_ref().map(|r| r.version);
    let acknowledged = match version {
        None => true,
        Some(version) => !rows.proxies.is_empty() && rows.proxies.iter().all(|p| p.applied >= version),
    };
    RouteFacts {
        state: rows.route.as_ref().map_or(RouteState::Empty, |r| r.state),
        instances: upstreams().map(|u| u.instance.clone()).collect::<BTreeSet<_>>(),
        moved: upstreams().any(|u| address(&u.instance).is_some_and(|now| now != u.address)),
        split: rows.route.as_ref().and_then(|r| r.split),
        acknowledged,
        draining: rows.proxies.iter().flat_map(|p| p.draining.iter().cloned()).collect(),
        unrouted_since: memory.unrouted_since.clone(),
    }
}

/// What to probe: every running instance, in the way its release's spec says; one of a release that the database does
/// not know as the newest that it knows.
pub(crate) fn subjects(rows: &EnvironmentWorld, instances: &[Instance], base_domain: &HostName) -> Vec<Subject> {
    let host = HostName::of(&rows.environment.app_name, &rows.environment.name, base_domain);
    instances
        .iter()
        .filter_map(|i| {
            let InstanceState::Running { started_at } = i.state else {
                return None;
            };
            let newest = || rows.releases.iter().max_by_key(|r| r.number);
            let own = rows.release(i.release).or_else(newest)?;
            let health = &own.spec.health;
            let question = Question {
                address: i.address?,
                path: health.path.clone(),
                host: host.to_string(),
                timeout: health.timeout.to_std(),
                body_bytes_max: 0,
            };
            let proven = rows
                .status
                .instances
                .iter()
                .any(|r| r.instance == i.id && r.health == "healthy");
            let interval = health.interval.to_std().max(Duration::from_millis(100));
            // What has served already shows by an open port that it is there again.
            let serving = rows.status.serving.and_then(|id| rows.release(id));
            let is_known = serving.is_some_and(|serving| serving.root() == own.root());
            Some(Subject {
                id: i.id.clone(),
                is_known,
                started_at,
                deadline: health.deadline.to_chrono(),
                environment: rows.environment.id,
                question,
                interval,
                watched: own.spec.deploy.bake_time.to_chrono(),
                proven,
            })
        })
        .collect()
}
