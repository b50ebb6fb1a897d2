//! `environment_status`: what was found and done. Only the scheduler writes it, under its fence.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use slipway_domain::ids::{EnvironmentId, ReleaseId};
use slipway_domain::observed::UNKNOWN_RELEASE;
use slipway_domain::rest::Rest;
use slipway_domain::{Generation, Timestamp};

use crate::row::{bad, json, one, to_json};
use crate::{StoreError, Tx};

/// What was found of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentStatus {
    /// The intent that is fulfilled.
    pub observed_generation: Generation,
    /// The release that has the traffic.
    pub serving: Option<ReleaseId>,
    /// Since when it has all of it.
    pub serving_since: Option<Timestamp>,
    /// The release that had it before.
    pub previous: Option<ReleaseId>,
    /// How many instances are wanted now, where the number follows the requests.
    pub replicas: Option<u32>,
    /// Since when it is so many.
    pub scaled_at: Option<Timestamp>,
    /// Whether it rests.
    pub rest: Rest,
    /// Since when it rests as it does, or is awake after a rest.
    pub rest_since: Option<Timestamp>,
    /// Instances as they were seen last.
    pub instances: Vec<InstanceRecord>,
    /// What can be said of it.
    pub conditions: Vec<Condition>,
}

/// An instance as it was seen last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// The engine's container id.
    pub instance: String,
    /// Its release.
    pub release: ReleaseId,
    /// Its place in the group.
    pub slot: u32,
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// `starting`, `healthy` or `unhealthy`.
    pub health: String,
    /// How often it has ended by itself and was started again.
    pub restarts: u32,
    /// How it ended the last time.
    #[serde(default)]
    pub last_exit: Option<LastExit>,
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// When, as the engine says.
    pub at: Timestamp,
    /// The exit code.
    pub exit_code: i64,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// Whether the platform ended it, since it did not answer.
    #[serde(default)]
    pub unresponsive: bool,
}

/// Something that is so or not, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Such as `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is so.
    pub status: bool,
    /// For scripts.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

impl Tx {
    /// The status of an environment.
    #[tracing::instrument(name = "db.status", level = "debug", skip_all)]
    pub async fn status(&mut self, id: EnvironmentId) -> Result<Option<EnvironmentStatus>, StoreError> {
        let row = sqlx::query!(
            "select observed_generation, serving_release_id, serving_since, previous_release_id, replicas, scaled_at,
                    rest, rest_since, instances, conditions
             from environment_status where environment_id = $1",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(|r| {
            Ok(EnvironmentStatus {
                observed_generation: Generation(r.observed_generation),
                serving: r.serving_release_id.map(ReleaseId::from_uuid),
                serving_since: r.serving_since,
                previous: r.previous_release_id.map(ReleaseId::from_uuid),
                replicas: r
                    .replicas
                    .map(|n| u32::try_from(n).map_err(|_| bad("environment_status", "replicas", &id)))
                    .transpose()?,
                scaled_at: r.scaled_at,
                rest: Rest::parse(&r.rest).ok_or_else(|| bad("environment_status", "rest", &id))?,
                rest_since: r.rest_since,
                instances: json(r.instances, "environment_status", "instances", &id)?,
                conditions: json(r.conditions, "environment_status", "conditions", &id)?,
            })
        })
        .transpose()
    }

    /// Whether a release runs in the environment that the database does not know, and nothing is changed until somebody
    /// decides.
    pub async fn stands_still(&mut self, id: EnvironmentId) -> Result<bool, StoreError> {
        let status = self.status(id).await?;
        Ok(status.is_some_and(|s| s.conditions.iter().any(|c| c.reason == UNKNOWN_RELEASE)))
    }

    /// Writes the status; fence the transaction first.
    #[tracing::instrument(name = "db.save_status", level = "debug", skip_all)]
    pub async fn save_status(&mut self, id: EnvironmentId, s: &EnvironmentStatus) -> Result<(), StoreError> {
        let epoch = self.fenced()?;
        let done = sqlx::query!(
            "update environment_status set observed_generation = $2, serving_release_id = $3, instances = $4,
                    conditions = $5, epoch = $6, serving_since = $7, previous_release_id = $8, replicas = $9,
                    scaled_at = $10, rest = $11, rest_since = $12, updated_at = now()
             where environment_id = $1 and epoch <= $6",
            id.uuid(),
            s.observed_generation.0,
            s.serving.map(ReleaseId::uuid),
            to_json(&s.instances)?,
            to_json(&s.conditions)?,
            epoch.0,
            s.serving_since,
            s.previous.map(ReleaseId::uuid),
            s.replicas.map(u32::cast_signed),
            s.scaled_at,
            s.rest.as_str(),
            s.rest_since
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the environment")
    }
}
