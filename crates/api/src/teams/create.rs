//! `POST /v1/teams`: only for administrators.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use slipway_domain::ids::TeamId;
use slipway_domain::limits::TeamLimits;
use slipway_wire::Problem;
use slipway_wire::teams::{NewTeam, Team};

use super::shown;
use crate::audit::Target;
use crate::call::Call;
use crate::error::Result;
use crate::extract::Json;

/// Make a team.
#[utoipa::path(post, path = "/v1/teams", tag = "teams", operation_id = "team_create",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = NewTeam,
    responses(
        (status = 201, description = "Made.", body = Team),
        (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn team_create(call: Call, Json(body): Json<NewTeam>) -> Result<Response> {
    call.demand_admin("make teams")?;
    let now = call.now();
    let team = slipway_store::Team {
        id: TeamId::mint(now, call.state.entropy.as_ref()),
        name: body.name,
        created_at: now,
        limits: TeamLimits::default(),
    };
    let mut tx = call.begin().await?;
    tx.insert_team(&team).await?;
    call.audit(
        &mut tx,
        Some(team.id),
        "team.create",
        Target::new("team", team.id, &team.name),
        None,
    )
    .await?;
    tx.commit().await?;
    let location = crate::view::located("/v1/teams");
    Ok((StatusCode::CREATED, location, axum::Json(shown(&team))).into_response())
}
