//! `GET /v1/audit`: who did what, newest first; of the token's team, or of all for an administrator.

use serde::Deserialize;
use slipway_domain::Timestamp;
use slipway_store::{AuditFilter, AuditOutcome, AuditRow};
use slipway_wire::Page;
use slipway_wire::audit::{AuditEntry, Outcome};

use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::Params;
use crate::paging::Paging;

/// Which entries.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParams {
    /// Only actions that begin with this, such as `token.`.
    pub(crate) action: Option<String>,
    /// Not before this time (RFC 3339).
    pub(crate) since: Option<String>,
    /// Not after this time (RFC 3339).
    pub(crate) until: Option<String>,
    /// Entries on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// List the audit log, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "audit_list", params(AuditParams),
    responses((status = 200, description = "One page of entries.", body = Page<AuditEntry>)))]
pub(crate) async fn audit_list(
    call: Call,
    Params(params): Params<AuditParams>,
) -> Result<axum::Json<Page<AuditEntry>>> {
    let paging = Paging::<i64>::parse("audit", params.limit, params.cursor.as_deref())?;
    let filter = AuditFilter {
        team: (!call.caller.is_admin()).then_some(call.caller.team),
        action: params.action,
        since: time("since", params.since.as_deref())?,
        until: time("until", params.until.as_deref())?,
    };
    let mut tx = call.begin().await?;
    let rows = tx.audit_rows(&filter, &paging.wanted()).await?;
    Ok(axum::Json(paging.page(rows, |r| r.seq, shown)))
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>> {
    let parse = |text| chrono::DateTime::parse_from_rfc3339(text).map(|t| t.to_utc());
    text.map(parse)
        .transpose()
        .map_err(|_| ApiError::parameter(name, "give a time such as `2026-01-31T12:00:00Z`"))
}

fn shown(row: AuditRow) -> AuditEntry {
    let entry = row.entry;
    AuditEntry {
        seq: row.seq,
        team: entry.team.map(|t| t.to_string()),
        time: row.time,
        actor: entry.actor,
        action: entry.action,
        target: entry.target,
        outcome: match entry.outcome {
            AuditOutcome::Allowed => Outcome::Allowed,
            AuditOutcome::Denied => Outcome::Denied,
        },
        reason: entry.reason,
        request_id: entry.request_id,
        trace_id: entry.trace_id,
        change: entry.change,
        prev_hash: hex::encode(row.prev_hash),
        hash: hex::encode(row.hash),
    }
}
