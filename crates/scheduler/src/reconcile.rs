//! One environment: look, plan, do one batch, and say when to look again.
//!
//! Activation has no input but the environment: why it was woken does not matter, the world is looked at anew. At
//! most one activation of an environment is under way. After a crash the next one begins at the same place: labels
//! on the engine and rows in the database say everything that must be known. A writer that lost the lease is refused
//! by the database.

use std::collections::BTreeSet;
use std::sync::Arc;

use slipway_domain::Timestamp;
use slipway_domain::ids::{EnvironmentId, ProxyId, ReleaseId};
use slipway_domain::observed::{Instance, Observed};
use slipway_domain::release::Release;
use slipway_domain::rest::Rest;
use slipway_engine::{EngineError, Job};
use slipway_planner::plan::{Op, Plan, Step};
use slipway_planner::world::{Traffic, World};
use slipway_store::{EnvironmentWorld, StoreError};
use tracing::{Instrument, Span};

use crate::assemble::{self, Asked};
use crate::evidence;
use crate::execute::{Done, execute};
use crate::memory::{Follows, Memory};
use crate::operate::operate;
use crate::session::Session;
use crate::traffic::compare;

/// Batches after which an activation rests, so that a mistake in the planner cannot keep a core busy.
const BATCHES_MAX: u32 = 32;

/// Looks at the environment until nothing more can be done at once.
pub(crate) async fn activate(session: &Arc<Session>, id: EnvironmentId) -> Result<(), StoreError> {
    for _ in 0..BATCHES_MAX {
        if !batch(session, id).await? {
            return Ok(());
        }
    }
    tracing::warn!(environment = %id, "reconcile.restless: {BATCHES_MAX} batches in a row changed something");
    Ok(())
}

/// One look and one batch; true when another look at once makes sense.
async fn batch(session: &Arc<Session>, id: EnvironmentId) -> Result<bool, StoreError> {
    let deps = &session.deps;
    let mut tx = deps.store.begin().await?;
    let rows = tx.load_world(id).await?;
    drop(tx);
    let Some(rows) = rows else {
        session.forget(id);
        return Ok(false);
    };
    let rows = Arc::new(rows);
    let span = session.deploy_span(&rows);

    let instances = observe(session, id).instrument(span.clone()).await;
    let mut asked = ask(session, &rows).instrument(span.clone()).await;
    asked.unknown = unknown(session, &rows, &instances).await?;
    if let Observed::Known(seen) = &instances {
        session
            .board
            .keep(id, assemble::subjects(&rows, seen, &deps.settings.base_domain), &span);
    }
    let (world, plan) = decide(session, &rows, instances, &asked);
    let reason = failure_reason(session, &rows, &world, &plan)
        .instrument(span.clone())
        .await;

    let entropy = deps.entropy.as_ref();
    let written = execute(&deps.store, &rows, &world, &plan, reason, session.epoch, entropy)
        .instrument(span.clone())
        .await;
    let done = written.inspect_err(|_| session.unbegin(id, &plan))?;
    for step in &plan.steps {
        if let Step::Start(op) = step {
            begin(session, &rows, op.clone(), &span);
        }
    }
    finish(session, &rows, &plan, &done);
    Ok(done.ended.is_some() || done.taken_back.is_some() || done.changed)
}

/// What is wrong, and that it is over, is told and is in the log.
fn alerts(session: &Session, rows: &EnvironmentWorld, plan: &Plan) {
    let (app, environment) = (&rows.environment.app_name, &rows.environment.name);
    for step in &plan.steps {
        match step {
            Step::Raise(kind, _, message) => {
                tracing::warn!(%app, %environment, kind = kind.as_str(), why = message, "alert.raised");
            }
            Step::Clear(kind) => tracing::info!(%app, %environment, kind = kind.as_str(), "alert.cleared"),
            _ => continue,
        }
        session.alerts.notify_one();
    }
}

async fn observe(session: &Session, id: EnvironmentId) -> Observed<Vec<Instance>> {
    match session.deps.engine.observe(Some(id)).await {
        Ok(instances) => Observed::Known(instances),
        Err(error) => {
            tracing::warn!(environment = %id, %error, "engine.observe: cannot look, nothing is concluded");
            Observed::Unknown {
                reason: error.to_string(),
            }
        }
    }
}

async fn ask(session: &Session, rows: &EnvironmentWorld) -> Asked {
    let mut asked = Asked::default();
    let runs_commands = |r: &Release| !r.spec.deploy.release_command.is_empty();
    if rows.releases.iter().any(runs_commands) {
        asked.commands = known(session.deps.engine.jobs(rows.environment.id).await).unwrap_or_default();
    }
    let Some(release) = rows.deployment.as_ref().and_then(|d| rows.release(d.release)) else {
        return asked;
    };
    let (image, command) = assemble::questions(rows);
    if image {
        asked.image_present = known(session.deps.engine.has_image(&release.pin).await);
    }
    if command {
        asked.release_command = known(session.deps.engine.job(Job::Release(release.id), 0).await);
    }
    asked
}

/// Releases that instances are of and the database does not know. What is not among the rows at hand is looked for: a
/// kept release may be older than those.
async fn unknown(
    session: &Session,
    rows: &EnvironmentWorld,
    instances: &Observed<Vec<Instance>>,
) -> Result<BTreeSet<ReleaseId>, StoreError> {
    let seen = instances
        .known()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|i| i.release);
    let open: BTreeSet<ReleaseId> = seen.filter(|id| rows.release(*id).is_none()).collect();
    if open.is_empty() {
        return Ok(open);
    }
    session.deps.store.begin().await?.unknown_releases(open).await
}

/// An answer, or nothing to conclude from.
fn known<T>(answer: Result<T, EngineError>) -> Option<T> {
    answer
        .inspect_err(|error| tracing::warn!(%error, "engine.ask: no answer, nothing is concluded"))
        .ok()
}

fn decide(
    session: &Session,
    rows: &EnvironmentWorld,
    instances: Observed<Vec<Instance>>,
    asked: &Asked,
) -> (World, Plan) {
    let now = session.deps.clock.now();
    let id = rows.environment.id;
    let health = session.board.health(id);
    let mut memories = session.memories.lock();
    let memory = memories.entry(id).or_default();
    if let Observed::Known(seen) = &instances {
        let routed = rows.route.iter().flat_map(|r| &r.groups).flat_map(|g| &g.instances);
        let rests = rows.status.rest != Rest::Awake;
        memory.saw(seen, &routed.map(|u| u.instance.clone()).collect(), rests, now);
    }
    let traffic = traffic(session, rows, &instances, memory, now);
    let load = session.deps.traffic.load(id, &connected(rows), now);
    let world = assemble::world(rows, instances, health, asked, memory, (traffic, load), now);
    let plan = slipway_planner::plan(&world);
    memory.wake = plan.wake;
    memory.follows = follows(&world);
    // Taken before the rows are written, so that a wake-up in between does not begin the same operation twice.
    memory.running.extend(plan.steps.iter().filter_map(|s| match s {
        Step::Start(op) => Some(op.clone()),
        _ => None,
    }));
    (world, plan)
}

/// Proxies that follow the feed, whose word is needed before anything is concluded from the load.
fn connected(rows: &EnvironmentWorld) -> Vec<ProxyId> {
    let connected = rows.proxies.iter().filter(|p| p.connected);
    connected.map(|p| p.id).collect()
}

/// What the next reports of the load are judged by.
fn follows(world: &World) -> Option<Follows> {
    let serving = world.serving.as_ref().filter(|_| world.rest == Rest::Awake)?;
    let scale = serving.scale;
    (scale.sleeps() || scale.follows_load()).then_some(Follows {
        scale,
        current: serving.replicas,
        scaled_at: world.scaled_at,
    })
}

/// How the two releases of a canary do, while one is under way.
fn traffic(
    session: &Session,
    rows: &EnvironmentWorld,
    instances: &Observed<Vec<Instance>>,
    memory: &mut Memory,
    now: Timestamp,
) -> Option<Traffic> {
    let deployment = rows.deployment.as_ref()?;
    let (step, _) = deployment.canary?;
    let new = instances.known()?.iter().filter(|i| i.release == deployment.release);
    let counts = session.deps.traffic.of(rows.environment.id, now);
    compare(
        &mut memory.baseline,
        (deployment.id, step),
        counts,
        &new.map(|i| i.id.clone()).collect(),
    )
}

async fn failure_reason(
    session: &Session,
    rows: &EnvironmentWorld,
    world: &World,
    plan: &Plan,
) -> Option<slipway_domain::deployment::Reason> {
    let failure = plan.steps.iter().find_map(|s| match s {
        Step::Fail(_, failure) => Some((failure, rows.deployment.as_ref()?.release)),
        Step::RollBack { from, failure, .. } => Some((failure, *from)),
        _ => None,
    })?;
    let (failure, release) = failure;
    let release = rows.release(release)?;
    let instances = world.instances.known().map_or(&[][..], Vec::as_slice);
    Some(evidence::reason(&session.deps, rows, &session.board, release, instances, failure).await)
}

/// Begins an operation of its own; when it ends, the environment is looked at again.
fn begin(session: &Arc<Session>, rows: &Arc<EnvironmentWorld>, op: Op, span: &Span) {
    let (session, rows) = (Arc::clone(session), Arc::clone(rows));
    let name = match &op {
        Op::Pull(_) => "engine.pull",
        Op::Command(_) => "engine.start_job",
        Op::RemoveCommand(_) => "engine.remove_job",
        Op::Apply(..) => "engine.apply_group",
        Op::Smoke(_) => "deploy.smoke",
        Op::Resume(_) => "engine.resume_instance",
        Op::Pause(_) => "engine.pause_instance",
        Op::Stop(_) => "engine.stop_instance",
        Op::Remove(_) => "engine.remove_instance",
        Op::Clean => "engine.clean",
    };
    let span = tracing::info_span!(parent: span, "deploy.operation", otel.name = name);
    let tasks = session.tasks.clone();
    tasks.spawn(
        async move {
            let id = rows.environment.id;
            let result = operate(&session.deps, &rows, session.epoch, &op).await;
            if let Err(error) = &result {
                tracing::warn!(environment = %id, operation = ?op, %error, "operation.failed");
            }
            let now = session.deps.clock.now();
            session.memories.lock().entry(id).or_default().ended(&op, result, now);
            session.wake(id);
        }
        .instrument(span),
    );
}

fn finish(session: &Session, rows: &EnvironmentWorld, plan: &Plan, done: &Done) {
    let id = rows.environment.id;
    if let Some((deployment, reason)) = &done.ended {
        let row = rows.deployment.as_ref().filter(|d| d.id == *deployment);
        let code = reason.as_ref().map_or("none", |r| r.code.as_str());
        let result = if reason.is_some() { "failed" } else { "succeeded" };
        session.deps.observer.deploy_finished(result, code);
        for step in row.iter().flat_map(|d| &d.steps) {
            if let Some(end) = step.finished_at {
                let seconds = (end - step.started_at).as_seconds_f64();
                session.deps.observer.deploy_phase(step.name.as_str(), seconds);
            }
        }
        tracing::info!(%deployment, environment = %id, result, reason = code, "deployment.finished");
        session.memories.lock().entry(id).or_default().span = None;
    }
    if let Some((deployment, reason)) = &done.taken_back {
        let code = reason.as_ref().map_or("none", |r| r.code.as_str());
        tracing::warn!(%deployment, environment = %id, reason = code, "release.taken_back");
    }
    alerts(session, rows, plan);
    if done.purged {
        session.forget(id);
        session.purged.notify_one();
        tracing::info!(environment = %id, "environment.purged");
    }
    if plan.settled && rows.deployment.is_none() {
        let mut memories = session.memories.lock();
        let memory = memories.entry(id).or_default();
        memory.failed.clear();
    }
}
