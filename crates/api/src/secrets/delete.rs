//! `DELETE /v1/apps/{app}/secrets/{name}`: gone from the next release on. Refused at once if the spec requires it.

use axum::response::Response;
use slipway_wire::deployments::Deployment;

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};
use crate::staging::ChangeParams;
use crate::wait::Wait;

/// Remove a secret.
#[utoipa::path(delete, path = "/v1/apps/{app}/secrets/{name}", tag = "secrets", operation_id = "secret_delete",
    params(("app" = String, Path, description = "The app's name."),
        ("name" = String, Path, description = "The secret's name."), ChangeParams),
    responses(
        (status = 200, description = "The deployment that followed succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "A deployment follows.", body = Deployment),
        (status = 204, description = "Staged, or nothing was ever deployed.")))]
pub(crate) async fn secret_delete(
    call: Call,
    Names((app, name)): Names<(String, String)>,
    Params(params): Params<ChangeParams>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let mut tx = call.begin().await?;
    let (app, environment) = call.locked(&mut tx, &app, params.environment.as_ref()).await?;

    let deleted = match name.parse() {
        Ok(parsed) => tx.delete_secret(environment.id, &parsed, call.now()).await?,
        Err(_) => false,
    };
    if !deleted {
        return Err(ApiError::not_found("secret", &name));
    }
    let target = Target::named("secret", format!("{}/{}/{name}", app.name, environment.name));
    call.audit(&mut tx, Some(app.team), "secret.delete", target, None)
        .await?;

    call.secrets_changed(tx, (app, environment), true, &params, wait).await
}
