//! `POST /v1/apps/{app}/start`: on again after a stop, with what was staged meanwhile.

use axum::response::Response;
use slipway_wire::Problem;
use slipway_wire::deployments::Deployment;
use slipway_wire::instances::Target;

use super::{ActParams, renew};
use crate::accept::Change;
use crate::call::Call;
use crate::error::Result;
use crate::extract::{MaybeJson, Names, Params};

/// Start a stopped environment.
#[utoipa::path(post, path = "/v1/apps/{app}/start", tag = "instances", operation_id = "start",
    params(("app" = String, Path, description = "The app's name."), ActParams,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body(content = Option<Target>, description = "May be left out."),
    responses(
        (status = 200, description = "It succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "Accepted, or still running when the wait was over.", body = Deployment),
        (status = 409, description = "It is not stopped, or nothing was ever deployed.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn start(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ActParams>,
    MaybeJson(body): MaybeJson<Target>,
) -> Result<Response> {
    renew(&call, &app, params, body, Change::Start).await
}
