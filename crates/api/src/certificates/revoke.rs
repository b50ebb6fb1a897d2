//! `POST /v1/certificates/{name}/revoke`: the CA takes one back, of a domain, an app's own name, or a name of the platform's.

use http::StatusCode;
use serde_json::json;
use slipway_wire::domains::Revocation;
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::domains::renew::REPLACED_WITHIN;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names};

/// Have the CA told that a certificate holds no more, and get another one.
#[utoipa::path(post, path = "/v1/certificates/{name}/revoke", tag = "domains", operation_id = "certificate_revoke_named",
    params(("name" = String, Path, description = "A name that it is for."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = Revocation,
    responses((status = 202, description = "The CA is told when the new one is there, within an hour; or at once."),
        (status = 409, description = "It was not ordered at a CA.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn certificate_revoke_named(
    call: Call,
    Names(name): Names<String>,
    Json(body): Json<Revocation>,
) -> Result<StatusCode> {
    let mut tx = call.begin().await?;
    let owner = call.certificate(&mut tx, &name).await?;
    let now = call.now();
    let at = if body.immediately { now } else { now + REPLACED_WITHIN };
    if !tx.ask_revocation(&owner.names, body.reason.number(), at).await? {
        let detail = format!("{name} has no certificate that was ordered here: its issuer takes back others.");
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    tx.renew_now(&owner.names, now).await?;
    tx.try_soon(&owner.names, now, now).await?;
    let target = Target::named("certificate", owner.names.join(" "));
    let change = json!({"reason": body.reason, "immediately": body.immediately});
    call.audit(&mut tx, owner.team, "certificate.revoke", target, Some(change))
        .await?;
    tx.commit().await?;
    Ok(StatusCode::ACCEPTED)
}
