//! `backups`, `backup_streams`, `backup_spans` and `backup_objects`: what is stored of managed databases. A backup is asked
//! for by the API; everything else is written by the backup worker.

use slipway_domain::Timestamp;
use slipway_domain::backup::{BackupKind, BackupState, Lsn, SegmentSize, StoredObject, StreamState, Timeline};
use slipway_domain::domains::Reason;
use slipway_domain::ids::{BackupId, DatabaseId, SpanId, TeamId};
use slipway_domain::name::DatabaseName;

use crate::row::{bad, json, one, parse, to_json};
use crate::{Page, StoreError, Tx};

/// A backup, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Its identifier.
    pub id: BackupId,
    /// Of which database.
    pub database: DatabaseId,
    /// What that was called.
    pub database_name: DatabaseName,
    /// Whose it is.
    pub team: TeamId,
    /// What it is.
    pub kind: BackupKind,
    /// Where it stands.
    pub state: BackupState,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was begun.
    pub started_at: Option<Timestamp>,
    /// When it was stored or given up.
    pub ended_at: Option<Timestamp>,
    /// The stretch of the log that it belongs to.
    pub span: Option<SpanId>,
    /// The log is needed from here on, and at least up to there.
    pub range: Option<(Lsn, Lsn)>,
    /// How much the server reads for it, as far as known.
    pub source_bytes: Option<u64>,
    /// How much of that it has read.
    pub done_bytes: u64,
    /// How much it takes in the storage.
    pub stored_bytes: Option<u64>,
}

/// A stretch of a log that is stored without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpan {
    /// Its identifier.
    pub id: SpanId,
    /// Of which database.
    pub database: DatabaseId,
    /// Of which server.
    pub system: u64,
    /// Of which history.
    pub timeline: Timeline,
    /// How large the files of the log are.
    pub segment: SegmentSize,
    /// From here on,
    pub from: Lsn,
    /// up to here.
    pub to: Lsn,
    /// Since when.
    pub began_at: Timestamp,
    /// What was committed before is stored, by the server's clock.
    pub covered_at: Timestamp,
    /// When and why it was found that it does not go on.
    pub ended: Option<(Timestamp, Reason)>,
}

/// A piece of a log in the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogObject {
    /// What is stored.
    pub object: StoredObject,
    /// From here on,
    pub from: Lsn,
    /// up to here.
    pub to: Lsn,
    /// What was committed before is in it or before it, by the server's clock.
    pub last_at: Timestamp,
    /// Whether it is less than a whole segment.
    pub is_part: bool,
}

/// Whether a log is being stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStatus {
    /// In a word.
    pub state: StreamState,
    /// Since when.
    pub since: Timestamp,
    /// Why not.
    pub reason: Option<Reason>,
}

struct BackupRow {
    id: uuid::Uuid,
    database_id: uuid::Uuid,
    database_name: String,
    team_id: uuid::Uuid,
    kind: String,
    state: String,
    reason: Option<serde_json::Value>,
    requested_by: String,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    span_id: Option<uuid::Uuid>,
    from_lsn: Option<i64>,
    to_lsn: Option<i64>,
    source_bytes: Option<i64>,
    done_bytes: i64,
    stored_bytes: Option<i64>,
}

impl TryFrom<BackupRow> for Backup {
    type Error = StoreError;

    fn try_from(r: BackupRow) -> Result<Self, StoreError> {
        let id = BackupId::from_uuid(r.id);
        let wrong = |column| bad("backups", column, &id);
        Ok(Self {
            id,
            database: DatabaseId::from_uuid(r.database_id),
            database_name: parse(&r.database_name, "backups", "database_name", &id)?,
            team: TeamId::from_uuid(r.team_id),
            kind: BackupKind::parse(&r.kind).ok_or_else(|| wrong("kind"))?,
            state: BackupState::parse(&r.state).ok_or_else(|| wrong("state"))?,
            reason: r.reason.map(|v| json(v, "backups", "reason", &id)).transpose()?,
            requested_by: r.requested_by,
            created_at: r.created_at,
            started_at: r.started_at,
            ended_at: r.ended_at,
            span: r.span_id.map(SpanId::from_uuid),
            range: r.from_lsn.zip(r.to_lsn).map(|(from, to)| (place(from), place(to))),
            source_bytes: r.source_bytes.map(count),
            done_bytes: count(r.done_bytes),
            stored_bytes: r.stored_bytes.map(count),
        })
    }
}

struct SpanRow {
    id: uuid::Uuid,
    database_id: uuid::Uuid,
    system: String,
    timeline: i64,
    segment_bytes: i64,
    from_lsn: i64,
    to_lsn: i64,
    began_at: Timestamp,
    covered_at: Timestamp,
    ended_at: Option<Timestamp>,
    ended_reason: Option<serde_json::Value>,
}

impl TryFrom<SpanRow> for LogSpan {
    type Error = StoreError;

    fn try_from(r: SpanRow) -> Result<Self, StoreError> {
        let id = SpanId::from_uuid(r.id);
        let wrong = |column| bad("backup_spans", column, &id);
        let reason = r.ended_reason.map(|v| json(v, "backup_spans", "ended_reason", &id));
        Ok(Self {
            id,
            database: DatabaseId::from_uuid(r.database_id),
            system: r.system.parse().map_err(|_| wrong("system"))?,
            timeline: Timeline(u32::try_from(r.timeline).map_err(|_| wrong("timeline"))?),
            segment: SegmentSize::of(count(r.segment_bytes)).ok_or_else(|| wrong("segment_bytes"))?,
            from: place(r.from_lsn),
            to: place(r.to_lsn),
            began_at: r.began_at,
            covered_at: r.covered_at,
            ended: r.ended_at.zip(reason.transpose()?),
        })
    }
}

fn place(bytes: i64) -> Lsn {
    Lsn(count(bytes))
}

fn count(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Tx {
    /// Asks for a backup; one that waits or runs already is a conflict.
    #[tracing::instrument(name = "db.ask_backup", level = "debug", skip_all)]
    pub async fn ask_backup(&mut self, backup: &Backup) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into backups (id, database_id, database_name, team_id, kind, state, requested_by, created_at)
             values ($1, $2, $3, $4, $5, 'waiting', $6, $7)",
            backup.id.uuid(),
            backup.database.uuid(),
            backup.database_name.as_str(),
            backup.team.uuid(),
            backup.kind.as_str(),
            backup.requested_by,
            backup.created_at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// A database's backups, the newest first.
    #[tracing::instrument(name = "db.backups", level = "debug", skip_all)]
    pub async fn backups(&mut self, database: DatabaseId, page: &Page<BackupId>) -> Result<Vec<Backup>, StoreError> {
        let rows = sqlx::query_as!(
            BackupRow,
            "select id, database_id, database_name, team_id, kind, state, reason, requested_by, created_at, started_at,
                    ended_at, span_id, from_lsn, to_lsn, source_bytes, done_bytes, stored_bytes
             from backups where database_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3",
            database.uuid(),
            page.after.map(BackupId::uuid),
            page.limit()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Backup::try_from).collect()
    }

    /// One backup.
    #[tracing::instrument(name = "db.backup", level = "debug", skip_all)]
    pub async fn backup(&mut self, id: BackupId) -> Result<Option<Backup>, StoreError> {
        let row = sqlx::query_as!(
            BackupRow,
            "select id, database_id, database_name, team_id, kind, state, reason, requested_by, created_at, started_at,
                    ended_at, span_id, from_lsn, to_lsn, source_bytes, done_bytes, stored_bytes
             from backups where id = $1",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(Backup::try_from).transpose()
    }

    /// The backup that waits or is under way.
    #[tracing::instrument(name = "db.pending_backup", level = "debug", skip_all)]
    pub async fn pending_backup(&mut self, database: DatabaseId) -> Result<Option<Backup>, StoreError> {
        let row = sqlx::query_as!(
            BackupRow,
            "select id, database_id, database_name, team_id, kind, state, reason, requested_by, created_at, started_at,
                    ended_at, span_id, from_lsn, to_lsn, source_bytes, done_bytes, stored_bytes
             from backups where database_id = $1 and state in ('waiting', 'running')",
            database.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(Backup::try_from).transpose()
    }

    /// A database's copies that are stored.
    #[tracing::instrument(name = "db.stored_bases", level = "debug", skip_all)]
    pub async fn stored_bases(&mut self, database: DatabaseId) -> Result<Vec<Backup>, StoreError> {
        let rows = sqlx::query_as!(
            BackupRow,
            "select id, database_id, database_name, team_id, kind, state, reason, requested_by, created_at, started_at,
                    ended_at, span_id, from_lsn, to_lsn, source_bytes, done_bytes, stored_bytes
             from backups where database_id = $1 and kind = 'base' and state = 'stored' order by id",
            database.uuid()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Backup::try_from).collect()
    }

    /// When the last base backup of a stretch was begun that is stored.
    #[tracing::instrument(name = "db.last_base", level = "debug", skip_all)]
    pub async fn last_base(&mut self, span: SpanId) -> Result<Option<Timestamp>, StoreError> {
        let last = sqlx::query_scalar!(
            "select max(started_at) from backups where span_id = $1 and kind = 'base' and state = 'stored'",
            span.uuid()
        )
        .fetch_one(self.c())
        .await?;
        Ok(last)
    }

    /// Notes that a backup is under way in a stretch of the log.
    #[tracing::instrument(name = "db.begin_backup", level = "debug", skip_all)]
    pub async fn begin_backup(
        &mut self,
        id: BackupId,
        span: SpanId,
        source_bytes: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query!(
            "update backups set state = 'running', span_id = $2, started_at = $3, source_bytes = $4, done_bytes = 0
             where id = $1 and state in ('waiting', 'running')",
            id.uuid(),
            span.uuid(),
            now,
            number(source_bytes)
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the backup")
    }

    /// Notes how far it is.
    #[tracing::instrument(name = "db.note_backup_progress", level = "debug", skip_all)]
    pub async fn note_backup_progress(&mut self, id: BackupId, done_bytes: u64) -> Result<(), StoreError> {
        sqlx::query!(
            "update backups set done_bytes = $2, source_bytes = greatest(source_bytes, $2) where id = $1 and state = 'running'",
            id.uuid(),
            number(done_bytes)
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes that all of it is stored.
    #[tracing::instrument(name = "db.backup_stored", level = "debug", skip_all)]
    pub async fn backup_stored(
        &mut self,
        id: BackupId,
        (from, to): (Lsn, Lsn),
        stored_bytes: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query!(
            "update backups set state = 'stored', from_lsn = $2, to_lsn = $3, stored_bytes = $4, ended_at = $5,
                    done_bytes = coalesce(source_bytes, 0), reason = null
             where id = $1 and state = 'running'",
            id.uuid(),
            number(from.0),
            number(to.0),
            number(stored_bytes),
            now
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the backup")
    }

    /// Notes that it was given up.
    #[tracing::instrument(name = "db.backup_failed", level = "debug", skip_all)]
    pub async fn backup_failed(&mut self, id: BackupId, why: &Reason, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update backups set state = 'failed', reason = $2, ended_at = $3
             where id = $1 and state in ('waiting', 'running')",
            id.uuid(),
            to_json(why)?,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes that a backup need not be kept any more: from now on nothing is restored from it.
    #[tracing::instrument(name = "db.expire_backup", level = "debug", skip_all)]
    pub async fn expire_backup(&mut self, id: BackupId) -> Result<(), StoreError> {
        sqlx::query!(
            "update backups set state = 'expiring' where id = $1 and state = 'stored'",
            id.uuid()
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Those that are to be removed from the storage.
    #[tracing::instrument(name = "db.expiring_backups", level = "debug", skip_all)]
    pub async fn expiring_backups(&mut self, database: DatabaseId) -> Result<Vec<Backup>, StoreError> {
        let rows = sqlx::query_as!(
            BackupRow,
            "select id, database_id, database_name, team_id, kind, state, reason, requested_by, created_at, started_at,
                    ended_at, span_id, from_lsn, to_lsn, source_bytes, done_bytes, stored_bytes
             from backups where database_id = $1 and state = 'expiring' order by id",
            database.uuid()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Backup::try_from).collect()
    }

    /// Forgets one of which nothing is left in the storage.
    #[tracing::instrument(name = "db.forget_backup", level = "debug", skip_all)]
    pub async fn forget_backup(&mut self, id: BackupId) -> Result<(), StoreError> {
        sqlx::query!("delete from backups where id = $1 and state = 'expiring'", id.uuid())
            .execute(self.c())
            .await?;
        Ok(())
    }

    /// The databases of which something is stored, those that are gone included.
    #[tracing::instrument(name = "db.backed_up_databases", level = "debug", skip_all)]
    pub async fn backed_up_databases(&mut self) -> Result<Vec<DatabaseId>, StoreError> {
        let rows = sqlx::query_scalar!("select distinct database_id from backup_spans")
            .fetch_all(self.c())
            .await?;
        Ok(rows.into_iter().map(DatabaseId::from_uuid).collect())
    }

    /// The keys of pieces of a database's log that lie in none of these ranges, at most so many.
    #[tracing::instrument(name = "db.unneeded_log_objects", level = "debug", skip_all)]
    pub async fn unneeded_log_objects(
        &mut self,
        database: DatabaseId,
        needed: &[(SpanId, Lsn, Option<Lsn>)],
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        let spans: Vec<uuid::Uuid> = needed.iter().map(|(span, _, _)| span.uuid()).collect();
        let from: Vec<i64> = needed.iter().map(|(_, from, _)| number(from.0)).collect();
        let to: Vec<i64> = needed
            .iter()
            .map(|(_, _, to)| to.map_or(i64::MAX, |to| number(to.0)))
            .collect();
        let keys = sqlx::query_scalar!(
            "select o.key from backup_objects o
             where o.database_id = $1 and not exists (
                 select from unnest($2::uuid[], $3::bigint[], $4::bigint[]) as k (span_id, from_lsn, to_lsn)
                 where k.span_id = o.span_id and o.to_lsn > k.from_lsn and o.from_lsn < k.to_lsn)
             order by o.to_lsn limit $5",
            database.uuid(),
            &spans,
            &from,
            &to,
            limit
        )
        .fetch_all(self.c())
        .await?;
        Ok(keys)
    }

    /// Forgets a piece of a log that is not in the storage any more.
    #[tracing::instrument(name = "db.forget_log_object", level = "debug", skip_all)]
    pub async fn forget_log_object(&mut self, database: DatabaseId, key: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "delete from backup_objects where database_id = $1 and key = $2",
            database.uuid(),
            key
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// The stretch of a log that goes on.
    #[tracing::instrument(name = "db.open_span", level = "debug", skip_all)]
    pub async fn open_span(&mut self, database: DatabaseId) -> Result<Option<LogSpan>, StoreError> {
        let row = sqlx::query_as!(
            SpanRow,
            "select id, database_id, system, timeline, segment_bytes, from_lsn, to_lsn, began_at, covered_at, ended_at,
                    ended_reason
             from backup_spans where database_id = $1 and ended_at is null",
            database.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(LogSpan::try_from).transpose()
    }

    /// All stretches of a log, the oldest first.
    #[tracing::instrument(name = "db.spans", level = "debug", skip_all)]
    pub async fn spans(&mut self, database: DatabaseId) -> Result<Vec<LogSpan>, StoreError> {
        let rows = sqlx::query_as!(
            SpanRow,
            "select id, database_id, system, timeline, segment_bytes, from_lsn, to_lsn, began_at, covered_at, ended_at,
                    ended_reason
             from backup_spans where database_id = $1 order by began_at, id",
            database.uuid()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(LogSpan::try_from).collect()
    }

    /// Begins a stretch.
    #[tracing::instrument(name = "db.begin_span", level = "debug", skip_all)]
    pub async fn begin_span(&mut self, span: &LogSpan) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into backup_spans (id, database_id, system, timeline, segment_bytes, from_lsn, to_lsn, began_at, covered_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            span.id.uuid(),
            span.database.uuid(),
            span.system.to_string(),
            i64::from(span.timeline.0),
            number(span.segment.bytes()),
            number(span.from.0),
            number(span.to.0),
            span.began_at,
            span.covered_at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes that a stretch does not go on.
    #[tracing::instrument(name = "db.end_span", level = "debug", skip_all)]
    pub async fn end_span(&mut self, id: SpanId, why: &Reason, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update backup_spans set ended_at = $2, ended_reason = $3 where id = $1 and ended_at is null",
            id.uuid(),
            now,
            to_json(why)?
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes that a stretch goes up to a place, and what is covered by that.
    #[tracing::instrument(name = "db.extend_span", level = "debug", skip_all)]
    pub async fn extend_span(&mut self, id: SpanId, to: Lsn, covered_at: Timestamp) -> Result<(), StoreError> {
        let done = sqlx::query!(
            "update backup_spans set to_lsn = greatest(to_lsn, $2), covered_at = greatest(covered_at, $3)
             where id = $1 and ended_at is null",
            id.uuid(),
            number(to.0),
            covered_at
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the stretch of the log")
    }

    /// Notes of several stretches up to when all that was committed is stored.
    #[tracing::instrument(name = "db.cover_spans", level = "debug", skip_all)]
    pub async fn cover_spans(&mut self, all: &[(SpanId, Timestamp)]) -> Result<(), StoreError> {
        let (ids, times): (Vec<_>, Vec<_>) = all.iter().map(|(id, at)| (id.uuid(), *at)).unzip();
        sqlx::query!(
            "update backup_spans s set covered_at = u.at
             from unnest($1::uuid[], $2::timestamptz[]) as u (id, at)
             where s.id = u.id and s.covered_at < u.at and s.ended_at is null",
            &ids,
            &times
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes a piece of a log that is stored; a whole segment takes the place of its parts, whose keys are given back.
    #[tracing::instrument(name = "db.note_log_object", level = "debug", skip_all)]
    pub async fn note_log_object(&mut self, span: &LogSpan, object: &LogObject) -> Result<Vec<String>, StoreError> {
        sqlx::query!(
            "insert into backup_objects (database_id, span_id, key, from_lsn, to_lsn, last_at, bytes, sha256, is_part)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             on conflict (database_id, key) do update
                set span_id = excluded.span_id, bytes = excluded.bytes, sha256 = excluded.sha256, last_at = excluded.last_at",
            span.database.uuid(),
            span.id.uuid(),
            object.object.key,
            number(object.from.0),
            number(object.to.0),
            object.last_at,
            number(object.object.bytes),
            object.object.sha256,
            object.is_part
        )
        .execute(self.c())
        .await?;
        if object.is_part {
            return Ok(Vec::new());
        }
        let parts = sqlx::query_scalar!(
            "delete from backup_objects where span_id = $1 and is_part and from_lsn >= $2 and to_lsn <= $3 returning key",
            span.id.uuid(),
            number(object.from.0),
            number(object.to.0)
        )
        .fetch_all(self.c())
        .await?;
        Ok(parts)
    }

    /// The pieces of a stretch that are needed from one place to another, in order.
    #[tracing::instrument(name = "db.log_objects", level = "debug", skip_all)]
    pub async fn log_objects(&mut self, span: SpanId, (from, to): (Lsn, Lsn)) -> Result<Vec<LogObject>, StoreError> {
        let rows = sqlx::query!(
            "select key, from_lsn, to_lsn, last_at, bytes, sha256, is_part from backup_objects
             where span_id = $1 and to_lsn > $2 and from_lsn < $3 order by from_lsn, to_lsn",
            span.uuid(),
            number(from.0),
            number(to.0)
        )
        .fetch_all(self.c())
        .await?;
        let objects = rows.into_iter().map(|r| LogObject {
            object: StoredObject {
                key: r.key,
                bytes: count(r.bytes),
                sha256: r.sha256,
            },
            from: place(r.from_lsn),
            to: place(r.to_lsn),
            last_at: r.last_at,
            is_part: r.is_part,
        });
        Ok(objects.collect())
    }

    /// Whether a database's log is being stored.
    #[tracing::instrument(name = "db.backup_stream", level = "debug", skip_all)]
    pub async fn backup_stream(&mut self, database: DatabaseId) -> Result<Option<StreamStatus>, StoreError> {
        let row = sqlx::query!(
            "select state, state_since, reason from backup_streams where database_id = $1",
            database.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(|r| {
            let state = StreamState::parse(&r.state).ok_or_else(|| bad("backup_streams", "state", &database))?;
            let reason = r.reason.map(|v| json(v, "backup_streams", "reason", &database));
            Ok(StreamStatus {
                state,
                since: r.state_since,
                reason: reason.transpose()?,
            })
        })
        .transpose()
    }

    /// Notes whether a database's log is being stored.
    #[tracing::instrument(name = "db.note_backup_stream", level = "debug", skip_all)]
    pub async fn note_backup_stream(
        &mut self,
        database: DatabaseId,
        (state, reason): (StreamState, Option<&Reason>),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into backup_streams (database_id, state, state_since, reason) values ($1, $2, $3, $4)
             on conflict (database_id) do update
                set state_since = case when backup_streams.state = $2 then backup_streams.state_since else $3 end,
                    state = $2, reason = $4",
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
