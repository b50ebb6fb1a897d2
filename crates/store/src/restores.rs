//! `restores`: databases that are made from backups. Asked for by the API; how far each is, the backup worker writes.

use slipway_domain::Timestamp;
use slipway_domain::backup::{Lsn, RestorePhase};
use slipway_domain::database::DatabaseState;
use slipway_domain::domains::Reason;
use slipway_domain::ids::{BackupId, DatabaseId, SpanId};
use slipway_domain::name::DatabaseName;
use slipway_domain::secret::Sealed;

use crate::row::{bad, json, one, parse, to_json};
use crate::{StoreError, Tx};

/// A restore, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The database that it makes.
    pub database: DatabaseId,
    /// The one whose backups it is made from.
    pub source: DatabaseId,
    /// What that was called when the copy was made: its database and roles are called after it.
    pub source_name: DatabaseName,
    /// The copy.
    pub backup: BackupId,
    /// The stretch of the log.
    pub span: SpanId,
    /// The log is replayed up to here at most,
    pub to: Lsn,
    /// or up to this moment.
    pub until: Option<Timestamp>,
    /// The passwords of the source.
    pub sealed_passwords: Sealed,
    /// How far it is.
    pub phase: RestorePhase,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// How much of what is fetched is there.
    pub done_bytes: u64,
    /// How much that is.
    pub total_bytes: Option<u64>,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was begun.
    pub started_at: Option<Timestamp>,
    /// When it was done or given up.
    pub ended_at: Option<Timestamp>,
    /// When the last transaction was committed that it has.
    pub restored_to: Option<Timestamp>,
}

struct Row {
    database_id: uuid::Uuid,
    source_id: uuid::Uuid,
    source_name: String,
    backup_id: uuid::Uuid,
    span_id: uuid::Uuid,
    to_lsn: i64,
    until: Option<Timestamp>,
    sealed_passwords: Vec<u8>,
    key_version: i32,
    phase: String,
    reason: Option<serde_json::Value>,
    done_bytes: i64,
    total_bytes: Option<i64>,
    requested_by: String,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    restored_to: Option<Timestamp>,
}

impl TryFrom<Row> for Restore {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = DatabaseId::from_uuid(r.database_id);
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Self {
            database: id,
            source: DatabaseId::from_uuid(r.source_id),
            source_name: parse(&r.source_name, "restores", "source_name", &id)?,
            backup: BackupId::from_uuid(r.backup_id),
            span: SpanId::from_uuid(r.span_id),
            to: Lsn(count(r.to_lsn)),
            until: r.until,
            sealed_passwords: Sealed {
                key_version: r.key_version,
                bytes: r.sealed_passwords,
            },
            phase: RestorePhase::parse(&r.phase).ok_or_else(|| bad("restores", "phase", &id))?,
            reason: r.reason.map(|v| json(v, "restores", "reason", &id)).transpose()?,
            done_bytes: count(r.done_bytes),
            total_bytes: r.total_bytes.map(count),
            requested_by: r.requested_by,
            created_at: r.created_at,
            started_at: r.started_at,
            ended_at: r.ended_at,
            restored_to: r.restored_to,
        })
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Tx {
    /// Asks for one; its database's row is there.
    #[tracing::instrument(name = "db.ask_restore", level = "debug", skip_all)]
    pub async fn ask_restore(&mut self, r: &Restore) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into restores (database_id, source_id, source_name, backup_id, span_id, to_lsn, until, sealed_passwords,
                                   key_version, requested_by, created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            r.database.uuid(),
            r.source.uuid(),
            r.source_name.as_str(),
            r.backup.uuid(),
            r.span.uuid(),
            number(r.to.0),
            r.until,
            r.sealed_passwords.bytes,
            r.sealed_passwords.key_version,
            r.requested_by,
            r.created_at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// How a database is or was restored, if it was.
    #[tracing::instrument(name = "db.restore", level = "debug", skip_all)]
    pub async fn restore(&mut self, database: DatabaseId) -> Result<Option<Restore>, StoreError> {
        let row = sqlx::query_as!(Row, "select * from restores where database_id = $1", database.uuid())
            .fetch_optional(self.c())
            .await?;
        row.map(Restore::try_from).transpose()
    }

    /// Those that are to be done, the oldest first.
    #[tracing::instrument(name = "db.pending_restores", level = "debug", skip_all)]
    pub async fn pending_restores(&mut self) -> Result<Vec<Restore>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select * from restores where phase not in ('done', 'failed') order by created_at"
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Restore::try_from).collect()
    }

    /// Notes how far one is.
    #[tracing::instrument(name = "db.note_restore", level = "debug", skip_all)]
    pub async fn note_restore(
        &mut self,
        database: DatabaseId,
        phase: RestorePhase,
        (done_bytes, total_bytes): (u64, u64),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query!(
            "update restores set phase = $2, done_bytes = $3, total_bytes = $4, started_at = coalesce(started_at, $5)
             where database_id = $1 and phase not in ('done', 'failed')",
            database.uuid(),
            phase.as_str(),
            number(done_bytes),
            number(total_bytes),
            now
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the restore")
    }

    /// Notes that one is done: its database is made like any other from here on.
    #[tracing::instrument(name = "db.restore_done", level = "debug", skip_all)]
    pub async fn restore_done(
        &mut self,
        database: DatabaseId,
        restored_to: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update restores set phase = 'done', ended_at = $2, restored_to = $3, reason = null where database_id = $1",
            database.uuid(),
            now,
            restored_to
        )
        .execute(self.c())
        .await?;
        self.restored(database, (DatabaseState::Creating, None), now).await
    }

    /// Notes that one was given up.
    #[tracing::instrument(name = "db.restore_failed", level = "debug", skip_all)]
    pub async fn restore_failed(
        &mut self,
        database: DatabaseId,
        why: &Reason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update restores set phase = 'failed', ended_at = $2, reason = $3 where database_id = $1",
            database.uuid(),
            now,
            to_json(why)?
        )
        .execute(self.c())
        .await?;
        self.restored(database, (DatabaseState::Restoring, Some(why)), now)
            .await
    }

    async fn restored(
        &mut self,
        database: DatabaseId,
        (state, reason): (DatabaseState, Option<&Reason>),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update databases set state = $2, state_since = $3, reason = $4, generation = generation + 1
             where id = $1 and state = 'restoring'",
            database.uuid(),
            state.as_str(),
            now,
            reason.map(to_json).transpose()?
        )
        .execute(self.c())
        .await?;
        Ok(())
    }
}
