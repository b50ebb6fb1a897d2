//! `POST /v1/apps/{app}/domains/{host}/renew` and `…/revoke`: another certificate now, and the old one taken back.

use chrono::TimeDelta;
use http::StatusCode;
use serde_json::json;
use slipway_wire::domains::{Domain, Revocation};
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names};

/// So long a certificate that is to hold no more serves at most, for want of another one.
pub(crate) const REPLACED_WITHIN: TimeDelta = TimeDelta::hours(1);

/// Have a domain's certificate replaced now. It serves until the new one is there.
#[utoipa::path(post, path = "/v1/apps/{app}/domains/{host}/renew", tag = "domains", operation_id = "certificate_renew",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    responses((status = 202, description = "Another one is got, within what the CA allows.", body = Domain),
        (status = 409, description = "It was brought along.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn certificate_renew(
    call: Call,
    Names((app, host)): Names<(String, String)>,
) -> Result<(StatusCode, axum::Json<Domain>)> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.proven_domain(&mut tx, &app, &host).await?;
    let now = call.now();
    if row.certificate.as_ref().is_some_and(|c| c.uploaded) {
        let detail = format!(
            "The certificate of {} was brought along: upload another one, or give it up.",
            row.host
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    // Where there is none yet, the first one is tried for now.
    let names = [row.host.to_string()];
    tx.renew_now(&names, now).await?;
    tx.try_soon(&names, now, now).await?;
    let target = Target::new("domain", row.id, &row.host);
    call.audit(&mut tx, Some(app.team), "certificate.renew", target, None)
        .await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, axum::Json(call.domain_kept(row))))
}

/// Have the CA told that a domain's certificate holds no more, and get another one.
#[utoipa::path(post, path = "/v1/apps/{app}/domains/{host}/revoke", tag = "domains", operation_id = "certificate_revoke",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = Revocation,
    responses((status = 202, description = "The CA is told when the new one is there, within an hour; or at once.", body = Domain),
        (status = 409, description = "There is none of a CA.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn certificate_revoke(
    call: Call,
    Names((app, host)): Names<(String, String)>,
    Json(body): Json<Revocation>,
) -> Result<(StatusCode, axum::Json<Domain>)> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.proven_domain(&mut tx, &app, &host).await?;
    let now = call.now();
    let names = [row.host.to_string()];
    let at = if body.immediately { now } else { now + REPLACED_WITHIN };
    if !tx.ask_revocation(&names, body.reason.number(), at).await? {
        let detail = format!(
            "{} has no certificate that was ordered here: its issuer takes back others.",
            row.host
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    tx.renew_now(&names, now).await?;
    tx.try_soon(&names, now, now).await?;
    let target = Target::new("domain", row.id, &row.host);
    let change = json!({"reason": body.reason, "immediately": body.immediately});
    call.audit(&mut tx, Some(app.team), "certificate.revoke", target, Some(change))
        .await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, axum::Json(call.domain_kept(row))))
}
