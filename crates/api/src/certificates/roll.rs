//! `POST /v1/certificates/roll-account-keys`: new keys for the platform's accounts at CAs.

use http::StatusCode;
use slipway_wire::certificates::AccountsToRoll;

use crate::audit::Target;
use crate::call::Call;
use crate::error::Result;

/// Have the keys of the platform's accounts at CAs replaced now. That is done by itself once a year.
#[utoipa::path(post, path = "/v1/certificates/roll-account-keys", tag = "domains", operation_id = "account_keys_roll",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    responses((status = 202, description = "They are replaced within a moment.", body = AccountsToRoll)))]
pub(crate) async fn account_keys_roll(call: Call) -> Result<(StatusCode, axum::Json<AccountsToRoll>)> {
    call.demand_admin("replace the keys of the platform's accounts")?;
    let mut tx = call.begin().await?;
    let accounts = tx.roll_accounts(None, call.now()).await?;
    call.audit(
        &mut tx,
        None,
        "acme.roll_keys",
        Target::named("acme_accounts", "all"),
        None,
    )
    .await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, axum::Json(AccountsToRoll { accounts })))
}
