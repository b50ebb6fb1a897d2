//! `POST /v1/apps/{app}/restart`: new containers with the contents of the current release; what is staged stays staged.

use axum::response::Response;
use slipway_wire::Problem;
use slipway_wire::deployments::Deployment;
use slipway_wire::instances::Target;

use super::{ActParams, renew};
use crate::accept::Change;
use crate::call::Call;
use crate::error::Result;
use crate::extract::{MaybeJson, Names, Params};

/// Replace every instance by a new one of the same contents.
#[utoipa::path(post, path = "/v1/apps/{app}/restart", tag = "instances", operation_id = "restart",
    params(("app" = String, Path, description = "The app's name."), ActParams,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body(content = Option<Target>, description = "May be left out."),
    responses(
        (status = 200, description = "It succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "Accepted, or still running when the wait was over.", body = Deployment),
        (status = 409, description = "Nothing runs that could be restarted.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn restart(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ActParams>,
    MaybeJson(body): MaybeJson<Target>,
) -> Result<Response> {
    renew(&call, &app, params, body, Change::Restart).await
}
