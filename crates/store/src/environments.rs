//! `environments`: the intent. Written by the API, and its subnet once by the scheduler.

use ipnet::{IpNet, Ipv4Net};
use slipway_domain::ids::{AppId, DatabaseId, EnvironmentId, ReleaseId, TeamId};
use slipway_domain::name::{AppName, EnvironmentName, HostName};
use slipway_domain::observed::UNKNOWN_RELEASE;
use slipway_domain::quantity::Span;
use slipway_domain::spec::Spec;
use slipway_domain::{Generation, ReleaseNumber, Timestamp};

use crate::row::{bad, one, parse, spec};
use crate::{StoreError, Tx};

/// What should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desired {
    /// It should serve.
    Running,
    /// No instance should run.
    Stopped,
    /// Nothing should be left.
    Deleted,
}

impl Desired {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Deleted => "deleted",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Stopped, Self::Deleted]
            .into_iter()
            .find(|d| d.as_str() == text)
    }
}

/// The intent for one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its identifier.
    pub id: EnvironmentId,
    /// Its team.
    pub team: TeamId,
    /// Its app.
    pub app: AppId,
    /// Its app's name.
    pub app_name: AppName,
    /// Its name.
    pub name: EnvironmentName,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// What the next release is made from.
    pub spec: Spec,
    /// Behind the `ETag` of the spec.
    pub spec_generation: i64,
    /// Whether something changed since the last release was made.
    pub staged: bool,
    /// How often the intent changed.
    pub generation: Generation,
    /// What should be.
    pub desired: Desired,
    /// The release that should run.
    pub release: Option<ReleaseId>,
    /// Its network's subnet, once it has one.
    pub subnet: Option<String>,
    /// The newest release's number; 0 when there is none.
    pub last_release_number: ReleaseNumber,
    /// It goes away so long after the last deploy, and when that is.
    pub expiry: Option<(Span, Timestamp)>,
    /// When what should run was last changed.
    pub decided_at: Timestamp,
}

pub(crate) struct Row {
    pub(crate) id: uuid::Uuid,
    pub(crate) team_id: uuid::Uuid,
    pub(crate) app_id: uuid::Uuid,
    pub(crate) app_name: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
    pub(crate) spec: serde_json::Value,
    pub(crate) spec_generation: i64,
    pub(crate) staged: bool,
    pub(crate) generation: i64,
    pub(crate) desired: String,
    pub(crate) release_id: Option<uuid::Uuid>,
    pub(crate) subnet: Option<String>,
    pub(crate) last_release_number: i64,
    pub(crate) expires_after_ms: Option<i64>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) decided_at: Timestamp,
}

impl TryFrom<Row> for Environment {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = EnvironmentId::from_uuid(r.id);
        Ok(Self {
            id,
            team: TeamId::from_uuid(r.team_id),
            app: AppId::from_uuid(r.app_id),
            app_name: parse(&r.app_name, "apps", "name", &id)?,
            name: parse(&r.name, "environments", "name", &id)?,
            created_at: r.created_at,
            created_by: r.created_by,
            spec: spec(&r.spec, "environments", &id)?,
            spec_generation: r.spec_generation,
            staged: r.staged,
            generation: Generation(r.generation),
            desired: Desired::parse(&r.desired).ok_or_else(|| bad("environments", "desired", &id))?,
            release: r.release_id.map(ReleaseId::from_uuid),
            subnet: r.subnet,
            last_release_number: ReleaseNumber(r.last_release_number),
            expiry: r
                .expires_after_ms
                .map(|ms| Span::from_millis(ms.unsigned_abs()))
                .zip(r.expires_at),
            decided_at: r.decided_at,
        })
    }
}

macro_rules! select {
    ($tail:literal $(, $arg:expr)*) => {
        sqlx::query_as!(
            Row,
            "select e.id, e.team_id, e.app_id, a.name as app_name, e.name, e.created_at, e.created_by, e.spec,
                    e.spec_generation, e.staged, e.generation, e.desired, e.release_id, e.subnet, e.last_release_number,
                    e.expires_after_ms, e.expires_at, e.decided_at
             from environments e join apps a on a.id = e.app_id " + $tail
            $(, $arg)*
        )
    };
}

impl Tx {
    /// Adds an environment with its status row and its name below the base domain.
    #[tracing::instrument(name = "db.insert_environment", level = "debug", skip_all)]
    pub async fn insert_environment(&mut self, e: &Environment, base: &HostName) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into environments (id, team_id, app_id, name, created_at, created_by, spec, expires_after_ms, expires_at,
                                       decided_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            e.id.uuid(),
            e.team.uuid(),
            e.app.uuid(),
            e.name.as_str(),
            e.created_at,
            e.created_by,
            e.spec.to_json(),
            e.expiry.map(|(after, _)| i64::try_from(after.as_millis()).unwrap_or(i64::MAX)),
            e.expiry.map(|(_, at)| at),
            e.decided_at
        )
        .execute(self.c())
        .await?;
        sqlx::query!(
            "insert into environment_status (environment_id) values ($1)",
            e.id.uuid()
        )
        .execute(self.c())
        .await?;
        let host = HostName::of(&e.app_name, &e.name, base);
        sqlx::query!(
            "insert into domains (host, team_id, environment_id, kind, created_at) values ($1, $2, $3, 'platform', $4)",
            host.as_str(),
            e.team.uuid(),
            e.id.uuid(),
            e.created_at
        )
        .execute(self.c())
        .await?;
        self.bump_routes().await?;
        Ok(())
    }

    /// By name; deleted ones are not there.
    #[tracing::instrument(name = "db.environment", level = "debug", skip_all)]
    pub async fn environment(&mut self, app: AppId, name: &EnvironmentName) -> Result<Option<Environment>, StoreError> {
        let row = select!(
            "where e.app_id = $1 and e.name = $2 and e.desired <> 'deleted'",
            app.uuid(),
            name.as_str()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(Environment::try_from).transpose()
    }

    /// By identifier.
    #[tracing::instrument(name = "db.environment_by_id", level = "debug", skip_all)]
    pub async fn environment_by_id(&mut self, id: EnvironmentId) -> Result<Option<Environment>, StoreError> {
        let row = select!("where e.id = $1", id.uuid()).fetch_optional(self.c()).await?;
        row.map(Environment::try_from).transpose()
    }

    /// All of an app that are not deleted, by name.
    #[tracing::instrument(name = "db.environments", level = "debug", skip_all)]
    pub async fn environments(&mut self, app: AppId) -> Result<Vec<Environment>, StoreError> {
        let rows = select!(
            "where e.app_id = $1 and e.desired <> 'deleted' order by e.name",
            app.uuid()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Environment::try_from).collect()
    }

    /// The same, locked until the transaction ends: acceptance is one after the other per environment. The lock leaves
    /// foreign keys alone: a scheduler that adds a row of the environment does not wait, and so cannot deadlock.
    #[tracing::instrument(name = "db.lock_environment", level = "debug", skip_all)]
    pub async fn lock_environment(&mut self, id: EnvironmentId) -> Result<Option<Environment>, StoreError> {
        let row = select!("where e.id = $1 for no key update of e", id.uuid())
            .fetch_optional(self.c())
            .await?;
        row.map(Environment::try_from).transpose()
    }

    /// Replaces the spec and says its new generation.
    #[tracing::instrument(name = "db.set_spec", level = "debug", skip_all)]
    pub async fn set_spec(&mut self, id: EnvironmentId, spec: &Spec, staged: bool) -> Result<i64, StoreError> {
        let generation = sqlx::query_scalar!(
            "update environments set spec = $2, staged = $3, spec_generation = spec_generation + 1
             where id = $1 returning spec_generation",
            id.uuid(),
            spec.to_json(),
            staged
        )
        .fetch_optional(self.c())
        .await?;
        generation.ok_or(StoreError::LostRace("the environment"))
    }

    /// Whether the next release will differ from the last.
    #[tracing::instrument(name = "db.set_staged", level = "debug", skip_all)]
    pub async fn set_staged(&mut self, id: EnvironmentId, staged: bool) -> Result<(), StoreError> {
        let done = sqlx::query!("update environments set staged = $2 where id = $1", id.uuid(), staged)
            .execute(self.c())
            .await?;
        one(done.rows_affected(), "the environment")
    }

    /// Changes what should be, from the generation that was read. Of the time, only a later one counts.
    #[tracing::instrument(name = "db.set_intent", level = "debug", skip_all)]
    pub async fn set_intent(
        &mut self,
        id: EnvironmentId,
        from: Generation,
        desired: Desired,
        release: Option<ReleaseId>,
        now: Timestamp,
    ) -> Result<Generation, StoreError> {
        let done = sqlx::query!(
            "update environments set generation = generation + 1, desired = $3, release_id = coalesce($4, release_id),
                    decided_at = greatest(decided_at, $5)
             where id = $1 and generation = $2",
            id.uuid(),
            from.0,
            desired.as_str(),
            release.map(ReleaseId::uuid),
            now
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the environment")?;
        Ok(from.next())
    }

    /// Something is deployed to it: one that goes away by itself has its whole time again.
    #[tracing::instrument(name = "db.extend_environment", level = "debug", skip_all)]
    pub(crate) async fn extend_environment(&mut self, id: EnvironmentId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update environments set expires_at = $2::timestamptz + expires_after_ms * interval '1 millisecond'
             where id = $1 and expires_after_ms is not null",
            id.uuid(),
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// It goes away by itself so long after the last deploy from now on.
    #[tracing::instrument(name = "db.set_environment_life", level = "debug", skip_all)]
    pub async fn set_environment_life(
        &mut self,
        id: EnvironmentId,
        life: Span,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        sqlx::query!(
            "update environments set expires_after_ms = $2 where id = $1 and expires_after_ms is not null",
            id.uuid(),
            ms
        )
        .execute(self.c())
        .await?;
        self.extend_environment(id, now).await
    }

    /// Environments whose time is over, locked; not those that a release runs in which the database does not know, where
    /// it does not know either whether their time is over.
    #[tracing::instrument(name = "db.expired_environments", level = "debug", skip_all)]
    pub async fn expired_environments(&mut self, now: Timestamp) -> Result<Vec<Environment>, StoreError> {
        let rows = select!(
            "where e.expires_at <= $1 and e.desired <> 'deleted' and not exists (select from environment_status s
                 where s.environment_id = e.id and s.conditions @> jsonb_build_array(jsonb_build_object('reason', $2::text)))
             order by e.id limit 50 for no key update of e",
            now,
            UNKNOWN_RELEASE
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Environment::try_from).collect()
    }

    /// Marks an environment as to be deleted.
    #[tracing::instrument(name = "db.delete_environment", level = "debug", skip_all)]
    pub async fn delete_environment(&mut self, id: EnvironmentId, now: Timestamp) -> Result<(), StoreError> {
        let done = sqlx::query!(
            "update environments set generation = generation + 1, desired = 'deleted', decided_at = greatest(decided_at, $2)
             where id = $1",
            id.uuid(),
            now
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the environment")
    }

    /// A /26 of the pool for its network; `None` when all are used.
    #[tracing::instrument(name = "db.allocate_subnet", level = "debug", skip_all)]
    pub async fn allocate_subnet(
        &mut self,
        id: EnvironmentId,
        pool: Ipv4Net,
        taken: &[IpNet],
    ) -> Result<Option<String>, StoreError> {
        self.lock_subnets().await?;
        let own = sqlx::query_scalar!("select subnet from environments where id = $1", id.uuid())
            .fetch_optional(self.c())
            .await?;
        let own = own.ok_or(StoreError::LostRace("the environment"))?;
        if own.is_some() {
            return Ok(own);
        }
        let Some(free) = self.free_subnet(pool, taken).await? else {
            return Ok(None);
        };
        let done = sqlx::query!("update environments set subnet = $2 where id = $1", id.uuid(), free)
            .execute(self.c())
            .await?;
        one(done.rows_affected(), "the environment")?;
        Ok(Some(free))
    }

    /// Has others wait who choose a subnet, until the end of the transaction.
    pub(crate) async fn lock_subnets(&mut self) -> Result<(), StoreError> {
        sqlx::query!("select pg_advisory_xact_lock(hashtext('slipway.subnets')) as locked")
            .fetch_one(self.c())
            .await?;
        Ok(())
    }

    /// The first /26 of the pool that no environment, no database and nothing in `taken` overlaps. Hold the lock.
    pub(crate) async fn free_subnet(&mut self, pool: Ipv4Net, taken: &[IpNet]) -> Result<Option<String>, StoreError> {
        let rows = sqlx::query!(
            "select id as \"id!\", subnet as \"subnet!\", false as \"is_database!\" from environments where subnet is not null
             union all select id, subnet, true from databases where subnet is not null"
        )
        .fetch_all(self.c())
        .await?;
        let mut used: Vec<IpNet> = taken.to_vec();
        for row in rows {
            used.push(if row.is_database {
                parse(&row.subnet, "databases", "subnet", &DatabaseId::from_uuid(row.id))?
            } else {
                parse(&row.subnet, "environments", "subnet", &EnvironmentId::from_uuid(row.id))?
            });
        }
        let overlaps = |net: &IpNet| used.iter().any(|u| u.contains(net) || net.contains(u));
        let free = pool.subnets(26).ok().into_iter().flatten().map(IpNet::V4);
        Ok(free.into_iter().find(|net| !overlaps(net)).map(|net| net.to_string()))
    }

    /// Takes a subnet back from an environment that has still this one, so that it gets another.
    #[tracing::instrument(name = "db.forget_subnet", level = "debug", skip_all)]
    pub async fn forget_subnet(&mut self, id: EnvironmentId, subnet: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "update environments set subnet = null where id = $1 and subnet = $2",
            id.uuid(),
            subnet
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Removes an environment with all its rows, and its app when it was the last; fence the transaction first.
    #[tracing::instrument(name = "db.purge_environment", level = "debug", skip_all)]
    pub async fn purge_environment(&mut self, id: EnvironmentId) -> Result<(), StoreError> {
        self.fenced()?;
        let app = sqlx::query_scalar!("select app_id from environments where id = $1", id.uuid())
            .fetch_optional(self.c())
            .await?;
        let Some(app) = app else { return Ok(()) };
        sqlx::query!(
            "insert into orphan_images (pin) select distinct pin from releases where environment_id = $1
             on conflict do nothing",
            id.uuid()
        )
        .execute(self.c())
        .await?;
        sqlx::query!("update environments set release_id = null where id = $1", id.uuid())
            .execute(self.c())
            .await?;
        sqlx::query!("delete from environments where id = $1", id.uuid())
            .execute(self.c())
            .await?;
        sqlx::query!(
            "delete from apps where id = $1 and not exists (select 1 from environments where app_id = $1)",
            app
        )
        .execute(self.c())
        .await?;
        self.bump_routes().await?;
        Ok(())
    }
}
