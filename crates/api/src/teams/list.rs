//! `GET /v1/teams`: the token's own team; an administrator sees all.

use slipway_wire::Page;
use slipway_wire::teams::Team;

use super::shown;
use crate::call::Call;
use crate::error::Result;
use crate::extract::Params;
use crate::paging::{PageParams, Paging};

/// List teams.
#[utoipa::path(get, path = "/v1/teams", tag = "teams", operation_id = "team_list", params(PageParams),
    responses((status = 200, description = "One page of teams.", body = Page<Team>)))]
pub(crate) async fn team_list(call: Call, Params(params): Params<PageParams>) -> Result<axum::Json<Page<Team>>> {
    let paging = Paging::<String>::parse("teams", params.limit, params.cursor.as_deref())?;
    let only = (!call.caller.is_admin()).then_some(call.caller.team);
    let mut tx = call.begin().await?;
    let rows = tx.teams(only, &paging.wanted()).await?;
    Ok(axum::Json(paging.page(rows, |t| t.name.to_string(), |t| shown(&t))))
}
