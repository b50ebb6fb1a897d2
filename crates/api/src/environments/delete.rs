//! `DELETE /v1/apps/{app}/environments/{environment}`: it is to go; with the last one the app goes too.

use http::StatusCode;
use serde_json::json;
use slipway_wire::{Code, Problem};

use crate::apps::delete::DeleteParams;
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};

/// Delete an environment and all that runs in it.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{environment}", tag = "environments",
    operation_id = "environment_delete",
    params(("app" = String, Path, description = "The app's name."),
        ("environment" = String, Path, description = "The environment's name."), DeleteParams),
    responses(
        (status = 204, description = "It goes away."),
        (status = 409, description = "It is the only one; deleting it deletes the app.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn environment_delete(
    call: Call,
    Names((app, name)): Names<(String, String)>,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode> {
    let parsed = name
        .parse()
        .map_err(|_| ApiError::not_found("environment", &format!("{app}/{name}")))?;
    let mut tx = call.begin().await?;
    let (app, environment) = call.locked(&mut tx, &app, Some(&parsed)).await?;
    let force = params.force.unwrap_or(false);
    if !force && tx.environments(app.id).await?.len() == 1 {
        return Err(ApiError::Refused(
            Code::Conflict,
            format!(
                "`{name}` is the only environment of {}: deleting it deletes the app. Say so with `?force=true` (`--force`), or delete the app.",
                app.name
            ),
        ));
    }

    call.leave_databases(&mut tx, &app, &environment, force).await?;
    tx.delete_environment(environment.id, call.now()).await?;
    let target = Target::new(
        "environment",
        environment.id,
        format!("{}/{}", app.name, environment.name),
    );
    call.audit(
        &mut tx,
        Some(app.team),
        "environment.delete",
        target,
        Some(json!({"force": force})),
    )
    .await?;
    tx.commit().await?;
    call.wake();
    Ok(StatusCode::NO_CONTENT)
}
