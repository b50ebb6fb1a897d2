//! `GET /v1/registries`.

use serde::Deserialize;
use slipway_domain::name::TeamName;
use slipway_wire::Page;
use slipway_wire::registries::Registry;

use super::shown;
use crate::call::Call;
use crate::error::Result;
use crate::extract::Params;
use crate::paging::Paging;

/// Which ones.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// The team, for an administrator; the token's own if not given.
    #[param(value_type = Option<String>)]
    pub(crate) team: Option<TeamName>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// Where the last page ended: its `next_cursor`.
    pub(crate) cursor: Option<String>,
}

/// List registries with stored credentials.
#[utoipa::path(get, path = "/v1/registries", tag = "registries", operation_id = "registry_list", params(ListParams),
    responses((status = 200, description = "One page of registries.", body = Page<Registry>)))]
pub(crate) async fn registry_list(
    call: Call,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Registry>>> {
    let paging = Paging::<String>::parse("registries", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let team = call.team_or_own(&mut tx, params.team.as_ref()).await?.id;
    let mut rows = tx.registries(team).await?;
    let after = paging.wanted().after;
    rows.retain(|r| after.as_deref().is_none_or(|after| r.host.as_str() > after));
    Ok(axum::Json(paging.page(rows, |r| r.host.to_string(), shown)))
}
