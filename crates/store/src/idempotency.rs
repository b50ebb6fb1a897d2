//! `idempotency_keys`: first answers by key. Written by the API.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::ids::{DeploymentId, TokenId};

use crate::{StoreError, Tx};

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers, name to value.
    pub headers: Value,
    /// Its body.
    pub body: Vec<u8>,
}

/// What a key means for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idempotent {
    /// It is the first: go on, then keep the answer.
    Fresh,
    /// The first is still under way and has made nothing yet.
    InFlight,
    /// The first waits for the end of this deployment, which it has made.
    Waiting(DeploymentId),
    /// The program that was to answer the first has ended, and had made this deployment: answer with that.
    Interrupted(DeploymentId),
    /// It was answered: answer so again.
    Replay(StoredAnswer),
    /// The key was used for another request.
    Mismatch,
}

impl Tx {
    /// Takes a key for a request, or says what became of the one that took it before. Those that were under way before
    /// `alive_since` are so no more: nobody is left to answer them.
    #[tracing::instrument(name = "db.begin_idempotent", level = "debug", skip_all)]
    pub async fn begin_idempotent(
        &mut self,
        token: TokenId,
        key: &str,
        request_hash: &[u8; 32],
        now: Timestamp,
        alive_since: Timestamp,
    ) -> Result<Idempotent, StoreError> {
        let inserted = sqlx::query!(
            "insert into idempotency_keys (token_id, key, request_hash, created_at) values ($1, $2, $3, $4)
             on conflict (token_id, key) do nothing",
            token.uuid(),
            key,
            &request_hash[..],
            now
        )
        .execute(self.c())
        .await?;
        if inserted.rows_affected() == 1 {
            return Ok(Idempotent::Fresh);
        }
        let row = sqlx::query!(
            "select request_hash, status, headers, body, created_at, deployment_id from idempotency_keys where token_id = $1 and key = $2",
            token.uuid(),
            key
        )
        .fetch_optional(self.c())
        .await?;
        // Removed between the two statements: whoever held it gave it up, so the caller may try again at once.
        let Some(row) = row else {
            return Ok(Idempotent::InFlight);
        };
        if row.request_hash != request_hash {
            return Ok(Idempotent::Mismatch);
        }
        match (row.status.and_then(|s| u16::try_from(s).ok()), row.body) {
            (Some(status), Some(body)) => Ok(Idempotent::Replay(StoredAnswer {
                status,
                headers: row.headers.unwrap_or_default(),
                body,
            })),
            _ if row.created_at < alive_since => self.take_over(token, key, row.created_at, now).await,
            _ => Ok(row.deployment_id.map_or(Idempotent::InFlight, |made| {
                Idempotent::Waiting(DeploymentId::from_uuid(made))
            })),
        }
    }

    /// Of several that find the same request interrupted, one takes its place.
    async fn take_over(
        &mut self,
        token: TokenId,
        key: &str,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Idempotent, StoreError> {
        let row = sqlx::query!(
            "update idempotency_keys set created_at = $4
             where token_id = $1 and key = $2 and created_at = $3 and status is null returning deployment_id",
            token.uuid(),
            key,
            before,
            now
        )
        .fetch_optional(self.c())
        .await?;
        Ok(match row.map(|r| r.deployment_id) {
            Some(Some(made)) => Idempotent::Interrupted(DeploymentId::from_uuid(made)),
            Some(None) => Idempotent::Fresh,
            None => Idempotent::InFlight,
        })
    }

    /// Notes what the keyed request has made, in the transaction that makes it.
    #[tracing::instrument(name = "db.note_keyed_deployment", level = "debug", skip_all)]
    pub async fn note_keyed_deployment(
        &mut self,
        token: TokenId,
        key: &str,
        made: DeploymentId,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update idempotency_keys set deployment_id = $3 where token_id = $1 and key = $2 and status is null",
            token.uuid(),
            key,
            made.uuid()
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Keeps the answer to the request that took the key at `taken_at`, unless there is one or the key was given up
    /// meanwhile.
    #[tracing::instrument(name = "db.finish_idempotent", level = "debug", skip_all)]
    pub async fn finish_idempotent(
        &mut self,
        token: TokenId,
        key: &str,
        taken_at: Timestamp,
        answer: &StoredAnswer,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update idempotency_keys set status = $4, headers = $5, body = $6
             where token_id = $1 and key = $2 and created_at = $3 and status is null",
            token.uuid(),
            key,
            taken_at,
            i32::from(answer.status),
            answer.headers,
            answer.body
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Gives a key up that was taken at `taken_at`, so that the same request may be tried again. One that has made a
    /// deployment keeps leading to it.
    #[tracing::instrument(name = "db.forget_idempotent", level = "debug", skip_all)]
    pub async fn forget_idempotent(
        &mut self,
        token: TokenId,
        key: &str,
        taken_at: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "delete from idempotency_keys
             where token_id = $1 and key = $2 and created_at = $3 and status is null and deployment_id is null",
            token.uuid(),
            key,
            taken_at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Forgets answers after a day, and requests that never ended and made nothing after a quarter of an hour.
    #[tracing::instrument(name = "db.sweep_idempotent", level = "debug", skip_all)]
    pub async fn sweep_idempotent(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "delete from idempotency_keys
             where created_at < $1::timestamptz - interval '24 hours' or (status is null and deployment_id is null and created_at < $1::timestamptz - interval '15 minutes')",
            now
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected())
    }
}
