//! `teams`: the owners of apps, registries and tokens. Written by the API.

use slipway_domain::Timestamp;
use slipway_domain::ids::TeamId;
use slipway_domain::name::TeamName;

use crate::row::parse;
use crate::{Page, StoreError, Tx};

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its identifier.
    pub id: TeamId,
    /// Its name.
    pub name: TeamName,
    /// When it was made.
    pub created_at: Timestamp,
}

fn team(id: uuid::Uuid, name: &str, created_at: Timestamp) -> Result<Team, StoreError> {
    let id = TeamId::from_uuid(id);
    Ok(Team {
        id,
        name: parse(name, "teams", "name", &id)?,
        created_at,
    })
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
        let row = sqlx::query!("select id, name, created_at from teams where name = $1", name.as_str())
            .fetch_optional(self.c())
            .await?;
        row.map(|r| team(r.id, &r.name, r.created_at)).transpose()
    }

    /// By identifier.
    #[tracing::instrument(name = "db.team", level = "debug", skip_all)]
    pub async fn team(&mut self, id: TeamId) -> Result<Option<Team>, StoreError> {
        let row = sqlx::query!("select id, name, created_at from teams where id = $1", id.uuid())
            .fetch_optional(self.c())
            .await?;
        row.map(|r| team(r.id, &r.name, r.created_at)).transpose()
    }

    /// All, or only one, by name.
    #[tracing::instrument(name = "db.teams", level = "debug", skip_all)]
    pub async fn teams(&mut self, only: Option<TeamId>, page: &Page<String>) -> Result<Vec<Team>, StoreError> {
        let rows = sqlx::query!(
            "select id, name, created_at from teams
             where ($1::uuid is null or id = $1) and name > coalesce($2, '') order by name limit $3",
            only.map(TeamId::uuid),
            page.after.as_deref(),
            page.limit()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(|r| team(r.id, &r.name, r.created_at)).collect()
    }
}
