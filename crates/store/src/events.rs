//! `events`: what happened during a deployment, for people; the id resumes a stream.

use slipway_domain::Timestamp;
use slipway_domain::deployment::StepName;
use slipway_domain::ids::DeploymentId;

use crate::row::bad;
use crate::{StoreError, Tx};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Grows over all deployments.
    pub id: i64,
    /// Whose.
    pub deployment: DeploymentId,
    /// Such as `step.running` or `deployment.finished`.
    pub kind: String,
    /// When.
    pub time: Timestamp,
    /// The step it is about.
    pub step: Option<StepName>,
    /// For people.
    pub message: String,
}

impl Tx {
    /// Appends an event and says its id.
    #[tracing::instrument(name = "db.append_event", level = "debug", skip_all)]
    pub async fn append_event(
        &mut self,
        deployment: DeploymentId,
        kind: &str,
        time: Timestamp,
        step: Option<StepName>,
        message: &str,
    ) -> Result<i64, StoreError> {
        let id = sqlx::query_scalar!(
            "insert into events (team_id, deployment_id, type, time, step, message)
             select team_id, id, $2, $3, $4, $5 from deployments where id = $1 returning id",
            deployment.uuid(),
            kind,
            time,
            step.map(StepName::as_str),
            message
        )
        .fetch_optional(self.c())
        .await?;
        id.ok_or(StoreError::LostRace("the deployment"))
    }

    /// The last event of this type of a deployment.
    #[tracing::instrument(name = "db.last_event", level = "debug", skip_all)]
    pub async fn last_event(&mut self, deployment: DeploymentId, kind: &str) -> Result<Option<i64>, StoreError> {
        let id = sqlx::query_scalar!(
            "select max(id) from events where deployment_id = $1 and type = $2",
            deployment.uuid(),
            kind
        )
        .fetch_one(self.c())
        .await?;
        Ok(id)
    }

    /// Events of a deployment after an id, oldest first.
    #[tracing::instrument(name = "db.events_after", level = "debug", skip_all)]
    pub async fn events_after(
        &mut self,
        deployment: DeploymentId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query!(
            "select id, type as kind, time, step, message from events
             where deployment_id = $1 and id > $2 order by id limit $3",
            deployment.uuid(),
            after,
            i64::from(limit)
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let step = r
                    .step
                    .map(|s| StepName::parse(&s).ok_or_else(|| bad("events", "step", &r.id)));
                Ok(Event {
                    id: r.id,
                    deployment,
                    kind: r.kind,
                    time: r.time,
                    step: step.transpose()?,
                    message: r.message,
                })
            })
            .collect()
    }
}
