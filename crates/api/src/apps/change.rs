//! `PATCH /v1/apps/{app}`: name and team are fixed in this version, so only what changes nothing passes.

use slipway_wire::Code;
use slipway_wire::apps::{App, AppChange};

use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names};

/// Change an app. Its name and team are fixed in this version.
#[utoipa::path(patch, path = "/v1/apps/{app}", tag = "apps", operation_id = "app_change",
    params(("app" = String, Path, description = "The app's name.")),
    request_body = AppChange,
    responses((status = 200, description = "The app.", body = App)))]
pub(crate) async fn app_change(
    call: Call,
    Names(name): Names<String>,
    Json(body): Json<AppChange>,
) -> Result<axum::Json<App>> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &name).await?;
    if body.name.is_some_and(|n| n != app.name) {
        return Err(ApiError::member(
            Code::NotAvailable,
            "/name",
            "An app cannot be renamed in this version. Make one of the new name, deploy to it, and delete this one.",
        ));
    }
    if body.team.is_some_and(|t| t != app.team_name) {
        return Err(ApiError::member(
            Code::NotAvailable,
            "/team",
            "An app cannot change its team in this version. Make one in the other team and delete this one.",
        ));
    }
    Ok(axum::Json(call.app_shown(&mut tx, &app.name).await?))
}
