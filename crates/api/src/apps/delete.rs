//! `DELETE /v1/apps/{app}`: every environment is to go; the scheduler takes containers, network and volumes away.

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use slipway_wire::Problem;

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};

/// Whether to insist.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteParams {
    /// Delete even what was refused.
    #[param(default = false)]
    pub(crate) force: Option<bool>,
}

/// Delete an app with all its environments.
#[utoipa::path(delete, path = "/v1/apps/{app}", tag = "apps", operation_id = "app_delete",
    params(("app" = String, Path, description = "The app's name."), DeleteParams),
    responses((status = 204, description = "It goes away."),
        (status = 409, description = "It may reach a database.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn app_delete(
    call: Call,
    Names(name): Names<String>,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &name).await?;
    // A token that only sees some environments may not take the others away with the app.
    let environments = tx.environments(app.id).await?;
    if let Some(hidden) = environments
        .iter()
        .find(|e| !call.caller.reach.sees_environment(&e.name))
    {
        tracing::info!(app = %app.name, environment = %hidden.name, "app.delete.refused");
        return Err(ApiError::Refused(
            slipway_wire::Code::Forbidden,
            "The app has environments outside this token's reach. Delete single environments, or use a wider token."
                .into(),
        ));
    }

    let force = params.force.unwrap_or(false);
    for environment in &environments {
        call.leave_databases(&mut tx, &app, environment, force).await?;
    }
    tx.delete_app(app.id, call.now()).await?;
    let change = json!({"force": force});
    call.audit(
        &mut tx,
        Some(app.team),
        "app.delete",
        Target::new("app", app.id, &app.name),
        Some(change),
    )
    .await?;
    tx.commit().await?;
    call.wake();
    Ok(StatusCode::NO_CONTENT)
}
