//! `audit`: an append-only chain. Rows are written in the transaction of the change they record.
//!
//! Promises: a row is there if and only if its change is; rows are numbered without gaps and each carries the hash of
//! the one before it. Appending is one transaction after the other, so it is done when the transaction commits: its
//! lock is the last one taken and held shortest.

use serde_json::{Value, json};
use slipway_domain::Timestamp;
use slipway_domain::audit::{GENESIS, chain_hash};
use slipway_domain::ids::TeamId;

use crate::row::bad;
use crate::{Page, StoreError, Tx};

/// Whether what was tried was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It was done.
    Allowed,
    /// It was refused.
    Denied,
}

impl AuditOutcome {
    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }
}

/// What is recorded.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// Whose record it is.
    pub team: Option<TeamId>,
    /// Who: `{type, id, name, …}`.
    pub actor: Value,
    /// What, such as `app.create`.
    pub action: String,
    /// To what: `{type, id?, name}`.
    pub target: Value,
    /// Whether it was done.
    pub outcome: AuditOutcome,
    /// Why it was refused.
    pub reason: Option<String>,
    /// The request.
    pub request_id: Option<String>,
    /// The trace.
    pub trace_id: Option<String>,
    /// What changed, without secrets.
    pub change: Option<Value>,
}

/// A row of the chain.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// From 1 without gaps.
    pub seq: i64,
    /// When.
    pub time: Timestamp,
    /// What.
    pub entry: AuditEntry,
    /// The hash of the row before.
    pub prev_hash: Vec<u8>,
    /// Of this row.
    pub hash: Vec<u8>,
}

/// Which rows are wanted.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only of this team.
    pub team: Option<TeamId>,
    /// Only actions that begin so.
    pub action: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
}

fn hashed(seq: i64, time: Timestamp, e: &AuditEntry, previous: &[u8; 32]) -> [u8; 32] {
    let row = json!({
        "seq": seq,
        "team": e.team.map(|t| t.to_string()),
        "time": time.timestamp_micros(),
        "actor": e.actor,
        "action": e.action,
        "target": e.target,
        "outcome": e.outcome.as_str(),
        "reason": e.reason,
        "request_id": e.request_id,
        "trace_id": e.trace_id,
        "change": e.change,
    });
    chain_hash(previous, &row)
}

struct Row {
    seq: i64,
    team_id: Option<uuid::Uuid>,
    time: Timestamp,
    actor: Value,
    action: String,
    target: Value,
    outcome: String,
    reason: Option<String>,
    request_id: Option<String>,
    trace_id: Option<String>,
    change: Option<Value>,
    prev_hash: Vec<u8>,
    hash: Vec<u8>,
}

impl TryFrom<Row> for AuditRow {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let outcome = [AuditOutcome::Allowed, AuditOutcome::Denied]
            .into_iter()
            .find(|o| o.as_str() == r.outcome)
            .ok_or_else(|| bad("audit", "outcome", &r.seq))?;
        let entry = AuditEntry {
            team: r.team_id.map(TeamId::from_uuid),
            actor: r.actor,
            action: r.action,
            target: r.target,
            outcome,
            reason: r.reason,
            request_id: r.request_id,
            trace_id: r.trace_id,
            change: r.change,
        };
        Ok(Self {
            seq: r.seq,
            time: r.time,
            entry,
            prev_hash: r.prev_hash,
            hash: r.hash,
        })
    }
}

impl Tx {
    /// Notes a row; it is appended when the transaction commits.
    #[tracing::instrument(name = "db.append_audit", level = "debug", skip_all)]
    pub async fn append_audit(&mut self, entry: &AuditEntry, now: Timestamp) -> Result<(), StoreError> {
        // The database keeps microseconds; what is hashed must be what is kept.
        let time = Timestamp::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now);
        self.audit.push((entry.clone(), time));
        Ok(())
    }

    /// Appends what was noted.
    #[tracing::instrument(name = "db.write_audit", level = "debug", skip_all)]
    pub(crate) async fn write_audit(&mut self) -> Result<(), StoreError> {
        if self.audit.is_empty() {
            return Ok(());
        }
        sqlx::query!("select pg_advisory_xact_lock(hashtext('slipway.audit')) as locked")
            .fetch_one(self.c())
            .await?;
        let last = sqlx::query!("select seq, hash from audit order by seq desc limit 1")
            .fetch_optional(self.c())
            .await?;
        let (mut seq, mut previous) = match last {
            Some(last) => (
                last.seq,
                last.hash.try_into().map_err(|_| bad("audit", "hash", &last.seq))?,
            ),
            None => (0, GENESIS),
        };
        for (entry, time) in std::mem::take(&mut self.audit) {
            seq += 1;
            previous = self.insert_audit(seq, time, &entry, &previous).await?;
        }
        Ok(())
    }

    async fn insert_audit(
        &mut self,
        seq: i64,
        time: Timestamp,
        entry: &AuditEntry,
        previous: &[u8; 32],
    ) -> Result<[u8; 32], StoreError> {
        let hash = hashed(seq, time, entry, previous);
        sqlx::query!(
            "insert into audit (seq, team_id, time, actor, action, target, outcome, reason, request_id, trace_id, change, prev_hash, hash)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            seq,
            entry.team.map(TeamId::uuid),
            time,
            entry.actor,
            entry.action,
            entry.target,
            entry.outcome.as_str(),
            entry.reason,
            entry.request_id,
            entry.trace_id,
            entry.change,
            &previous[..],
            &hash[..]
        )
        .execute(self.c())
        .await?;
        Ok(hash)
    }

    /// Rows, newest first.
    #[tracing::instrument(name = "db.audit_rows", level = "debug", skip_all)]
    pub async fn audit_rows(&mut self, filter: &AuditFilter, page: &Page<i64>) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select seq, team_id, time, actor, action, target, outcome, reason, request_id, trace_id, change, prev_hash, hash
             from audit
             where ($1::uuid is null or team_id = $1) and seq < coalesce($2, 9223372036854775807)
               and ($3::text is null or starts_with(action, $3))
               and ($4::timestamptz is null or time >= $4) and ($5::timestamptz is null or time <= $5)
             order by seq desc limit $6",
            filter.team.map(TeamId::uuid),
            page.after,
            filter.action.as_deref(),
            filter.since,
            filter.until,
            page.limit()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(AuditRow::try_from).collect()
    }

    /// Checks the chain from a row on and says how many rows were checked, or the first that does not fit.
    #[tracing::instrument(name = "db.verify_audit", level = "debug", skip_all)]
    pub async fn verify_audit(&mut self, from: i64, limit: u32) -> Result<Result<u64, i64>, StoreError> {
        let before = sqlx::query_scalar!("select hash from audit where seq = $1", from - 1)
            .fetch_optional(self.c())
            .await?;
        let mut previous = match before {
            Some(hash) => hash,
            None if from <= 1 => GENESIS.to_vec(),
            None => return Ok(Err(from - 1)),
        };
        let rows = sqlx::query_as!(
            Row,
            "select seq, team_id, time, actor, action, target, outcome, reason, request_id, trace_id, change, prev_hash, hash
             from audit where seq >= $1 order by seq limit $2",
            from.max(1),
            i64::from(limit)
        )
        .fetch_all(self.c())
        .await?;
        let mut checked = 0;
        for (expected, row) in (from.max(1)..).zip(rows) {
            let seq = row.seq;
            // A word that is not one of ours was put there by somebody else.
            let Ok(row) = AuditRow::try_from(row) else {
                return Ok(Err(seq));
            };
            let bytes: Result<[u8; 32], _> = previous.clone().try_into();
            let fits = bytes.is_ok_and(|p| hashed(row.seq, row.time, &row.entry, &p)[..] == row.hash[..]);
            if row.seq != expected || row.prev_hash != previous || !fits {
                return Ok(Err(row.seq));
            }
            previous = row.hash;
            checked += 1;
        }
        Ok(Ok(checked))
    }
}
