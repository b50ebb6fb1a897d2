//! `acme_trials`: orders that are only to show whether they would succeed.

use slipway_domain::Timestamp;
use slipway_domain::domains::Reason;
use slipway_domain::ids::DomainId;

use crate::row::{json, to_json};
use crate::{StoreError, Tx};

/// How one went.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The staging directory.
    pub ca: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// What went wrong; nothing if it ended well.
    pub error: Option<Reason>,
}

/// One that is to be made.
#[derive(Debug, Clone)]
pub struct DueTrial {
    /// The domain.
    pub domain: DomainId,
    /// Its name.
    pub host: String,
    /// The staging directory.
    pub ca: String,
}

impl Tx {
    /// Asks for one, in place of the last one.
    #[tracing::instrument(name = "db.ask_trial", level = "debug", skip_all)]
    pub async fn ask_trial(&mut self, id: DomainId, ca: &str, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into acme_trials (domain_id, ca, asked_at) values ($1, $2, $3)
             on conflict (domain_id) do update set ca = excluded.ca, asked_at = excluded.asked_at, ended_at = null, error = null",
            id.uuid(),
            ca,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// The last one of a domain.
    #[tracing::instrument(name = "db.trial", level = "debug", skip_all)]
    pub async fn trial(&mut self, id: DomainId) -> Result<Option<Trial>, StoreError> {
        let row = sqlx::query!(
            "select ca, asked_at, ended_at, error from acme_trials where domain_id = $1",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(|r| {
            Ok(Trial {
                ca: r.ca,
                asked_at: r.asked_at,
                ended_at: r.ended_at,
                error: r.error.map(|e| json(e, "acme_trials", "error", &id)).transpose()?,
            })
        })
        .transpose()
    }

    /// Those that are to be made, the oldest first.
    #[tracing::instrument(name = "db.trials_due", level = "debug", skip_all)]
    pub async fn trials_due(&mut self, limit: i64) -> Result<Vec<DueTrial>, StoreError> {
        let rows = sqlx::query!(
            "select t.domain_id, d.host, t.ca from acme_trials t join custom_domains d on d.id = t.domain_id
             where t.ended_at is null order by t.asked_at limit $1",
            limit
        )
        .fetch_all(self.c())
        .await?;
        let due = rows.into_iter().map(|r| DueTrial {
            domain: DomainId::from_uuid(r.domain_id),
            host: r.host,
            ca: r.ca,
        });
        Ok(due.collect())
    }

    /// Notes how one went.
    #[tracing::instrument(name = "db.end_trial", level = "debug", skip_all)]
    pub async fn end_trial(&mut self, id: DomainId, error: Option<&Reason>, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update acme_trials set ended_at = $2, error = $3 where domain_id = $1",
            id.uuid(),
            now,
            error.map(to_json).transpose()?
        )
        .execute(self.c())
        .await?;
        Ok(())
    }
}
