//! `GET /v1/audit/verify`: whether every row of the log carries the hash of the one before it.

use slipway_wire::audit::Verification;

use crate::call::Call;
use crate::error::Result;

/// Rows checked in one statement.
const BATCH: u32 = 5_000;

/// Check the hash chain of the whole log.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit", operation_id = "audit_verify",
    responses((status = 200, description = "What was found.", body = Verification)))]
pub(crate) async fn audit_verify(call: Call) -> Result<axum::Json<Verification>> {
    call.demand_admin("check the whole audit log")?;
    let mut rows: u64 = 0;
    loop {
        // A transaction for each batch: a long log does not hold one open.
        let mut tx = call.begin().await?;
        let from = i64::try_from(rows).unwrap_or(i64::MAX).saturating_add(1);
        match tx.verify_audit(from, BATCH).await? {
            Err(seq) => {
                let detail = "the row does not carry the hash of the one before it, or one is missing".to_owned();
                let found = Verification {
                    ok: false,
                    rows,
                    broken_at: Some(seq),
                    detail: Some(detail),
                };
                return Ok(axum::Json(found));
            }
            Ok(checked) => {
                rows += checked;
                if checked < u64::from(BATCH) {
                    return Ok(axum::Json(Verification {
                        ok: true,
                        rows,
                        broken_at: None,
                        detail: None,
                    }));
                }
            }
        }
    }
}
