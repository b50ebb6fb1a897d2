//! Everything the scheduler must know of one environment, read in one transaction.

use std::collections::BTreeMap;

use slipway_domain::Timestamp;
use slipway_domain::alert::AlertKind;
use slipway_domain::deployment::DeploymentState;
use slipway_domain::ids::{DeploymentId, EnvironmentId, ReleaseId};
use slipway_domain::release::Release;
use slipway_domain::rest::Rest;

use crate::row::bad;
use crate::{Deployment, Environment, EnvironmentStatus, ProxyRow, RouteRow, StoreError, Tx};

/// The newest releases, whose containers may be alive without having been seen yet.
const RELEASES_MAX: i64 = 20;

/// Everything about one environment.
#[derive(Debug, Clone)]
pub struct EnvironmentWorld {
    /// The intent.
    pub environment: Environment,
    /// What was found.
    pub status: EnvironmentStatus,
    /// The unfinished deployment.
    pub deployment: Option<Deployment>,
    /// What should run, what serves, those that have instances, and the newest ones.
    pub releases: Vec<Release>,
    /// What proxies are told.
    pub route: Option<RouteRow>,
    /// Proxies and what they have in force.
    pub proxies: Vec<ProxyRow>,
    /// The last deployment that ended, when its old instances are still on their way out.
    pub draining: Option<DeploymentId>,
    /// Whether the last deployment that ended failed.
    pub last_failed: bool,
    /// When a proxy last said that a request waits for it to wake.
    pub wake_asked_at: Option<Timestamp>,
    /// What somebody was told of and is not over, and of which release.
    pub alerts: BTreeMap<AlertKind, ReleaseId>,
}

impl EnvironmentWorld {
    /// A release by identifier.
    pub fn release(&self, id: ReleaseId) -> Option<&Release> {
        self.releases.iter().find(|r| r.id == id)
    }
}

impl Tx {
    /// Environments whose intent is not fulfilled, that have an unfinished deployment, or that rest while a request
    /// waits.
    #[tracing::instrument(name = "db.due_environments", level = "debug", skip_all)]
    pub async fn due_environments(&mut self) -> Result<Vec<EnvironmentId>, StoreError> {
        let rows = sqlx::query_scalar!(
            "select e.id as \"id!\" from environments e join environment_status s on s.environment_id = e.id
             where e.generation <> s.observed_generation
             union
             select w.environment_id from wakes w join environment_status s using (environment_id)
             where s.rest <> 'awake' and w.asked_at >= s.rest_since
             union
             select environment_id from deployments where state in ('pending', 'awaiting_approval', 'running')"
        )
        .fetch_all(self.c())
        .await?;
        Ok(rows.into_iter().map(EnvironmentId::from_uuid).collect())
    }

    /// All environments.
    #[tracing::instrument(name = "db.all_environment_ids", level = "debug", skip_all)]
    pub async fn all_environment_ids(&mut self) -> Result<Vec<EnvironmentId>, StoreError> {
        let rows = sqlx::query_scalar!("select id from environments")
            .fetch_all(self.c())
            .await?;
        Ok(rows.into_iter().map(EnvironmentId::from_uuid).collect())
    }

    /// Everything about one environment; `None` when it is gone.
    #[tracing::instrument(name = "db.load_world", level = "debug", skip_all)]
    pub async fn load_world(&mut self, id: EnvironmentId) -> Result<Option<EnvironmentWorld>, StoreError> {
        sqlx::query!("set transaction isolation level repeatable read read only")
            .execute(self.c())
            .await?;
        let Some(environment) = self.environment_by_id(id).await? else {
            return Ok(None);
        };
        let status = self
            .status(id)
            .await?
            .ok_or_else(|| bad("environment_status", "environment_id", &id))?;
        let deployment = self.unfinished(id).await?;
        // After going back, and after a change of scale, instances are those of an earlier release of the same contents,
        // which may be long ago.
        let alive = status.instances.iter().map(|i| i.release);
        let named = [environment.release, status.serving, status.previous]
            .into_iter()
            .flatten();
        let wanted: Vec<_> = named.chain(alive).map(ReleaseId::uuid).collect();
        let rows = sqlx::query_as!(
            crate::releases::Row,
            "select id, environment_id, number, image, pin, spec, secrets, cause, created_at, created_by, good, same_as
             from releases
             where environment_id = $1 and (id = any($2)
                or number > (select last_release_number from environments where id = $1) - $3)
             order by number desc",
            id.uuid(),
            &wanted,
            RELEASES_MAX
        )
        .fetch_all(self.c())
        .await?;
        let releases = rows.into_iter().map(Release::try_from).collect::<Result<_, _>>()?;
        let last = sqlx::query!(
            "select d.id, d.state, exists (select 1 from deployment_steps s
                 where s.deployment_id = d.id and s.name in ('drain', 'stop') and s.state = 'running') as \"draining!\"
             from deployments d where d.environment_id = $1 and d.finished_at is not null
               and d.state in ('succeeded', 'failed') order by d.id desc limit 1",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        let wake_asked_at = if status.rest == Rest::Awake {
            None
        } else {
            self.wake_asked_at(id).await?
        };
        Ok(Some(EnvironmentWorld {
            wake_asked_at,
            alerts: self.open_alerts(id).await?,
            route: self.route(id).await?,
            proxies: self.proxies().await?,
            draining: last
                .as_ref()
                .filter(|l| l.draining)
                .map(|l| DeploymentId::from_uuid(l.id)),
            last_failed: last.is_some_and(|l| l.state == DeploymentState::Failed.as_str()),
            environment,
            status,
            deployment,
            releases,
        }))
    }
}
