//! `runs` and `cron_marks`: one-off commands, asked for or by the clock.

use slipway_domain::Timestamp;
use slipway_domain::ids::{EnvironmentId, ReleaseId, RunId, TeamId};
use slipway_domain::name::CronName;
use slipway_domain::quantity::Span;
use slipway_domain::run::RunState;
use slipway_domain::spec::{CronJob, Spec};

use crate::row::{bad, json, one, parse, spec, to_json};
use crate::{Environment, Page, StoreError, Tx};

/// A one-off command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its identifier.
    pub id: RunId,
    /// Whose it is.
    pub team: TeamId,
    /// Where it runs.
    pub environment: EnvironmentId,
    /// The release whose image, variables and secrets it has.
    pub release: ReleaseId,
    /// Of which command by the clock it is, and for when.
    pub cron: Option<(CronName, Timestamp)>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// After so long it is ended.
    pub timeout: Span,
    /// Where it stands.
    pub state: RunState,
    /// Whether somebody called it off.
    pub cancel_requested: bool,
    /// How it ended.
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// Why it did not succeed, for people; before its end, what it waits for.
    pub reason: Option<String>,
    /// Its last lines, once it has ended.
    pub output: Vec<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Who asked for it.
    pub created_by: String,
    /// When its container was begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether its container is gone.
    pub removed: bool,
}

/// Which runs are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunsWanted<'a> {
    /// All.
    All,
    /// Those that somebody asked for.
    Asked,
    /// Those by the clock.
    ByClock,
    /// Those of one command by the clock.
    Of(&'a CronName),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// As what.
    pub state: RunState,
    /// The exit code, if there was one.
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// Why it did not succeed, for people.
    pub reason: Option<String>,
    /// Its last lines.
    pub output: Vec<String>,
}

/// An environment with commands by the clock.
#[derive(Debug, Clone)]
pub struct CronEnvironment {
    /// Which.
    pub id: EnvironmentId,
    /// Whose.
    pub team: TeamId,
    /// The release that serves.
    pub release: ReleaseId,
    /// Its spec.
    pub spec: Spec,
}

struct Row {
    id: uuid::Uuid,
    team_id: uuid::Uuid,
    environment_id: uuid::Uuid,
    release_id: uuid::Uuid,
    cron: Option<String>,
    scheduled_for: Option<Timestamp>,
    command: serde_json::Value,
    timeout_ms: i64,
    state: String,
    cancel_requested: bool,
    exit_code: Option<i64>,
    oom_killed: bool,
    reason: Option<String>,
    output: serde_json::Value,
    created_at: Timestamp,
    created_by: String,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    removed: bool,
}

impl TryFrom<Row> for Run {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = RunId::from_uuid(r.id);
        let name = r.cron.map(|name| parse(&name, "runs", "cron", &id)).transpose()?;
        Ok(Self {
            id,
            team: TeamId::from_uuid(r.team_id),
            environment: EnvironmentId::from_uuid(r.environment_id),
            release: ReleaseId::from_uuid(r.release_id),
            cron: name.zip(r.scheduled_for),
            command: json(r.command, "runs", "command", &id)?,
            timeout: Span::from_millis(r.timeout_ms.unsigned_abs()),
            state: RunState::parse(&r.state).ok_or_else(|| bad("runs", "state", &id))?,
            cancel_requested: r.cancel_requested,
            exit_code: r.exit_code,
            oom_killed: r.oom_killed,
            reason: r.reason,
            output: json(r.output, "runs", "output", &id)?,
            created_at: r.created_at,
            created_by: r.created_by,
            started_at: r.started_at,
            finished_at: r.finished_at,
            removed: r.removed,
        })
    }
}

impl Tx {
    /// Writes a run. One by the clock that is there already is not written again; then false.
    #[tracing::instrument(name = "db.insert_run", level = "debug", skip_all)]
    pub async fn insert_run(&mut self, run: &Run) -> Result<bool, StoreError> {
        let (cron, scheduled_for) = match &run.cron {
            Some((name, at)) => (Some(name.as_str()), Some(*at)),
            None => (None, None),
        };
        let done = sqlx::query!(
            "insert into runs (id, team_id, environment_id, release_id, cron, scheduled_for, command, timeout_ms, state,
                               reason, created_at, created_by, finished_at, removed)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
             on conflict (environment_id, cron, scheduled_for) where cron is not null do nothing",
            run.id.uuid(),
            run.team.uuid(),
            run.environment.uuid(),
            run.release.uuid(),
            cron,
            scheduled_for,
            to_json(&run.command)?,
            i64::try_from(run.timeout.as_millis()).unwrap_or(i64::MAX),
            run.state.as_str(),
            run.reason,
            run.created_at,
            run.created_by,
            run.finished_at,
            run.removed
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A run.
    #[tracing::instrument(name = "db.run", level = "debug", skip_all)]
    pub async fn run(&mut self, id: RunId) -> Result<Option<Run>, StoreError> {
        let row = sqlx::query_as!(Row, "select * from runs where id = $1", id.uuid())
            .fetch_optional(self.c())
            .await?;
        row.map(Run::try_from).transpose()
    }

    /// The runs of an environment, newest first.
    #[tracing::instrument(name = "db.runs", level = "debug", skip_all)]
    pub async fn runs(
        &mut self,
        environment: EnvironmentId,
        which: RunsWanted<'_>,
        page: &Page<RunId>,
    ) -> Result<Vec<Run>, StoreError> {
        let (by_clock, name) = match which {
            RunsWanted::All => (None, None),
            RunsWanted::Asked => (Some(false), None),
            RunsWanted::ByClock => (Some(true), None),
            RunsWanted::Of(name) => (Some(true), Some(name.as_str())),
        };
        let rows = sqlx::query_as!(
            Row,
            "select * from runs where environment_id = $1 and ($2::boolean is null or (cron is not null) = $2)
               and ($3::text is null or cron = $3) and ($4::uuid is null or id < $4) order by id desc limit $5",
            environment.uuid(),
            by_clock,
            name,
            page.after.map(RunId::uuid),
            i64::from(page.limit)
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Run::try_from).collect()
    }

    /// How many runs of an environment are unfinished.
    #[tracing::instrument(name = "db.unfinished_runs", level = "debug", skip_all)]
    pub async fn unfinished_runs(&mut self, environment: EnvironmentId) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar!(
            "select count(*) as \"n!\" from runs where environment_id = $1 and finished_at is null",
            environment.uuid()
        )
        .fetch_one(self.c())
        .await?;
        Ok(count)
    }

    /// Somebody calls it off, or something takes its place: why is told when it has ended. False when it has already.
    #[tracing::instrument(name = "db.cancel_run", level = "debug", skip_all)]
    pub async fn cancel_run(&mut self, id: RunId, why: &str) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update runs set cancel_requested = true, reason = case when cancel_requested then reason else $2 end
             where id = $1 and finished_at is null",
            id.uuid(),
            why
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Runs that are unfinished or whose container is not gone yet, oldest first.
    #[tracing::instrument(name = "db.open_runs", level = "debug", skip_all)]
    pub async fn open_runs(&mut self) -> Result<Vec<RunId>, StoreError> {
        let ids = sqlx::query_scalar!("select id from runs where not removed order by id limit 500")
            .fetch_all(self.c())
            .await?;
        Ok(ids.into_iter().map(RunId::from_uuid).collect())
    }

    /// Those of one environment.
    #[tracing::instrument(name = "db.open_runs_of", level = "debug", skip_all)]
    pub async fn open_runs_of(&mut self, environment: EnvironmentId) -> Result<Vec<RunId>, StoreError> {
        let ids = sqlx::query_scalar!(
            "select id from runs where not removed and environment_id = $1 order by id",
            environment.uuid()
        )
        .fetch_all(self.c())
        .await?;
        Ok(ids.into_iter().map(RunId::from_uuid).collect())
    }

    /// Goes from one unfinished state to the next; fence the transaction first.
    #[tracing::instrument(name = "db.advance_run", level = "debug", skip_all)]
    pub async fn advance_run(
        &mut self,
        id: RunId,
        from: RunState,
        to: RunState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.fenced()?;
        let done = sqlx::query!(
            "update runs set state = $3, started_at = case when $3 = 'running' then coalesce(started_at, $4) else started_at end
             where id = $1 and state = $2",
            id.uuid(),
            from.as_str(),
            to.as_str(),
            now
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the run")
    }

    /// Notes what it waits for, or that it waits no more; fence the transaction first.
    #[tracing::instrument(name = "db.note_run", level = "debug", skip_all)]
    pub async fn note_run(&mut self, id: RunId, waits_for: Option<&str>) -> Result<(), StoreError> {
        self.fenced()?;
        sqlx::query!(
            "update runs set reason = $2 where id = $1 and finished_at is null and not cancel_requested",
            id.uuid(),
            waits_for
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// It ends; fence the transaction first.
    #[tracing::instrument(name = "db.end_run", level = "debug", skip_all)]
    pub async fn end_run(&mut self, id: RunId, end: &RunEnd, now: Timestamp) -> Result<(), StoreError> {
        self.fenced()?;
        let done = sqlx::query!(
            "update runs set state = $2, exit_code = $3, oom_killed = $4, output = $6, finished_at = $7,
                    reason = case when $2 = 'cancelled' then coalesce($5, reason) else $5 end
             where id = $1 and finished_at is null",
            id.uuid(),
            end.state.as_str(),
            end.exit_code,
            end.oom_killed,
            end.reason,
            to_json(&end.output)?,
            now
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the run")
    }

    /// Its container is gone; fence the transaction first.
    #[tracing::instrument(name = "db.run_removed", level = "debug", skip_all)]
    pub async fn run_removed(&mut self, id: RunId) -> Result<(), StoreError> {
        self.fenced()?;
        sqlx::query!("update runs set removed = true where id = $1", id.uuid())
            .execute(self.c())
            .await?;
        Ok(())
    }

    /// Environments that should run and whose release has commands by the clock.
    #[tracing::instrument(name = "db.cron_environments", level = "debug", skip_all)]
    pub async fn cron_environments(&mut self) -> Result<Vec<CronEnvironment>, StoreError> {
        let rows = sqlx::query!(
            "select e.id, e.team_id, r.id as release_id, r.spec from environments e
             join environment_status s on s.environment_id = e.id
             join releases r on r.id = s.serving_release_id
             where e.desired = 'running' and r.spec ? 'cron' order by e.id"
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let id = EnvironmentId::from_uuid(r.id);
                Ok(CronEnvironment {
                    id,
                    team: TeamId::from_uuid(r.team_id),
                    release: ReleaseId::from_uuid(r.release_id),
                    spec: spec(&r.spec, "releases", &id)?,
                })
            })
            .collect()
    }

    /// Up to when the times of a command by the clock are dealt with: from now on, if it was not there with this
    /// schedule before.
    #[tracing::instrument(name = "db.cron_mark", level = "debug", skip_all)]
    pub async fn cron_mark(
        &mut self,
        environment: EnvironmentId,
        job: &CronJob,
        now: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        self.fenced()?;
        let at = sqlx::query_scalar!(
            "insert into cron_marks as m (environment_id, name, schedule, last_at) values ($1, $2, $3, $4)
             on conflict (environment_id, name) do update set schedule = excluded.schedule,
                last_at = case when coalesce(m.schedule, excluded.schedule) = excluded.schedule then m.last_at
                          else excluded.last_at end
             returning last_at",
            environment.uuid(),
            job.name.as_str(),
            format!("{} {}", job.schedule, job.schedule.zone()),
            now
        )
        .fetch_one(self.c())
        .await?;
        Ok(at)
    }

    /// Forgets commands that are in no release any more that serves: should one come back, it begins anew. Fence the
    /// transaction first.
    #[tracing::instrument(name = "db.forget_cron_marks", level = "debug", skip_all)]
    pub async fn forget_cron_marks(&mut self) -> Result<u64, StoreError> {
        self.fenced()?;
        let done = sqlx::query!(
            "delete from cron_marks m using environment_status s, releases r
             where s.environment_id = m.environment_id and r.id = s.serving_release_id
               and not exists (select 1 from jsonb_array_elements(coalesce(r.spec->'cron', '[]')) c
                               where c->>'name' = m.name)"
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected())
    }

    /// The times up to then are dealt with; fence the transaction first.
    #[tracing::instrument(name = "db.advance_cron", level = "debug", skip_all)]
    pub async fn advance_cron(
        &mut self,
        environment: EnvironmentId,
        name: &CronName,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.fenced()?;
        sqlx::query!(
            "update cron_marks set last_at = $3 where environment_id = $1 and name = $2",
            environment.uuid(),
            name.as_str(),
            at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Unfinished runs of a command by the clock.
    #[tracing::instrument(name = "db.unfinished_cron_runs", level = "debug", skip_all)]
    pub async fn unfinished_cron_runs(
        &mut self,
        environment: EnvironmentId,
        name: &CronName,
    ) -> Result<Vec<RunId>, StoreError> {
        let ids = sqlx::query_scalar!(
            "select id from runs where environment_id = $1 and cron = $2 and finished_at is null order by id",
            environment.uuid(),
            name.as_str()
        )
        .fetch_all(self.c())
        .await?;
        Ok(ids.into_iter().map(RunId::from_uuid).collect())
    }

    /// Removes the history of each environment beyond its newest runs.
    #[tracing::instrument(name = "db.prune_runs", level = "debug", skip_all)]
    pub async fn prune_runs(&mut self, kept_max: i64) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "delete from runs where id in (
                 select id from (select id, removed, row_number() over (partition by environment_id, cron order by id desc) as place
                                 from runs) ranked
                 where place > $1 and removed)",
            kept_max
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected())
    }
}

impl Run {
    /// A run that was not begun.
    pub fn new(id: RunId, environment: &Environment, release: ReleaseId, command: Vec<String>, timeout: Span) -> Self {
        Self::of((id, environment.team, environment.id), release, command, timeout)
    }

    /// The same, of what is known by its identifiers.
    pub fn of(
        (id, team, environment): (RunId, TeamId, EnvironmentId),
        release: ReleaseId,
        command: Vec<String>,
        timeout: Span,
    ) -> Self {
        Self {
            id,
            team,
            environment,
            release,
            cron: None,
            command,
            timeout,
            state: RunState::Pending,
            cancel_requested: false,
            exit_code: None,
            oom_killed: false,
            reason: None,
            output: Vec::new(),
            created_at: Timestamp::default(),
            created_by: String::new(),
            started_at: None,
            finished_at: None,
            removed: false,
        }
    }
}
