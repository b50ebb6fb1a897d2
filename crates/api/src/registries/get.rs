//! `GET /v1/registries/{host}`.

use slipway_wire::registries::Registry;

use super::{TeamParams, existing, shown};
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};

/// Show stored pull credentials, without the password.
#[utoipa::path(get, path = "/v1/registries/{host}", tag = "registries", operation_id = "registry_get",
    params(("host" = String, Path, description = "Host and port."), TeamParams),
    responses((status = 200, description = "The credentials.", body = Registry)))]
pub(crate) async fn registry_get(
    call: Call,
    Names(host): Names<String>,
    Params(params): Params<TeamParams>,
) -> Result<axum::Json<Registry>> {
    let parsed = existing(&host)?;
    let mut tx = call.begin().await?;
    let team = call.team_or_own(&mut tx, params.team.as_ref()).await?.id;
    let row = tx.registry(team, &parsed).await?;
    row.map(|r| axum::Json(shown(r)))
        .ok_or_else(|| ApiError::not_found("registry", &host))
}
