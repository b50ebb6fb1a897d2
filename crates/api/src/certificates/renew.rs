//! `POST /v1/certificates/{name}/renew`: another one now, for a domain, an app's own name, or a name of the platform's.

use http::StatusCode;
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::Names;

/// Get another certificate now; the one in use serves until it is there.
#[utoipa::path(post, path = "/v1/certificates/{name}/renew", tag = "domains", operation_id = "certificate_renew_named",
    params(("name" = String, Path, description = "A name that it is for."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    responses((status = 202, description = "It is tried now, as far as the CA's limits allow."),
        (status = 404, description = "There is none, or the token may not know of it.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "It was brought along.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn certificate_renew_named(call: Call, Names(name): Names<String>) -> Result<StatusCode> {
    let mut tx = call.begin().await?;
    let owner = call.certificate(&mut tx, &name).await?;
    if owner.uploaded {
        let detail = format!(
            "The certificate of {name} was brought along: upload another one, or give it up (`slipway certs give-up {name}`)."
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    let now = call.now();
    tx.renew_now(&owner.names, now).await?;
    tx.try_soon(&owner.names, now, now).await?;
    let target = Target::named("certificate", owner.names.join(" "));
    call.audit(&mut tx, owner.team, "certificate.renew", target, None)
        .await?;
    tx.commit().await?;
    Ok(StatusCode::ACCEPTED)
}
