//! `PUT /v1/teams/{team}/limits`: what a team may use in all; only for administrators.

use serde_json::json;
use slipway_domain::name::TeamName;
use slipway_wire::teams::{Limits, Team};

use super::shown;
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names};

/// Replace what a team may use in all. What runs is left alone; the next change that would use more is refused.
#[utoipa::path(put, path = "/v1/teams/{team}/limits", tag = "teams", operation_id = "team_limits",
    params(("team" = String, Path, description = "The team's name.")),
    request_body = Limits,
    responses((status = 200, description = "Set.", body = Team)))]
pub(crate) async fn team_limits(
    call: Call,
    Names(name): Names<String>,
    Json(body): Json<Limits>,
) -> Result<axum::Json<Team>> {
    call.demand_admin("limit teams")?;
    let missing = || ApiError::not_found("team", &name);
    let name: TeamName = name.parse().map_err(|_| missing())?;
    let mut tx = call.begin().await?;
    let mut team = tx.team_by_name(&name).await?.ok_or_else(missing)?;
    team.limits = body.into();
    tx.set_team_limits(team.id, &team.limits).await?;
    let target = Target::new("team", team.id, &team.name);
    let change = json!({ "limits": body });
    call.audit(&mut tx, Some(team.id), "team.limits", target, Some(change))
        .await?;
    tx.commit().await?;
    Ok(axum::Json(shown(&team)))
}
