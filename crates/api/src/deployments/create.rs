//! `POST /v1/apps/{app}/deployments`: brings an image into service. It does not wait for anything but the registry,
//! unless asked to with `?wait=`.

use axum::response::Response;
use serde::Deserialize;
use slipway_domain::name::{AppName, NameError};
use slipway_wire::deployments::{Deployment, NewDeployment};
use slipway_wire::{Code, Problem};

use crate::apps::create::Beginning;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names, Params};
use crate::image::{DeployRequest, parse_image, parse_message, parse_strategy, refuse_later};
use crate::wait::Wait;

/// How long to wait.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitParams {
    /// How long to wait for the deployment to end, such as `120s`, at most `10m`.
    pub(crate) wait: Option<String>,
}

/// Deploy an image to an app.
#[utoipa::path(post, path = "/v1/apps/{app}/deployments", tag = "deployments", operation_id = "deployment_create",
    params(("app" = String, Path, description = "The app's name; made if it is missing and the token may."), WaitParams,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = NewDeployment,
    responses(
        (status = 200, description = "It succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "Accepted, or still running when the wait was over.", body = Deployment,
            headers(("Location" = String, description = "The deployment."))),
        (status = 409, description = "The first request with this key is under way, or the name is taken.",
            body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn deployment_create(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<WaitParams>,
    Json(body): Json<NewDeployment>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let app: AppName = app
        .parse()
        .map_err(|e: NameError| ApiError::Refused(Code::InvalidName, format!("{e}.")))?;
    refuse_later(body.sbom.is_some())?;
    let request = DeployRequest {
        app,
        environment: body.environment.unwrap_or_else(|| call.default_environment()),
        image: parse_image("/image", &body.image)?,
        pull: body.pull.unwrap_or_default(),
        message: parse_message(body.message)?,
        strategy: parse_strategy("/strategy", body.strategy.as_deref())?,
        beginning: Beginning::parse("/expires_in", body.from, body.expires_in)?,
    };
    call.deploy(request, wait).await
}
