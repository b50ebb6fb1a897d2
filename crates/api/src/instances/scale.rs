//! `POST /v1/apps/{app}/scale`: another number of instances, which is a change of the spec.

use axum::response::Response;
use slipway_domain::release::ReleaseCause;
use slipway_domain::spec::{REPLICAS_MAX, Spec};
use slipway_wire::Code;
use slipway_wire::deployments::Deployment;
use slipway_wire::instances::Scale;

use super::{ActParams, named};
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names, Params};
use crate::spec::SpecChange;
use crate::staging::ChangeParams;
use crate::wait::Wait;

/// Set the number of instances.
#[utoipa::path(post, path = "/v1/apps/{app}/scale", tag = "instances", operation_id = "scale",
    params(("app" = String, Path, description = "The app's name."), ActParams,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = Scale,
    responses(
        (status = 200, description = "It succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "Accepted, or still running when the wait was over.", body = Deployment),
        (status = 204, description = "It has that number already, is stopped, or nothing was ever deployed.")))]
pub(crate) async fn scale(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ActParams>,
    Json(body): Json<Scale>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let count = match u32::try_from(body.count) {
        Ok(0) => {
            let detail =
                "An app has at least 1 instance. `slipway stop` stops it; `scale.min = 0` in the spec lets it sleep.";
            return Err(ApiError::member(Code::InvalidBody, "/count", detail));
        }
        Ok(count @ 1..=REPLICAS_MAX) => count,
        _ => {
            return Err(ApiError::member(
                Code::InvalidBody,
                "/count",
                format!("Give 1 to {REPLICAS_MAX}."),
            ));
        }
    };
    let environment = named(body.environment, params.environment)?;
    let mut tx = call.begin().await?;
    let (app, environment) = call.locked(&mut tx, &app, environment.as_ref()).await?;

    let mut spec: Spec = environment.spec.clone();
    spec.scale.min = count;
    spec.scale.max = spec.scale.max.map(|max| max.max(count));

    let change = SpecChange {
        app,
        environment,
        spec,
        cause: ReleaseCause::Scale,
    };
    call.change_spec(tx, change, &ChangeParams::default(), wait).await
}
