//! `DELETE /v1/registries/{host}`.

use http::StatusCode;

use super::existing;
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::Names;

/// Forget pull credentials.
#[utoipa::path(delete, path = "/v1/registries/{host}", tag = "registries", operation_id = "registry_delete",
    params(("host" = String, Path, description = "Host and port.")),
    responses((status = 204, description = "Forgotten.")))]
pub(crate) async fn registry_delete(call: Call, Names(host): Names<String>) -> Result<StatusCode> {
    call.demand_whole_team("change pull credentials")?;
    let parsed = existing(&host)?;
    let team = call.caller.team;
    let mut tx = call.begin().await?;
    if !tx.delete_registry(team, &parsed).await? {
        return Err(ApiError::not_found("registry", &host));
    }
    call.audit(
        &mut tx,
        Some(team),
        "registry.delete",
        Target::named("registry", &parsed),
        None,
    )
    .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
