//! `DELETE /v1/registries/{host}`.

use http::StatusCode;

use super::{TeamParams, existing};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};

/// Forget pull credentials.
#[utoipa::path(delete, path = "/v1/registries/{host}", tag = "registries", operation_id = "registry_delete",
    params(("host" = String, Path, description = "Host and port."), TeamParams),
    responses((status = 204, description = "Forgotten.")))]
pub(crate) async fn registry_delete(
    call: Call,
    Names(host): Names<String>,
    Params(params): Params<TeamParams>,
) -> Result<StatusCode> {
    call.demand_whole_team("change pull credentials")?;
    let parsed = existing(&host)?;
    let mut tx = call.begin().await?;
    let team = call.team_or_own(&mut tx, params.team.as_ref()).await?.id;
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
