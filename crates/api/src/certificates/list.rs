//! `GET /v1/certificates`: all that the caller's team has; for an administrator the platform's own and all others too.

use slipway_store::CertificateRow;
use slipway_wire::Page;
use slipway_wire::certificates::Certificate;

use crate::call::Call;
use crate::domains::reason;
use crate::error::Result;
use crate::extract::Params;
use crate::paging::{PageParams, Paging};

/// List certificates by name.
#[utoipa::path(get, path = "/v1/certificates", tag = "domains", operation_id = "certificate_list", params(PageParams),
    responses((status = 200, description = "One page of certificates.", body = Page<Certificate>)))]
pub(crate) async fn certificate_list(
    call: Call,
    Params(params): Params<PageParams>,
) -> Result<axum::Json<Page<Certificate>>> {
    let paging = Paging::<String>::parse("certificates", params.limit, params.cursor.as_deref())?;
    let team = (!call.caller.is_admin()).then_some(call.caller.team);
    let mut tx = call.begin().await?;
    let apps = call.caller.reach.apps.as_deref();
    let rows = tx.certificate_rows(team, apps, &paging.wanted()).await?;
    Ok(axum::Json(paging.page(rows, CertificateRow::key, shown)))
}

fn shown(row: CertificateRow) -> Certificate {
    Certificate {
        names: row.names,
        app: row.app.map(|app| app.to_string()),
        issuer: row.issuer,
        uploaded: row.uploaded,
        ca: row.ca,
        not_before: row.not_before,
        not_after: row.not_after,
        renew_at: row.renew_at,
        next_try: row.next_try_at,
        failures: row.failures,
        reason: row.error.map(reason),
        revoke_at: row.revoke_at,
        revocation_error: row.revocation_error.map(reason),
    }
}
