//! `deployments` and `deployment_steps`. The API adds, aborts and supersedes; the scheduler does the rest.
//!
//! Promises: a state changes only as `domain::deployment` allows, decided against the row as it is in the same
//! transaction. What ends without success closes its running steps, and `deployment.finished` is its last event: a
//! scheduler that has not heard of it yet writes no step any more. After a success only its draining is still noted.

use slipway_domain::deployment::{DeploymentEvent, DeploymentState, Reason, ReasonCode, Step, StepName, StepState};
use slipway_domain::ids::{AppId, DeploymentId, EnvironmentId, ReleaseId, TeamId};
use slipway_domain::image::{Digest, Pin};
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_domain::release::ReleaseCause;
use slipway_domain::{Generation, ReleaseNumber, Timestamp};

use crate::row::{bad, json, one, parse, to_json};
use crate::{Page, StoreError, Tx};

/// A deployment with its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its identifier.
    pub id: DeploymentId,
    /// Its team.
    pub team: TeamId,
    /// Its app.
    pub app: AppId,
    /// Its app's name.
    pub app_name: AppName,
    /// Its environment.
    pub environment: EnvironmentId,
    /// Its environment's name.
    pub environment_name: EnvironmentName,
    /// What it brings into service.
    pub release: ReleaseId,
    /// The release's number.
    pub release_number: ReleaseNumber,
    /// The image as it was given.
    pub image: String,
    /// The digest or id that runs.
    pub digest: Digest,
    /// The intent it belongs to.
    pub generation: Generation,
    /// Where it stands.
    pub state: DeploymentState,
    /// How traffic moves.
    pub strategy: String,
    /// Why it came about.
    pub cause: ReleaseCause,
    /// What the caller said of it.
    pub message: Option<String>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// The trace of the request that began it.
    pub trace_context: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Who began it.
    pub created_by: String,
    /// When it was taken up.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The step of its canary that counts, from 0, and since when.
    pub canary: Option<(u32, Timestamp)>,
    /// Whether somebody ended the canary early.
    pub promoted: bool,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// What a new deployment is made from.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    /// Its identifier.
    pub id: DeploymentId,
    /// Its team.
    pub team: TeamId,
    /// Its app.
    pub app: AppId,
    /// Its environment.
    pub environment: EnvironmentId,
    /// What it brings into service.
    pub release: ReleaseId,
    /// The intent it belongs to.
    pub generation: Generation,
    /// Where it begins: it may wait for a word.
    pub state: DeploymentState,
    /// How traffic moves.
    pub strategy: String,
    /// Why it came about.
    pub cause: ReleaseCause,
    /// What the caller said of it.
    pub message: Option<String>,
    /// The trace of the request that began it.
    pub trace_context: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Who began it.
    pub created_by: String,
}

struct Row {
    id: uuid::Uuid,
    team_id: uuid::Uuid,
    app_id: uuid::Uuid,
    app_name: String,
    environment_id: uuid::Uuid,
    environment_name: String,
    release_id: uuid::Uuid,
    release_number: i64,
    image: String,
    pin: serde_json::Value,
    generation: i64,
    state: String,
    strategy: String,
    cause: String,
    message: Option<String>,
    reason: Option<serde_json::Value>,
    trace_context: Option<String>,
    created_at: Timestamp,
    created_by: String,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    canary_step: Option<i32>,
    canary_since: Option<Timestamp>,
    promoted: bool,
}

impl TryFrom<Row> for Deployment {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = DeploymentId::from_uuid(r.id);
        let pin: Pin = json(r.pin, "releases", "pin", &id)?;
        Ok(Self {
            id,
            team: TeamId::from_uuid(r.team_id),
            app: AppId::from_uuid(r.app_id),
            app_name: parse(&r.app_name, "apps", "name", &id)?,
            environment: EnvironmentId::from_uuid(r.environment_id),
            environment_name: parse(&r.environment_name, "environments", "name", &id)?,
            release: ReleaseId::from_uuid(r.release_id),
            release_number: ReleaseNumber(r.release_number),
            image: r.image,
            digest: pin.digest().clone(),
            generation: Generation(r.generation),
            state: DeploymentState::parse(&r.state).ok_or_else(|| bad("deployments", "state", &id))?,
            strategy: r.strategy,
            cause: ReleaseCause::parse(&r.cause).ok_or_else(|| bad("deployments", "cause", &id))?,
            message: r.message,
            reason: r.reason.map(|v| json(v, "deployments", "reason", &id)).transpose()?,
            trace_context: r.trace_context,
            created_at: r.created_at,
            created_by: r.created_by,
            started_at: r.started_at,
            finished_at: r.finished_at,
            canary: r
                .canary_step
                .map(|n| u32::try_from(n).map_err(|_| bad("deployments", "canary_step", &id)))
                .transpose()?
                .zip(r.canary_since),
            promoted: r.promoted,
            steps: Vec::new(),
        })
    }
}

macro_rules! select {
    ($tail:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            Row,
            "select d.id, d.team_id, d.app_id, a.name as app_name, d.environment_id, e.name as environment_name,
                    d.release_id, r.number as release_number, r.image, r.pin, d.generation, d.state, d.strategy, d.cause,
                    d.message, d.reason, d.trace_context, d.created_at, d.created_by, d.started_at, d.finished_at,
                    d.canary_step, d.canary_since, d.promoted
             from deployments d
             join environments e on e.id = d.environment_id
             join apps a on a.id = d.app_id
             join releases r on r.id = d.release_id " + $tail
            $(, $arg)*
        )
    };
}

impl Tx {
    /// Adds a deployment, pending.
    #[tracing::instrument(name = "db.insert_deployment", level = "debug", skip_all)]
    pub async fn insert_deployment(&mut self, d: &NewDeployment) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into deployments (id, team_id, app_id, environment_id, release_id, generation, state, strategy, cause,
                                      message, trace_context, created_at, created_by)
             values ($1, $2, $3, $4, $5, $6, $13, $7, $8, $9, $10, $11, $12)",
            d.id.uuid(),
            d.team.uuid(),
            d.app.uuid(),
            d.environment.uuid(),
            d.release.uuid(),
            d.generation.0,
            d.strategy,
            d.cause.as_str(),
            d.message,
            d.trace_context,
            d.created_at,
            d.created_by,
            d.state.as_str()
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// By identifier, with its steps.
    #[tracing::instrument(name = "db.deployment", level = "debug", skip_all)]
    pub async fn deployment(&mut self, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let row = select!("where d.id = $1", id.uuid()).fetch_optional(self.c()).await?;
        let Some(row) = row else { return Ok(None) };
        let mut all = vec![Deployment::try_from(row)?];
        self.with_steps(&mut all).await?;
        Ok(all.pop())
    }

    /// Of an app, or of one of its environments, newest first, with their steps.
    #[tracing::instrument(name = "db.deployments", level = "debug", skip_all)]
    pub async fn deployments(
        &mut self,
        app: AppId,
        environment: Option<EnvironmentId>,
        page: &Page<DeploymentId>,
    ) -> Result<Vec<Deployment>, StoreError> {
        let rows = select!(
            "where d.app_id = $1 and ($2::uuid is null or d.environment_id = $2) and d.id < coalesce($3, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
             order by d.id desc limit $4",
            app.uuid(),
            environment.map(EnvironmentId::uuid),
            page.after.map(DeploymentId::uuid),
            page.limit()
        )
        .fetch_all(self.c())
        .await?;
        let mut all: Vec<Deployment> = rows.into_iter().map(Deployment::try_from).collect::<Result<_, _>>()?;
        self.with_steps(&mut all).await?;
        Ok(all)
    }

    /// The unfinished one of an environment, with its steps.
    #[tracing::instrument(name = "db.unfinished", level = "debug", skip_all)]
    pub async fn unfinished(&mut self, environment: EnvironmentId) -> Result<Option<Deployment>, StoreError> {
        let row = select!(
            "where d.environment_id = $1 and d.state in ('pending', 'awaiting_approval', 'running')",
            environment.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut all = vec![Deployment::try_from(row)?];
        self.with_steps(&mut all).await?;
        Ok(all.pop())
    }

    async fn with_steps(&mut self, all: &mut [Deployment]) -> Result<(), StoreError> {
        let ids: Vec<uuid::Uuid> = all.iter().map(|d| d.id.uuid()).collect();
        let rows = sqlx::query!(
            "select deployment_id, name, state, started_at, finished_at, detail
             from deployment_steps where deployment_id = any($1)",
            &ids
        )
        .fetch_all(self.c())
        .await?;
        for row in rows {
            let id = DeploymentId::from_uuid(row.deployment_id);
            let step = Step {
                name: StepName::parse(&row.name).ok_or_else(|| bad("deployment_steps", "name", &id))?,
                state: StepState::parse(&row.state).ok_or_else(|| bad("deployment_steps", "state", &id))?,
                started_at: row.started_at,
                finished_at: row.finished_at,
                detail: row.detail,
            };
            if let Some(deployment) = all.iter_mut().find(|d| d.id == id) {
                deployment.steps.push(step);
            }
        }
        for deployment in all {
            deployment.steps.sort_by_key(|s| s.name);
        }
        Ok(())
    }

    /// Ends the unfinished deployment of an environment, if there is one, because a later one takes its place.
    #[tracing::instrument(name = "db.supersede_unfinished", level = "debug", skip_all)]
    pub async fn supersede_unfinished(
        &mut self,
        environment: EnvironmentId,
        (later, release): (DeploymentId, ReleaseNumber),
        now: Timestamp,
    ) -> Result<Option<DeploymentId>, StoreError> {
        let id = sqlx::query_scalar!(
            "select id from deployments
             where environment_id = $1 and state in ('pending', 'awaiting_approval', 'running') for update",
            environment.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        let Some(id) = id.map(DeploymentId::from_uuid) else {
            return Ok(None);
        };
        let reason = Reason::new(
            ReasonCode::Superseded,
            format!("a later deployment took its place: {release}, {later}"),
            format!("look at that one: `slipway deployments show {later}`"),
        );
        self.end_deployment(id, DeploymentEvent::Supersede, Some(&reason), now)
            .await?;
        Ok(Some(id))
    }

    /// Calls an unfinished deployment off; false when it had ended.
    #[tracing::instrument(name = "db.abort_deployment", level = "debug", skip_all)]
    pub async fn abort_deployment(&mut self, id: DeploymentId, by: &str, now: Timestamp) -> Result<bool, StoreError> {
        let reason = Reason::new(
            ReasonCode::Aborted,
            format!("it was called off by {by}"),
            "what served before is left as it is; deploy again to go on".into(),
        );
        match self
            .end_deployment(id, DeploymentEvent::Abort, Some(&reason), now)
            .await
        {
            Ok(()) => Ok(true),
            Err(StoreError::LostRace(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Somebody gives the word it waits for: from now on its release is what should run. False when it does not wait.
    /// Lock the environment first.
    #[tracing::instrument(name = "db.approve_deployment", level = "debug", skip_all)]
    pub async fn approve_deployment(&mut self, id: DeploymentId, by: &str, now: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update deployments set state = 'pending' where id = $1 and state = 'awaiting_approval'",
            id.uuid()
        )
        .execute(self.c())
        .await?;
        if done.rows_affected() == 1 {
            sqlx::query!(
                "update environments e set release_id = d.release_id, desired = 'running', generation = e.generation + 1,
                        decided_at = greatest(e.decided_at, $2)
                 from deployments d where d.id = $1 and e.id = d.environment_id and e.desired <> 'deleted'",
                id.uuid(),
                now
            )
            .execute(self.c())
            .await?;
            self.append_event(id, "deployment.approved", now, None, &format!("approved by {by}"))
                .await?;
        }
        Ok(done.rows_affected() == 1)
    }

    /// Deployments that have waited for a word since before then.
    #[tracing::instrument(name = "db.unapproved_since", level = "debug", skip_all)]
    pub async fn unapproved_since(&mut self, before: Timestamp) -> Result<Vec<DeploymentId>, StoreError> {
        let ids = sqlx::query_scalar!(
            "select id from deployments where state = 'awaiting_approval' and created_at < $1",
            before
        )
        .fetch_all(self.c())
        .await?;
        Ok(ids.into_iter().map(DeploymentId::from_uuid).collect())
    }

    /// The scheduler takes it up; fence the transaction first.
    #[tracing::instrument(name = "db.start_deployment", level = "debug", skip_all)]
    pub async fn start_deployment(&mut self, id: DeploymentId, now: Timestamp) -> Result<(), StoreError> {
        self.fenced()?;
        let done = sqlx::query!(
            "update deployments set state = 'running', started_at = $2 where id = $1 and state = 'pending'",
            id.uuid(),
            now
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the deployment")?;
        self.append_event(id, "deployment.started", now, None, "the deployment has begun")
            .await?;
        Ok(())
    }

    /// Refuses to write a step of a deployment that ended without success, and keeps others from ending it meanwhile.
    async fn hold_deployment(&mut self, id: DeploymentId) -> Result<(), StoreError> {
        self.fenced()?;
        let held = sqlx::query_scalar!(
            "select 1 as \"one!\" from deployments
             where id = $1 and state in ('pending', 'awaiting_approval', 'running', 'succeeded') for no key update",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        held.map(|_| ()).ok_or(StoreError::LostRace("the deployment"))
    }

    /// A step begins; beginning it again changes nothing. Fence the transaction first.
    #[tracing::instrument(name = "db.step_started", level = "debug", skip_all)]
    pub async fn step_started(
        &mut self,
        id: DeploymentId,
        name: StepName,
        detail: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold_deployment(id).await?;
        sqlx::query!(
            "insert into deployment_steps (deployment_id, name, state, started_at, detail) values ($1, $2, 'running', $3, $4)
             on conflict (deployment_id, name) do nothing",
            id.uuid(),
            name.as_str(),
            now,
            detail
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// A step of the canary begins to count, and the one before is told of in `detail`; fence the transaction first.
    #[tracing::instrument(name = "db.canary_step", level = "debug", skip_all)]
    pub async fn canary_step(
        &mut self,
        id: DeploymentId,
        step: u32,
        detail: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.fenced()?;
        let step = i32::try_from(step).map_err(|_| StoreError::Internal("a canary has few steps".into()))?;
        let done = sqlx::query!(
            "update deployments set canary_step = $2, canary_since = $3 where id = $1 and state = 'running'",
            id.uuid(),
            step,
            now
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the deployment")?;
        sqlx::query!(
            "update deployment_steps set detail = coalesce($2, detail) where deployment_id = $1 and name = $3",
            id.uuid(),
            detail,
            StepName::Canary.as_str()
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Ends a canary early; false when the deployment has ended.
    #[tracing::instrument(name = "db.promote_deployment", level = "debug", skip_all)]
    pub async fn promote_deployment(&mut self, id: DeploymentId) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update deployments set promoted = true where id = $1 and state in ('pending', 'running')",
            id.uuid()
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A step ends, begun or not; fence the transaction first.
    #[tracing::instrument(name = "db.step_finished", level = "debug", skip_all)]
    pub async fn step_finished(
        &mut self,
        id: DeploymentId,
        name: StepName,
        state: StepState,
        detail: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold_deployment(id).await?;
        sqlx::query!(
            "insert into deployment_steps (deployment_id, name, state, started_at, finished_at, detail)
             values ($1, $2, $3, $4, $4, $5)
             on conflict (deployment_id, name) do update
                set state = excluded.state, finished_at = excluded.finished_at,
                    detail = coalesce(excluded.detail, deployment_steps.detail)",
            id.uuid(),
            name.as_str(),
            state.as_str(),
            now,
            detail
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// The scheduler ends it; fence the transaction first.
    #[tracing::instrument(name = "db.finish_deployment", level = "debug", skip_all)]
    pub async fn finish_deployment(
        &mut self,
        id: DeploymentId,
        event: DeploymentEvent,
        reason: Option<&Reason>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.fenced()?;
        self.end_deployment(id, event, reason, now).await
    }

    async fn end_deployment(
        &mut self,
        id: DeploymentId,
        event: DeploymentEvent,
        reason: Option<&Reason>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let row = sqlx::query!(
            "select state, release_id from deployments where id = $1 for update",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        let row = row.ok_or(StoreError::LostRace("the deployment"))?;
        let state = DeploymentState::parse(&row.state).ok_or_else(|| bad("deployments", "state", &id))?;
        let next = state.apply(event).map_err(|_| StoreError::LostRace("the deployment"))?;
        sqlx::query!(
            "update deployments set state = $2, reason = $3, finished_at = $4 where id = $1",
            id.uuid(),
            next.as_str(),
            reason.map(to_json).transpose()?,
            now
        )
        .execute(self.c())
        .await?;
        if next == DeploymentState::Succeeded {
            sqlx::query!("update releases set good = true where id = $1", row.release_id)
                .execute(self.c())
                .await?;
        } else {
            sqlx::query!(
                "update deployment_steps set state = case when $3 = 'failed' then 'failed' else 'skipped' end, finished_at = $2,
                        detail = case when $3 = 'failed' then coalesce($4, detail) else $3 end
                 where deployment_id = $1 and state = 'running'",
                id.uuid(),
                now,
                next.as_str(),
                reason.map(|r| r.detail.as_str())
            )
            .execute(self.c())
            .await?;
        }
        let message = match (next, reason) {
            (_, Some(reason)) => reason.detail.clone(),
            (DeploymentState::Succeeded, _) => "all traffic is on the new release".into(),
            _ => format!("the deployment was {next}"),
        };
        self.append_event(id, "deployment.finished", now, None, &message)
            .await?;
        Ok(())
    }
}
