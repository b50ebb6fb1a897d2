//! Steps that change rows: all of one batch in one transaction, fenced by the lease.

use crate::{assemble, promotion, rollback};
use slipway_domain::deployment::{DeploymentEvent, Reason, StepName, StepState};
use slipway_domain::ids::{AlertId, DeploymentId};
use slipway_domain::observed::{Instance, InstanceState, Observed};
use slipway_domain::release::ReleaseCause;
use slipway_domain::rest::Rest;
use slipway_domain::routing::{GroupRoute, Split, Upstream};
use slipway_domain::{Entropy, Epoch, Timestamp};
use slipway_planner::conditions::{self, Said, conditions};
use slipway_planner::plan::{Judged, Plan, Route, Step};
use slipway_planner::world::{Health, World};
use slipway_store::{Condition, EnvironmentStatus, EnvironmentWorld, InstanceRecord, LastExit, Store, StoreError, Tx};

/// What one batch did to the rows.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The deployment that ended, how, and why.
    pub(crate) ended: Option<(DeploymentId, Option<Reason>)>,
    /// Whether proxies are told something new.
    pub(crate) published: bool,
    /// Whether the environment is gone.
    pub(crate) purged: bool,
    /// Whether the environment goes to rest, wakes or has another size.
    pub(crate) changed: bool,
    /// The deployment that takes a failing release back, and why.
    pub(crate) taken_back: Option<(DeploymentId, Option<Reason>)>,
}

/// Writes a batch. `reason` explains the failure that the batch contains, if it does.
pub(crate) async fn execute(
    store: &Store,
    rows: &EnvironmentWorld,
    world: &World,
    plan: &Plan,
    reason: Option<Reason>,
    epoch: Epoch,
    entropy: &dyn Entropy,
) -> Result<Done, StoreError> {
    let mut done = Done::default();
    let status = next_status(rows, world, plan);
    let writes = plan.steps.iter().any(|s| !matches!(s, Step::Start(_)));
    if !writes && status == rows.status {
        return Ok(done);
    }
    let mut tx = store.begin().await?;
    tx.fence(epoch).await?;
    for step in &plan.steps {
        match step {
            Step::Start(_) => {}
            Step::Begin(id) => tx.start_deployment(*id, world.now).await?,
            Step::Mark(id, name, state) => mark(&mut tx, rows, world, *id, (*name, *state)).await?,
            Step::Publish(route) => {
                let groups = groups(rows, &world.instances, route);
                tx.set_route(&rows.environment, route.state, &groups, route.split)
                    .await?;
                done.published = true;
            }
            Step::Succeed(id) => {
                tx.finish_deployment(*id, DeploymentEvent::Succeed, None, world.now)
                    .await?;
                promotion::accept(&mut tx, rows, *id, world.now, entropy).await?;
                done.ended = Some((*id, None));
            }
            Step::Fail(id, _) => {
                tx.finish_deployment(*id, DeploymentEvent::Fail, reason.as_ref(), world.now)
                    .await?;
                done.ended = Some((*id, reason.clone()));
            }
            Step::Canary(id, step, judged) => canary(&mut tx, rows, *id, (*step, *judged), world.now).await?,
            Step::RollBack { from, to, .. } => {
                let back = rollback::accept(&mut tx, rows, *from, *to, reason.as_ref(), world.now, entropy).await?;
                done.taken_back = back.map(|deployment| (deployment.id, reason.clone()));
            }
            Step::Scale(_) | Step::Rest(_) => done.changed = true,
            Step::Raise(kind, release, message) => {
                let id = AlertId::mint(world.now, entropy);
                tx.raise_alert(id, &rows.environment, (*kind, *release, message), world.now)
                    .await?;
            }
            Step::Clear(kind) => tx.clear_alert(rows.environment.id, *kind, world.now).await?,
            Step::PassNumber(number) => tx.pass_release_number(rows.environment.id, *number).await?,
            Step::Purge => {
                tx.purge_environment(rows.environment.id).await?;
                done.purged = true;
            }
        }
    }
    if !done.purged && status != rows.status {
        tx.save_status(rows.environment.id, &status).await?;
    }
    tx.commit().await?;
    Ok(done)
}

async fn mark(
    tx: &mut Tx,
    rows: &EnvironmentWorld,
    world: &World,
    id: DeploymentId,
    (name, state): (StepName, StepState),
) -> Result<(), StoreError> {
    let now = world.now;
    let detail = match &world.instances {
        Observed::Unknown { .. } if state == StepState::Running => {
            Some("the container engine does not answer; waiting for it".into())
        }
        _ => detail(rows, id, name, state),
    };
    if state == StepState::Running {
        tx.step_started(id, name, detail.as_deref(), now).await?;
    } else {
        tx.step_finished(id, name, state, detail.as_deref(), now).await?;
    }
    let message = detail.unwrap_or_else(|| format!("{} {}", title(name), state.as_str()));
    tx.append_event(id, &format!("step.{}", state.as_str()), now, Some(name), &message)
        .await?;
    Ok(())
}

/// A step of a canary begins to count, or the last one has ended.
async fn canary(
    tx: &mut Tx,
    rows: &EnvironmentWorld,
    id: DeploymentId,
    (step, judged): (u32, Option<Judged>),
    now: Timestamp,
) -> Result<(), StoreError> {
    let judged = judged.map(|judged| match judged {
        Judged::Requests(requests) => format!("nothing spoke against it in {requests} requests"),
        Judged::TooFew(requests) => format!("only {requests} requests came, too few to judge it by"),
        Judged::Uncounted => "its requests could not be counted: it was not judged".into(),
    });
    let release = rows.deployment.as_ref().and_then(|d| rows.release(d.release));
    let place = usize::try_from(step).unwrap_or(usize::MAX);
    let share = release.and_then(|release| {
        let current = release.spec.deploy.canary.get(place)?;
        let (number, weight, hold) = (release.number, current.weight, current.hold);
        Some(format!("{number} has {weight} % of the traffic for {hold}"))
    });
    let message = [judged, share].into_iter().flatten().collect::<Vec<_>>().join("; ");
    tx.canary_step(id, step, Some(&message), now).await?;
    tx.append_event(id, "canary.step", now, Some(StepName::Canary), &message)
        .await?;
    Ok(())
}

/// A line for people, where there is more to say than the step's name and state.
fn detail(rows: &EnvironmentWorld, id: DeploymentId, name: StepName, state: StepState) -> Option<String> {
    let release = rows
        .deployment
        .as_ref()
        .filter(|d| d.id == id)
        .and_then(|d| rows.release(d.release));
    let replicas = release.map_or(1, |r| assemble::replicas(rows, r));
    let number = release.map(|r| r.number);
    let promoted = rows.deployment.as_ref().is_some_and(|d| d.promoted);
    match (name, state) {
        (StepName::Pull, StepState::Running) => release.map(|r| format!("pulling {}", r.pin.engine_reference())),
        (StepName::ReleaseCommand, StepState::Succeeded) => Some("it ended with exit code 0".into()),
        (StepName::Pull, StepState::Succeeded) => Some("the image is on the machine".into()),
        (StepName::ReleaseCommand, StepState::Running) => {
            release.map(|r| format!("running {}", r.spec.deploy.release_command.join(" ")))
        }
        (StepName::ReleaseCommand, StepState::Skipped) => Some("no release command".into()),
        (StepName::Start, StepState::Running) if replicas > 1 => Some(format!("starting {replicas} instances")),
        (StepName::Start, StepState::Running) => Some("starting 1 instance".into()),
        (StepName::Start, StepState::Succeeded) if replicas > 1 => Some(format!("{replicas} instances run")),
        (StepName::Start, StepState::Succeeded) => Some("1 instance runs".into()),
        (StepName::Health, StepState::Running) => Some(match release.and_then(|r| r.spec.health.path.clone()) {
            Some(path) => format!("waiting for {path} to answer 2xx"),
            None => "waiting for the port to open and stay open".into(),
        }),
        (StepName::Health, StepState::Succeeded) => Some(match release.and_then(|r| r.spec.health.path.clone()) {
            Some(path) => format!("{path} answered 2xx"),
            None => "the port stayed open".into(),
        }),
        (StepName::Smoke, StepState::Running) => release.map(|r| match r.spec.deploy.smoke.len() {
            1 => "the app's own check".to_owned(),
            n => format!("the app's own {n} checks"),
        }),
        (StepName::Smoke, StepState::Succeeded) => Some("they all passed".into()),
        (StepName::Canary, StepState::Running) => Some("a share of the traffic, judged against the old release".into()),
        // Otherwise what its last step was judged by stays.
        (StepName::Canary, StepState::Succeeded) if promoted => Some("somebody ended it early".into()),
        (StepName::Canary, StepState::Skipped) => Some("there is no old release to be judged against".into()),
        (StepName::Switch, StepState::Running) => number.map(|n| format!("the proxies take {n} into use")),
        // Some of those that have it may be of the release before, which is the same.
        (StepName::Switch, StepState::Succeeded) if release.is_some_and(|r| r.cause == ReleaseCause::Scale) => {
            Some(match replicas {
                1 => "1 instance has the traffic".into(),
                n => format!("{n} instances have the traffic"),
            })
        }
        (StepName::Switch, StepState::Succeeded) => number.map(|n| format!("all traffic is on {n}")),
        (StepName::Drain, StepState::Running) => Some("requests on the old instances finish".into()),
        (StepName::Drain, StepState::Succeeded) => Some("nothing is under way on the old instances".into()),
        (StepName::Stop, StepState::Running) => Some("stopping the old instances".into()),
        (StepName::Drain | StepName::Stop, StepState::Skipped) => Some("there is no old instance".into()),
        (StepName::Stop, StepState::Succeeded) => Some("the old instances are gone".into()),
        _ => None,
    }
}

fn title(name: StepName) -> &'static str {
    match name {
        StepName::Pull => "pull",
        StepName::ReleaseCommand => "release command",
        StepName::Start => "start",
        StepName::Health => "health",
        StepName::Smoke => "smoke",
        StepName::Canary => "canary",
        StepName::Switch => "switch",
        StepName::Drain => "drain",
        StepName::Stop => "stop",
    }
}

/// The published instances by release, each group weighted by its size so that every instance gets an equal share.
fn groups(rows: &EnvironmentWorld, instances: &Observed<Vec<Instance>>, route: &Route) -> Vec<GroupRoute> {
    let mut groups: Vec<GroupRoute> = Vec::new();
    let known = instances.known().map_or(&[][..], Vec::as_slice);
    let mut routed: Vec<&Instance> = known.iter().filter(|i| route.instances.contains(&i.id)).collect();
    routed.sort_by_key(|i| (i.release_number, i.slot));
    for instance in routed {
        let Some(address) = instance.address else { continue };
        // One that the database does not know goes by the number it was started under.
        let release = rows
            .release(instance.release)
            .map_or(instance.release_number, |r| r.number);
        let upstream = Upstream {
            instance: instance.id.clone(),
            address,
        };
        match groups.iter_mut().find(|g| g.release == release) {
            Some(group) => {
                group.instances.push(upstream);
                group.weight += 1;
            }
            None => groups.push(GroupRoute {
                release,
                weight: 1,
                instances: vec![upstream],
            }),
        }
    }
    if let Some(split) = route.split {
        share(&mut groups, &split);
    }
    groups
}

/// The new release gets its share, the others the rest by their size.
fn share(groups: &mut [GroupRoute], split: &Split) {
    let is_new = |g: &GroupRoute| g.release == split.release;
    let others: u32 = groups.iter().filter(|g| !is_new(g)).map(|g| g.weight).sum();
    for group in groups {
        group.weight = if is_new(group) {
            split.percent * others.max(1)
        } else {
            (100 - split.percent.min(100)) * group.weight
        };
    }
}

fn next_status(rows: &EnvironmentWorld, world: &World, plan: &Plan) -> EnvironmentStatus {
    let mut status = rows.status.clone();
    let succeeded = plan.steps.iter().any(|s| matches!(s, Step::Succeed(_)));
    if succeeded && let Some(deployment) = &rows.deployment {
        let before = status.serving.replace(deployment.release);
        let pair = before
            .and_then(|id| rows.release(id))
            .zip(rows.release(deployment.release));
        // The same once more, or in another number, is watched for as long as what it repeats, and gone back from to what
        // was before that.
        if !pair.is_some_and(|(before, now)| now.has_contents_of(before)) {
            status.previous = before;
            status.serving_since = Some(world.now);
        }
    }
    for step in &plan.steps {
        match step {
            Step::Scale(count) => (status.replicas, status.scaled_at) = (Some(*count), Some(world.now)),
            Step::Rest(rest) => (status.rest, status.rest_since) = (*rest, Some(world.now)),
            _ => {}
        }
    }
    if plan.settled || succeeded {
        status.observed_generation = rows.environment.generation;
    }
    if let Observed::Known(instances) = &world.instances {
        let before = |id: &str| rows.status.instances.iter().find(|r| r.instance == id);
        status.instances = instances.iter().map(|i| record(world, i, before(&i.id))).collect();
    }
    let before = &rows.status.conditions;
    status.conditions = match conditions(world, plan) {
        Said::Seen(now) => now.map(|c| said(before, c, world.now)).into(),
        Said::Blind {
            progress,
            reason,
            message,
        } => {
            let progress = said(before, progress, world.now);
            let others = before.iter().filter(|c| c.kind != progress.kind).map(|c| Condition {
                reason: reason.into(),
                message: message.clone(),
                ..c.clone()
            });
            others.chain([progress.clone()]).collect()
        }
    };
    status
}

/// A condition as it is kept: true or not since it last changed.
fn said(before: &[Condition], now: conditions::Condition, at: Timestamp) -> Condition {
    let kind = now.kind.as_str();
    let same = before.iter().find(|c| c.kind == kind && c.status == now.status);
    Condition {
        kind: kind.into(),
        status: now.status,
        reason: now.reason.into(),
        message: now.message,
        since: same.map_or(at, |c| c.since),
    }
}

/// An instance as it is now. Restarts are counted here and not by the engine, because they are ours.
fn record(world: &World, instance: &Instance, before: Option<&InstanceRecord>) -> InstanceRecord {
    let known = before.and_then(|b| b.last_exit);
    let last_exit = match instance.state {
        InstanceState::Exited {
            exit_code,
            oom_killed,
            finished_at,
        } => {
            let at = finished_at.or(known.map(|k| k.at)).unwrap_or(world.now);
            // Told only by who ended it: another that looks at the same end later keeps what is known.
            let told = known.is_some_and(|k| k.at == at && k.unresponsive);
            let restart = world.restarts.get(&(instance.release, instance.slot));
            Some(LastExit {
                at,
                exit_code,
                oom_killed,
                unresponsive: told || restart.is_some_and(|r| r.unresponsive),
            })
        }
        _ => known,
    };
    // What was put to sleep has not ended by itself.
    let ended_anew = u32::from(world.rest == Rest::Awake && last_exit.map(|e| e.at) != known.map(|e| e.at));
    let health = match world.health.get(&instance.id) {
        Some(Health::Healthy) => "healthy",
        Some(Health::Failing { .. }) => "unhealthy",
        Some(Health::Unproven { .. }) | None => "starting",
    };
    InstanceRecord {
        instance: instance.id.clone(),
        release: instance.release,
        slot: instance.slot,
        address: instance.address,
        health: health.to_owned(),
        restarts: before.map_or(0, |b| b.restarts) + ended_anew,
        last_exit,
    }
}
