//! `PUT /v1/apps/{app}/env`: replaces all variables. A new release at once, or staged.

use axum::response::Response;
use http::HeaderMap;
use slipway_domain::release::ReleaseCause;
use slipway_wire::Problem;
use slipway_wire::deployments::Deployment;
use slipway_wire::env::NewEnv;

use super::with_env;
use crate::call::Call;
use crate::error::Result;
use crate::etag::Expected;
use crate::extract::{Json, Names, Params};
use crate::spec::SpecChange;
use crate::staging::ChangeParams;
use crate::wait::Wait;

/// Replace the variables of an environment.
#[utoipa::path(put, path = "/v1/apps/{app}/env", tag = "env", operation_id = "env_put",
    params(("app" = String, Path, description = "The app's name."), ChangeParams,
        ("If-Match" = Option<String>, Header, description = "Only if the spec still has this ETag.")),
    request_body = NewEnv,
    responses(
        (status = 200, description = "The deployment that followed succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "A deployment follows.", body = Deployment),
        (status = 204, description = "Staged, or nothing was ever deployed, or nothing changed."),
        (status = 412, description = "Changed meanwhile.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn env_put(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ChangeParams>,
    headers: HeaderMap,
    Json(body): Json<NewEnv>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let expected = Expected::read(&headers)?;
    let mut tx = call.begin().await?;
    let (app, environment) = call.locked(&mut tx, &app, params.environment.as_ref()).await?;
    expected.check(environment.spec_generation)?;

    let spec = with_env(&environment.spec, body.env)?;

    let change = SpecChange {
        app,
        environment,
        spec,
        cause: ReleaseCause::Env,
    };
    call.change_spec(tx, change, &params, wait).await
}
