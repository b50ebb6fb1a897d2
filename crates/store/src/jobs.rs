//! `jobs`: bounded work with identity and history.
//!
//! Promises: a claim is committed before the work begins; a worker that died is found by its lease; a zombie that
//! finishes late is fenced by the attempt.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::ids::JobId;

use crate::{StoreError, Tx};

/// What a job is made from.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its identifier.
    pub id: JobId,
    /// What work.
    pub kind: String,
    /// At most one unfinished job of a kind with the same key.
    pub dedupe_key: Option<String>,
    /// A key to the work, not a copy of it.
    pub payload: Value,
    /// Not before.
    pub run_at: Timestamp,
    /// Then it has failed.
    pub attempts_max: i32,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A claimed job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its identifier.
    pub id: JobId,
    /// What work.
    pub kind: String,
    /// A key to the work.
    pub payload: Value,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// Then it has failed.
    pub attempts_max: i32,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobOutcome {
    /// It is done.
    Done,
    /// It was given up.
    Failed,
}

impl Tx {
    /// Adds a job; false when an unfinished one with the same key is there.
    #[tracing::instrument(name = "db.enqueue_job", level = "debug", skip_all)]
    pub async fn enqueue_job(&mut self, job: &NewJob) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "insert into jobs (id, kind, dedupe_key, payload, run_at, attempts_max, created_at)
             values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
            job.id.uuid(),
            job.kind,
            job.dedupe_key,
            job.payload,
            job.run_at,
            job.attempts_max,
            job.created_at
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Claims the oldest due job of these kinds.
    #[tracing::instrument(name = "db.claim_job", level = "debug", skip_all)]
    pub async fn claim_job(&mut self, kinds: &[String], lease_ms: i64) -> Result<Option<Job>, StoreError> {
        let row = sqlx::query!(
            "update jobs set attempt = attempt + 1, lease_until = now() + $2::bigint * interval '1 millisecond'
             where id = (select id from jobs
                         where finished_at is null and kind = any($1) and run_at <= now() and lease_until is null
                         order by run_at limit 1 for update skip locked)
             returning id, kind, payload, attempt, attempts_max",
            kinds,
            lease_ms
        )
        .fetch_optional(self.c())
        .await?;
        Ok(row.map(|r| Job {
            id: JobId::from_uuid(r.id),
            kind: r.kind,
            payload: r.payload,
            attempt: r.attempt,
            attempts_max: r.attempts_max,
        }))
    }

    /// Prolongs a claim; false when it was lost.
    #[tracing::instrument(name = "db.heartbeat_job", level = "debug", skip_all)]
    pub async fn heartbeat_job(&mut self, id: JobId, attempt: i32, lease_ms: i64) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update jobs set lease_until = now() + $3::bigint * interval '1 millisecond'
             where id = $1 and attempt = $2 and finished_at is null and lease_until is not null",
            id.uuid(),
            attempt,
            lease_ms
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends a job; false when the claim was lost.
    #[tracing::instrument(name = "db.finish_job", level = "debug", skip_all)]
    pub async fn finish_job(
        &mut self,
        id: JobId,
        attempt: i32,
        outcome: JobOutcome,
        error: Option<&str>,
    ) -> Result<bool, StoreError> {
        let word = match outcome {
            JobOutcome::Done => "done",
            JobOutcome::Failed => "failed",
        };
        let done = sqlx::query!(
            "update jobs set finished_at = now(), outcome = $3, error = $4, lease_until = null
             where id = $1 and attempt = $2 and finished_at is null and lease_until is not null",
            id.uuid(),
            attempt,
            word,
            error
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives a job back to be tried again, or up when it had all its attempts; false when the claim was lost.
    #[tracing::instrument(name = "db.retry_job", level = "debug", skip_all)]
    pub async fn retry_job(
        &mut self,
        id: JobId,
        attempt: i32,
        run_at: Timestamp,
        error: &str,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update jobs set run_at = $3, error = $4, lease_until = null,
                    finished_at = case when attempt >= attempts_max then now() end,
                    outcome = case when attempt >= attempts_max then 'failed' end
             where id = $1 and attempt = $2 and finished_at is null and lease_until is not null",
            id.uuid(),
            attempt,
            run_at,
            error
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Frees jobs whose worker died, gives up those that had all their attempts, and says how many there were.
    #[tracing::instrument(name = "db.reap_jobs", level = "debug", skip_all)]
    pub async fn reap_jobs(&mut self) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "update jobs set lease_until = null, error = 'the worker died',
                    finished_at = case when attempt >= attempts_max then now() end,
                    outcome = case when attempt >= attempts_max then 'failed' end
             where finished_at is null and lease_until < now()"
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected())
    }
}
