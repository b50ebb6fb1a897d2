//! One-off commands: carries each to its end, and begins those whose time has come.
//!
//! Every write is fenced by the lease. Where a run stands is in its row, what became of it in the engine: a process that
//! takes over looks at both and goes on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use slipway_domain::Timestamp;
use slipway_domain::ids::RunId;
use slipway_domain::run::RunState;
use slipway_domain::spec::{CronJob, RUN_TIMEOUT_DEFAULT};
use slipway_engine::{EngineError, Job, JobExit, JobState, job_container};
use slipway_planner::runs::{Container, RunFacts, RunStep, Verdict, due, next};
use slipway_store::{CronEnvironment, Run, RunEnd, StoreError, Tx};

use crate::operate::{OpError, prepared, pull};
use crate::session::Session;

/// How often the clock, and what runs, is looked at.
const TICK: Duration = Duration::from_secs(1);
/// So many last lines of a run are kept, of so many bytes each.
pub const OUTPUT_LINES_MAX: u32 = 500;
const LINE_BYTES_MAX: usize = 1_000;
/// What a run waits for that cannot be looked at.
const ENGINE_AWAY: &str = "the container engine does not answer; it is waited for";
/// Steps of one run between two looks at the clock.
const STEPS_MAX: u32 = 8;

/// Drives runs for as long as the term lasts.
pub(crate) async fn drive(session: &Arc<Session>) {
    let busy: Arc<Mutex<HashSet<RunId>>> = Arc::default();
    // What was taken out of a spec before this term is looked for once.
    let mut stale = true;
    let mut adopted = false;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = session.runs.notified() => {}
        }
        if !adopted {
            match adopt(session).await {
                Ok(()) => adopted = true,
                Err(error) => tracing::warn!(%error, "runs.not_looked_for: it is tried again"),
            }
        }
        let open = match look(session, &mut stale).await {
            Ok(open) => open,
            Err(error) => {
                tracing::warn!(%error, "runs.unknown: the database does not answer");
                continue;
            }
        };
        for id in open {
            if !busy.lock().insert(id) {
                continue;
            }
            let (session, busy) = (Arc::clone(session), Arc::clone(&busy));
            let tasks = session.tasks.clone();
            tasks.spawn(async move {
                if let Err(error) = carry_on(&session, id).await {
                    tracing::warn!(run = %id, %error, "run.failed_for_now");
                }
                busy.lock().remove(&id);
            });
        }
    }
}

/// Runs that the engine has and the database does not know, since it was put back to an older point, are written down: so
/// they are seen, come to their end and can be called off.
async fn adopt(session: &Session) -> Result<(), OpError> {
    let found = session.deps.engine.runs().await?;
    let mut tx = session.deps.store.begin().await?;
    tx.fence(session.epoch).await?;
    for run in found {
        if tx.run(run.run).await?.is_some() {
            continue;
        }
        let Some(environment) = tx.environment_by_id(run.environment).await? else {
            continue;
        };
        let known = tx.release(run.release).await?.map(|r| r.id);
        let Some(release) = known.or(environment.release) else {
            continue;
        };
        let place = (run.run, environment.team, environment.id);
        let mut row = Run::of(place, release, vec![run.command], RUN_TIMEOUT_DEFAULT);
        row.state = RunState::Starting;
        row.created_at = session.deps.clock.now();
        row.created_by = "somebody the database does not know any more".into();
        tx.insert_run(&row).await?;
        tracing::warn!(run = %run.run, environment = %environment.id, "run.adopted: the database did not know it");
    }
    tx.commit().await?;
    Ok(())
}

/// What the clock calls for is written down; then what is open.
async fn look(session: &Session, stale: &mut bool) -> Result<Vec<RunId>, StoreError> {
    let mut tx = session.deps.store.begin().await?;
    let environments = tx.cron_environments().await?;
    drop(tx);
    *stale |= forget_what_is_gone(session, &environments);
    if *stale {
        let mut tx = session.deps.store.begin().await?;
        tx.fence(session.epoch).await?;
        tx.forget_cron_marks().await?;
        tx.commit().await?;
        *stale = false;
    }
    for environment in environments {
        for job in &environment.spec.cron {
            if let Err(error) = clock(session, &environment, job).await {
                tracing::warn!(environment = %environment.id, cron = %job.name, %error, "cron.not_looked_at");
            }
        }
    }
    let mut tx = session.deps.store.begin().await?;
    tx.open_runs().await
}

/// True when a command that was looked at before is not there any more.
fn forget_what_is_gone(session: &Session, environments: &[CronEnvironment]) -> bool {
    let here: HashSet<_> = environments
        .iter()
        .flat_map(|e| e.spec.cron.iter().map(|job| (e.id, job.name.clone())))
        .collect();
    let mut known = session.cron_next.lock();
    let before = known.len();
    known.retain(|key, _| here.contains(key));
    known.len() < before
}

async fn clock(session: &Session, environment: &CronEnvironment, job: &CronJob) -> Result<(), StoreError> {
    let now = session.deps.clock.now();
    let key = (environment.id, job.name.clone());
    let known = session.cron_next.lock().get(&key).copied();
    if known.is_some_and(|(schedule, at)| schedule == environment.release && now < at) {
        return Ok(());
    }
    let mut tx = session.deps.store.begin().await?;
    tx.fence(session.epoch).await?;
    let last_at = tx.cron_mark(environment.id, job, now).await?;
    let unfinished = tx.unfinished_cron_runs(environment.id, &job.name).await?;
    let mut seen = last_at;
    if let Some(found) = due(job, last_at, unfinished.len(), now) {
        seen = found.at;
        let id = RunId::mint(now, session.deps.entropy.as_ref());
        let mut run = Run::of(
            (id, environment.team, environment.id),
            environment.release,
            job.command.clone(),
            job.timeout,
        );
        run.cron = Some((job.name.clone(), found.at));
        run.created_at = now;
        run.created_by = format!("cron {}", job.name);
        if let Some((first, reason)) = found.missed {
            let id = RunId::mint(now, session.deps.entropy.as_ref());
            tx.insert_run(&skipped(Run { id, ..run.clone() }, first, reason, now))
                .await?;
        }
        match found.verdict {
            Verdict::Run { replace } => {
                for before in unfinished.iter().filter(|_| replace) {
                    tx.cancel_run(*before, "the next time of its schedule took its place")
                        .await?;
                }
            }
            Verdict::Skip(reason) => run = skipped(run, found.at, reason, now),
        }
        tx.insert_run(&run).await?;
        tx.advance_cron(environment.id, &job.name, found.at).await?;
        tracing::info!(environment = %environment.id, cron = %job.name, run = %id, state = run.state.as_str(), "cron.due");
    }
    tx.commit().await?;
    if let Some(at) = job.schedule.after(seen) {
        session.cron_next.lock().insert(key, (environment.release, at));
    }
    Ok(())
}

/// A time of the clock of which nothing came.
fn skipped(run: Run, at: Timestamp, reason: String, now: Timestamp) -> Run {
    Run {
        cron: run.cron.map(|(name, _)| (name, at)),
        state: RunState::Skipped,
        reason: Some(reason),
        finished_at: Some(now),
        removed: true,
        ..run
    }
}

/// Takes a run as far as it goes now.
async fn carry_on(session: &Session, id: RunId) -> Result<(), OpError> {
    let deps = &session.deps;
    for _ in 0..STEPS_MAX {
        let mut tx = deps.store.begin().await?;
        let Some(run) = tx.run(id).await?.filter(|run| !run.removed) else {
            return Ok(());
        };
        drop(tx);
        let job = deps.engine.job(Job::Run(id), OUTPUT_LINES_MAX).await;
        let job = job.inspect_err(|error| tracing::debug!(run = %id, %error, "run.not_seen"));
        let (container, exit) = match job {
            Err(_) => (Container::Unknown, None),
            Ok(JobState::Absent) => (Container::Absent, None),
            Ok(JobState::Running) => (Container::Running, None),
            Ok(JobState::Ended(exit)) => (
                Container::Ended {
                    exit_code: exit.exit_code,
                },
                Some(exit),
            ),
        };
        let facts = RunFacts {
            state: run.state,
            created_at: run.created_at,
            started_at: run.started_at,
            timeout: run.timeout,
            cancel_requested: run.cancel_requested,
        };
        note(session, &run, container).await?;
        let now = deps.clock.now();
        match next(facts, container, now) {
            RunStep::Wait => return Ok(()),
            RunStep::Advance(to) => {
                let mut tx = fenced(session).await?;
                tx.advance_run(id, run.state, to, now).await?;
                tx.commit().await?;
            }
            RunStep::Start => match start(session, &run).await {
                Err(error) if error.is_final() => {
                    end(session, id, RunState::Failed, Some(error.to_string()), None).await?;
                }
                other => other?,
            },
            RunStep::End(state, reason) => {
                let exit = match exit {
                    None if container == Container::Running => seen_so_far(session, id).await,
                    exit => exit,
                };
                end(session, id, state, reason, exit).await?;
            }
            RunStep::Remove => {
                deps.engine.remove_job(Job::Run(id)).await?;
                let mut tx = fenced(session).await?;
                tx.run_removed(id).await?;
                tx.commit().await?;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whoever waits for it is told when the engine keeps it waiting.
async fn note(session: &Session, run: &Run, container: Container) -> Result<(), StoreError> {
    let waits_for = (container == Container::Unknown).then_some(ENGINE_AWAY);
    if run.state.is_final() || run.reason.as_deref() == waits_for {
        return Ok(());
    }
    let mut tx = fenced(session).await?;
    tx.note_run(run.id, waits_for).await?;
    tx.commit().await
}

async fn fenced(session: &Session) -> Result<Tx, StoreError> {
    let mut tx = session.deps.store.begin().await?;
    tx.fence(session.epoch).await?;
    Ok(tx)
}

async fn start(session: &Session, run: &Run) -> Result<(), OpError> {
    let deps = &session.deps;
    let mut tx = deps.store.begin().await?;
    let rows = tx.load_world(run.environment).await?.ok_or(OpError::Gone)?;
    drop(tx);
    let mut tx = deps.store.begin().await?;
    let release = tx.release(run.release).await?.ok_or(OpError::Gone)?;
    drop(tx);
    let group = prepared(deps, &rows, &release, session.epoch).await?;
    match deps.engine.start_job(&group, Job::Run(run.id), &run.command).await {
        Err(EngineError::NotFound(_)) if !deps.engine.has_image(&release.pin).await? => {
            pull(deps, &rows, &release).await?;
            Ok(deps.engine.start_job(&group, Job::Run(run.id), &run.command).await?)
        }
        other => Ok(other?),
    }
}

/// What a run that is stopped has written until then.
async fn seen_so_far(session: &Session, id: RunId) -> Option<JobExit> {
    let name = job_container(Job::Run(id));
    let lines = session.deps.engine.log_tail(&name, OUTPUT_LINES_MAX).await.ok()?;
    Some(JobExit {
        exit_code: -1,
        oom_killed: false,
        log_tail: lines,
    })
}

async fn end(
    session: &Session,
    id: RunId,
    state: RunState,
    reason: Option<String>,
    exit: Option<JobExit>,
) -> Result<(), StoreError> {
    let now = session.deps.clock.now();
    let ended_by_itself = matches!(state, RunState::Succeeded | RunState::Failed);
    let oom_killed = exit.as_ref().is_some_and(|exit| exit.oom_killed);
    let end = RunEnd {
        state,
        exit_code: exit
            .as_ref()
            .filter(|exit| ended_by_itself && exit.exit_code >= 0)
            .map(|exit| exit.exit_code),
        oom_killed,
        reason: if oom_killed {
            Some("it was killed because it used more than its `resources.memory`".into())
        } else {
            reason
        },
        output: exit.map(|exit| bounded(exit.log_tail)).unwrap_or_default(),
    };
    let mut tx = fenced(session).await?;
    tx.end_run(id, &end, now).await?;
    tx.commit().await?;
    tracing::info!(run = %id, state = state.as_str(), exit_code = end.exit_code, "run.ended");
    Ok(())
}

/// Lines that are not too long, without what a database cannot hold.
fn bounded(lines: Vec<String>) -> Vec<String> {
    let line = |line: String| {
        let mut line = line.replace('\0', "");
        if line.len() > LINE_BYTES_MAX {
            line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        }
        line
    };
    lines.into_iter().map(line).collect()
}
