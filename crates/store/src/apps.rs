//! `apps`. Written by the API; a row goes with its last environment.

use slipway_domain::deployment::DeploymentState;
use slipway_domain::ids::{AppId, EnvironmentId, TeamId};
use slipway_domain::name::{AppName, EnvironmentName, TeamName};
use slipway_domain::{ReleaseNumber, Timestamp};

use crate::row::{bad, parse};
use crate::{Desired, Page, StoreError, Tx};

/// An app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its identifier.
    pub id: AppId,
    /// Its team.
    pub team: TeamId,
    /// Its team's name.
    pub team_name: TeamName,
    /// Its name.
    pub name: AppName,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
}

/// An app with what stands in a list.
#[derive(Debug, Clone)]
pub struct AppSummary {
    /// The app.
    pub app: App,
    /// Its environments, by name.
    pub environments: Vec<EnvironmentSummary>,
}

/// How one environment stands.
#[derive(Debug, Clone)]
pub struct EnvironmentSummary {
    /// Its identifier.
    pub id: EnvironmentId,
    /// Its name.
    pub name: EnvironmentName,
    /// What should be.
    pub desired: Desired,
    /// Whether what should be is so.
    pub settled: bool,
    /// Whether settings changed since the last release and wait for the next one.
    pub staged: bool,
    /// Why it was last seen to be not `Ready`, if it was: a condition's reason.
    pub unready: Option<String>,
    /// The release that has the traffic.
    pub serving: Option<ReleaseNumber>,
    /// How its last deployment stands.
    pub last_deployment: Option<DeploymentState>,
}

struct Row {
    id: uuid::Uuid,
    team_id: uuid::Uuid,
    team_name: String,
    name: String,
    created_at: Timestamp,
    created_by: String,
}

impl TryFrom<Row> for App {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = AppId::from_uuid(r.id);
        Ok(Self {
            id,
            team: TeamId::from_uuid(r.team_id),
            team_name: parse(&r.team_name, "teams", "name", &id)?,
            name: parse(&r.name, "apps", "name", &id)?,
            created_at: r.created_at,
            created_by: r.created_by,
        })
    }
}

impl Tx {
    /// Adds an app.
    #[tracing::instrument(name = "db.insert_app", level = "debug", skip_all)]
    pub async fn insert_app(&mut self, app: &App) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into apps (id, team_id, name, created_at, created_by) values ($1, $2, $3, $4, $5)",
            app.id.uuid(),
            app.team.uuid(),
            app.name.as_str(),
            app.created_at,
            app.created_by
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// By name; an app on its way out is not there.
    #[tracing::instrument(name = "db.app_by_name", level = "debug", skip_all)]
    pub async fn app_by_name(&mut self, name: &AppName) -> Result<Option<App>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select a.id, a.team_id, t.name as team_name, a.name, a.created_at, a.created_by
             from apps a join teams t on t.id = a.team_id
             where a.name = $1 and exists (select 1 from environments e where e.app_id = a.id and e.desired <> 'deleted')",
            name.as_str()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(App::try_from).transpose()
    }

    /// The first names there are, of a team or of all.
    #[tracing::instrument(name = "db.app_names", level = "debug", skip_all)]
    pub async fn app_names(&mut self, team: Option<TeamId>, count_max: i64) -> Result<Vec<String>, StoreError> {
        let names = sqlx::query_scalar!(
            "select name from apps a where ($1::uuid is null or team_id = $1)
               and exists (select 1 from environments e where e.app_id = a.id and e.desired <> 'deleted')
             order by name limit $2",
            team.map(TeamId::uuid),
            count_max
        )
        .fetch_all(self.c())
        .await?;
        Ok(names)
    }

    /// Apps by name, with how their environments stand: one page of apps, then their environments. Where the page
    /// begins is a plain comparison, so that the index is walked from there and no further than the page is long.
    #[tracing::instrument(name = "db.apps", level = "debug", skip_all)]
    pub async fn apps(
        &mut self,
        team: Option<TeamId>,
        only: Option<&[AppName]>,
        page: &Page<String>,
    ) -> Result<Vec<AppSummary>, StoreError> {
        let only: Option<Vec<String>> = only.map(|names| names.iter().map(ToString::to_string).collect());
        let rows = sqlx::query_as!(
            Row,
            "select a.id, a.team_id, t.name as team_name, a.name, a.created_at, a.created_by
             from apps a join teams t on t.id = a.team_id
             where ($1::uuid is null or a.team_id = $1) and ($2::text[] is null or a.name = any($2))
               and a.name > coalesce($3, '')
               and exists (select 1 from environments e where e.app_id = a.id and e.desired <> 'deleted')
             order by a.name limit $4",
            team.map(TeamId::uuid),
            only.as_deref(),
            page.after.as_deref(),
            page.limit()
        )
        .fetch_all(self.c())
        .await?;
        let apps: Vec<App> = rows.into_iter().map(App::try_from).collect::<Result<_, _>>()?;
        let ids: Vec<uuid::Uuid> = apps.iter().map(|a| a.id.uuid()).collect();
        let mut environments = self.environment_summaries(&ids).await?;
        Ok(apps
            .into_iter()
            .map(|app| {
                let own = environments
                    .extract_if(.., |(id, _)| *id == app.id)
                    .map(|(_, e)| e)
                    .collect();
                AppSummary { app, environments: own }
            })
            .collect())
    }

    async fn environment_summaries(
        &mut self,
        apps: &[uuid::Uuid],
    ) -> Result<Vec<(AppId, EnvironmentSummary)>, StoreError> {
        let rows = sqlx::query!(
            "select e.id, e.app_id, e.name, e.desired, e.generation = s.observed_generation as \"settled!\", e.staged,
                    (select c ->> 'reason' from jsonb_array_elements(s.conditions) c
                     where c ->> 'type' = 'Ready' and not (c -> 'status')::boolean limit 1) as \"unready?\",
                    r.number as \"serving?\", d.state as \"last?\"
             from environments e
             join environment_status s on s.environment_id = e.id
             left join releases r on r.id = s.serving_release_id
             left join lateral (select state from deployments where environment_id = e.id order by id desc limit 1) d on true
             where e.app_id = any($1) and e.desired <> 'deleted' order by e.name",
            apps
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let id = EnvironmentId::from_uuid(r.id);
                let last = r
                    .last
                    .map(|l| DeploymentState::parse(&l).ok_or_else(|| bad("deployments", "state", &id)));
                let summary = EnvironmentSummary {
                    id,
                    name: parse(&r.name, "environments", "name", &id)?,
                    desired: Desired::parse(&r.desired).ok_or_else(|| bad("environments", "desired", &id))?,
                    settled: r.settled,
                    staged: r.staged,
                    unready: r.unready,
                    serving: r.serving.map(ReleaseNumber),
                    last_deployment: last.transpose()?,
                };
                Ok((AppId::from_uuid(r.app_id), summary))
            })
            .collect()
    }

    /// Marks every environment of an app as to be deleted.
    #[tracing::instrument(name = "db.delete_app", level = "debug", skip_all)]
    pub async fn delete_app(&mut self, app: AppId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update environments set generation = generation + 1, desired = 'deleted', decided_at = greatest(decided_at, $2)
             where app_id = $1 and desired <> 'deleted'",
            app.uuid(),
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }
}
