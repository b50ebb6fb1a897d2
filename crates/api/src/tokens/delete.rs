//! `DELETE /v1/tokens/{id}`: ends a token at once.

use http::StatusCode;
use slipway_domain::access::Scope;
use slipway_domain::ids::TokenId;
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::Names;

/// Revoke a token.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "token_delete",
    params(("id" = String, Path, description = "The token's identifier.")),
    responses(
        (status = 204, description = "Revoked."),
        (status = 409, description = "It is the last one with `admin`.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn token_delete(call: Call, Names(id): Names<String>) -> Result<StatusCode> {
    let missing = || ApiError::not_found("token", &id);
    let parsed: TokenId = id.parse().map_err(|_| missing())?;
    let mut tx = call.begin().await?;
    let row = tx.token(parsed).await?.ok_or_else(missing)?;
    if row.team != call.caller.team && !call.caller.is_admin() {
        return Err(missing());
    }
    if row.revoked_at.is_some() {
        let detail = format!("The token `{id}` is revoked already.");
        return Err(ApiError::Refused(Code::NotFound, detail));
    }
    if row.id != call.caller.token && !call.caller.reach.covers(&row.reach) {
        return Err(ApiError::Refused(
            Code::Forbidden,
            "This token reaches further than yours; only one that covers it may revoke it.".into(),
        ));
    }
    if row.reach.scopes.contains(&Scope::Admin) && !tx.is_other_admin_left(Some(row.id), call.now()).await? {
        return Err(ApiError::Refused(
            Code::Conflict,
            "This is the last token with `admin`. Make another one first (`slipway tokens create NAME --scope admin`)."
                .into(),
        ));
    }

    if !tx.revoke_token(row.id, call.now()).await? {
        return Err(missing());
    }
    call.audit(
        &mut tx,
        Some(row.team),
        "token.revoke",
        Target::new("token", row.id, &row.name),
        None,
    )
    .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
