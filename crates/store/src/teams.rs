//! `teams`: the owners of apps, registries and tokens. Written by the API.

use slipway_domain::Timestamp;
use slipway_domain::ids::{EnvironmentId, TeamId};
use slipway_domain::limits::{TeamLimits, Use};
use slipway_domain::name::TeamName;
use slipway_domain::quantity::{Bytes, MilliCpu};
use slipway_domain::spec::Spec;

use crate::row::{one, parse, spec as row_spec};
use crate::{Environment, Page, StoreError, Tx};

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its identifier.
    pub id: TeamId,
    /// Its name.
    pub name: TeamName,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it may use in all.
    pub limits: TeamLimits,
}

struct Row {
    id: uuid::Uuid,
    name: String,
    created_at: Timestamp,
    instances_max: Option<i32>,
    memory_bytes_max: Option<i64>,
    cpu_milli_max: Option<i32>,
}

impl TryFrom<Row> for Team {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = TeamId::from_uuid(r.id);
        Ok(Self {
            id,
            name: parse(&r.name, "teams", "name", &id)?,
            created_at: r.created_at,
            limits: TeamLimits {
                instances: r.instances_max.map(i32::unsigned_abs),
                memory: r.memory_bytes_max.map(|bytes| Bytes(bytes.unsigned_abs())),
                cpu: r.cpu_milli_max.map(|milli| MilliCpu(milli.unsigned_abs())),
            },
        })
    }
}

impl Tx {
    /// Adds a team.
    #[tracing::instrument(name = "db.insert_team", level = "debug", skip_all)]
    pub async fn insert_team(&mut self, team: &Team) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into teams (id, name, created_at) values ($1, $2, $3)",
            team.id.uuid(),
            team.name.as_str(),
            team.created_at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// By name.
    #[tracing::instrument(name = "db.team_by_name", level = "debug", skip_all)]
    pub async fn team_by_name(&mut self, name: &TeamName) -> Result<Option<Team>, StoreError> {
        let row = sqlx::query_as!(Row, "select * from teams where name = $1", name.as_str())
            .fetch_optional(self.c())
            .await?;
        row.map(Team::try_from).transpose()
    }

    /// By identifier.
    #[tracing::instrument(name = "db.team", level = "debug", skip_all)]
    pub async fn team(&mut self, id: TeamId) -> Result<Option<Team>, StoreError> {
        let row = sqlx::query_as!(Row, "select * from teams where id = $1", id.uuid())
            .fetch_optional(self.c())
            .await?;
        row.map(Team::try_from).transpose()
    }

    /// All, or only one, by name.
    #[tracing::instrument(name = "db.teams", level = "debug", skip_all)]
    pub async fn teams(&mut self, only: Option<TeamId>, page: &Page<String>) -> Result<Vec<Team>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select * from teams
             where ($1::uuid is null or id = $1) and name > coalesce($2, '') order by name limit $3",
            only.map(TeamId::uuid),
            page.after.as_deref(),
            page.limit()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Team::try_from).collect()
    }

    /// Replaces what a team may use in all. What runs is left alone.
    #[tracing::instrument(name = "db.set_team_limits", level = "debug", skip_all)]
    pub async fn set_team_limits(&mut self, id: TeamId, limits: &TeamLimits) -> Result<(), StoreError> {
        let milli = |cpu: MilliCpu| i32::try_from(cpu.0).unwrap_or(i32::MAX);
        let done = sqlx::query!(
            "update teams set instances_max = $2, memory_bytes_max = $3, cpu_milli_max = $4 where id = $1",
            id.uuid(),
            limits.instances.map(|n| i32::try_from(n).unwrap_or(i32::MAX)),
            limits.memory.map(|m| i64::try_from(m.0).unwrap_or(i64::MAX)),
            limits.cpu.map(milli)
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the team")
    }

    /// Why an environment with this spec does not fit into what its team may use, if it does not. Until the transaction
    /// ends, no other of the team is let in beside it.
    #[tracing::instrument(name = "db.over_limit", level = "debug", skip_all)]
    pub async fn over_limit(&mut self, environment: &Environment, spec: &Spec) -> Result<Option<String>, StoreError> {
        let team = self.team(environment.team).await?;
        if team.is_none_or(|team| team.limits.is_unlimited()) {
            return Ok(None);
        }
        let row = sqlx::query_as!(
            Row,
            "select * from teams where id = $1 for update",
            environment.team.uuid()
        )
        .fetch_one(self.c())
        .await?;
        let limits = Team::try_from(row)?.limits;
        let rows = sqlx::query!(
            "select e.id, r.spec from environments e join releases r on r.id = e.release_id
             where e.team_id = $1 and e.desired = 'running' and e.id <> $2",
            environment.team.uuid(),
            environment.id.uuid()
        )
        .fetch_all(self.c())
        .await?;
        let others = rows.iter().map(|r| {
            let id = EnvironmentId::from_uuid(r.id);
            Ok(Use::most(&row_spec(&r.spec, "releases", &id)?))
        });
        let others = others.collect::<Result<Vec<Use>, StoreError>>()?.into_iter().sum();
        Ok(limits.refusal(others, Use::most(spec)))
    }
}
