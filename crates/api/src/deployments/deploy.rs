//! `POST /v1/deploy?image=REF`: the one-liner for CI. App and environment come from the query, else from the body, else
//! from the token's scope, else the app from the image's repository name.

use axum::response::Response;
use serde::Deserialize;
use slipway_domain::image::ImageReference;
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_domain::ports::PullPolicy;
use slipway_domain::quantity::Span;
use slipway_wire::deployments::{DeployOptions, Deployment};
use slipway_wire::{Code, Problem};

use crate::apps::create::Beginning;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{MaybeJson, Params};
use crate::image::{DeployRequest, parse_image, parse_message, parse_strategy, refuse_later};
use crate::wait::Wait;

/// What to deploy, and where.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeployParams {
    /// The image: `registry/repository:tag` or `…@sha256:…`.
    #[param(example = "registry.example.com/directory:4f2c1ab")]
    pub(crate) image: Option<String>,
    /// The app; else the token's only one; else the last part of the image's repository.
    #[param(value_type = Option<String>)]
    pub(crate) app: Option<AppName>,
    /// The environment; else the token's only one; else `production`.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<EnvironmentName>,
    /// `local` takes an image that only the platform's engine has.
    #[param(value_type = Option<slipway_wire::deployments::Pull>)]
    pub(crate) pull: Option<PullPolicy>,
    /// How traffic moves this once: `rolling`, `bluegreen`, `canary` or `recreate`; as the spec says if not given.
    pub(crate) strategy: Option<String>,
    /// If the environment is made for this deploy: the one whose spec it begins with.
    #[param(value_type = Option<String>)]
    pub(crate) from: Option<EnvironmentName>,
    /// If the environment is made for this deploy: it is deleted so long after the last one, 10m to 90d.
    #[param(value_type = Option<String>)]
    pub(crate) expires_in: Option<Span>,
    /// A line for the record.
    pub(crate) message: Option<String>,
    /// How long to wait for the deployment to end, such as `120s`, at most `10m`.
    pub(crate) wait: Option<String>,
}

/// What was given once, in the query or in the body; two that differ would leave one of them unheard.
fn once<T: PartialEq>(name: &str, in_query: Option<T>, in_body: Option<T>) -> Result<Option<T>> {
    match (in_query, in_body) {
        (Some(a), Some(b)) if a != b => Err(ApiError::member(
            Code::InvalidBody,
            &format!("/{name}"),
            format!("`{name}` is another one in the query. Give it once."),
        )),
        (a, b) => Ok(a.or(b)),
    }
}

/// Where a value stands, for whoever has to mend it.
fn place(name: &str, in_query: bool) -> String {
    format!("{}{name}", if in_query { '?' } else { '/' })
}

/// Deploy an image: one line for CI.
#[utoipa::path(post, path = "/v1/deploy", tag = "deployments", operation_id = "deploy",
    params(DeployParams,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body(content = Option<DeployOptions>, description = "May be left out."),
    responses(
        (status = 200, description = "It succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "Accepted, or still running when the wait was over.", body = Deployment,
            headers(("Location" = String, description = "The deployment."))),
        (status = 404, description = "The app is missing and the token may not make it.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The first request with this key is under way, or the name is taken.",
            body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn deploy(
    call: Call,
    Params(params): Params<DeployParams>,
    MaybeJson(body): MaybeJson<DeployOptions>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    refuse_later(body.sbom.is_some())?;
    let strategy_place = place("strategy", params.strategy.is_some());
    let strategy = once("strategy", params.strategy, body.strategy)?;
    let strategy = parse_strategy(&strategy_place, strategy.as_deref())?;
    let expires_in_place = place("expires_in", params.expires_in.is_some());
    let from = once("from", params.from, body.from)?;
    let expires_in = once("expires_in", params.expires_in, body.expires_in)?;
    let beginning = Beginning::parse(&expires_in_place, from, expires_in)?;
    let image_place = place("image", params.image.is_some());
    let Some(image) = once("image", params.image, body.image)? else {
        return Err(ApiError::parameter(
            "image",
            "give the image: `POST /v1/deploy?image=REF`",
        ));
    };
    let image = parse_image(&image_place, &image)?;
    let app = match once("app", params.app, body.app)? {
        Some(app) => app,
        None => app_of(&call, &image)?,
    };
    let environment =
        once("environment", params.environment, body.environment)?.unwrap_or_else(|| call.default_environment());
    let message = parse_message(once("message", params.message, body.message)?)?;
    let pull = once("pull", params.pull, body.pull)?.unwrap_or_default();
    call.deploy(
        DeployRequest {
            app,
            environment,
            image,
            pull,
            message,
            strategy,
            beginning,
        },
        wait,
    )
    .await
}

/// The app when none is named.
fn app_of(call: &Call, image: &ImageReference) -> Result<AppName> {
    if let Some([only]) = call.caller.reach.apps.as_deref() {
        return Ok(only.clone());
    }
    AppName::from_repository(image.repository()).map_err(|error| {
        let detail = format!("The image does not suggest a name for the app ({error}). Give one: `&app=NAME` (in the command line `--app NAME`).");
        ApiError::member(Code::InvalidName, "?app", detail)
    })
}
