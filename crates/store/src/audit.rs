//! `audit`: an append-only chain. Rows are written in the transaction of the change they record.

use serde_json::{Value, json};
use slipway_domain::Timestamp;
use slipway_domain::audit::{GENESIS, chain_hash};
use slipway_domain::ids::TeamId;

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

impl From<Row> for AuditRow {
    fn from(r: Row) -> Self {
        let outcome = if r.outcome == "allowed" {
            AuditOutcome::Allowed
        } else {
            AuditOutcome::Denied
        };
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
        Self {
            seq: r.seq,
            time: r.time,
            entry,
            prev_hash: r.prev_hash,
            hash: r.hash,
        }
    }
}

impl Tx {
    /// Appends a row. Appending is one after the other: call it last in a transaction.
    pub async fn append_audit(&mut self, entry: &AuditEntry, now: Timestamp) -> Result<i64, StoreError> {
        sqlx::query!("select pg_advisory_xact_lock(hashtext('slipway.audit')) as locked")
            .fetch_one(self.c())
            .await?;
        let last = sqlx::query!("select seq, hash from audit order by seq desc limit 1")
            .fetch_optional(self.c())
            .await?;
        let (seq, previous) = match last {
            Some(last) => {
                let hash = last
                    .hash
                    .try_into()
                    .map_err(|_| crate::row::bad("audit", "hash", &last.seq))?;
                (last.seq + 1, hash)
            }
            None => (1, GENESIS),
        };
        // The database keeps microseconds; what is hashed must be what is kept.
        let time = Timestamp::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now);
        let hash = hashed(seq, time, entry, &previous);
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
        Ok(seq)
    }

    /// Rows, newest first.
    pub async fn audit_rows(&mut self, filter: &AuditFilter, page: &Page<i64>) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select seq, team_id, time, actor, action, target, outcome, reason, request_id, trace_id, change, prev_hash, hash
             from audit
             where ($1::uuid is null or team_id = $1) and ($2::bigint is null or seq < $2)
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
        Ok(rows.into_iter().map(AuditRow::from).collect())
    }

    /// Checks the chain from a row on and says how many rows were checked, or the first that does not fit.
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
        for (expected, row) in (from.max(1)..).zip(rows.into_iter().map(AuditRow::from)) {
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
