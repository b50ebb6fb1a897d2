//! `POST /v1/apps/{app}/stop`: no instance should run; data and settings stay. It answers before they have stopped,
//! unless asked to wait.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use slipway_store::{Desired, Tx};
use slipway_wire::apps::Environment;
use slipway_wire::instances::Target as Body;
use slipway_wire::{Code, Problem};

use super::{ActParams, named};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{MaybeJson, Names, Params};
use crate::wait::Wait;

/// Stop an environment.
#[utoipa::path(post, path = "/v1/apps/{app}/stop", tag = "instances", operation_id = "stop",
    params(("app" = String, Path, description = "The app's name."), ActParams,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body(content = Option<Body>, description = "May be left out."),
    responses(
        (status = 200, description = "Nothing runs any more (with `wait`).", body = Environment),
        (status = 202, description = "It will stop.", body = Environment),
        (status = 409, description = "Nothing was ever deployed.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn stop(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ActParams>,
    MaybeJson(body): MaybeJson<Body>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let environment = named(body.environment, params.environment)?;
    let mut tx = call.begin().await?;
    let (app, row) = call.locked(&mut tx, &app, environment.as_ref()).await?;
    if row.release.is_none() {
        let detail = format!(
            "Nothing was deployed to {} of {} yet: there is nothing to stop.",
            row.name, app.name
        );
        return Err(ApiError::Refused(Code::NothingDeployed, detail));
    }

    if row.desired != Desired::Stopped || tx.stands_still(row.id).await? {
        tx.set_intent(row.id, row.generation, Desired::Stopped, None, call.now())
            .await?;
        let target = Target::new("environment", row.id, format!("{}/{}", app.name, row.name));
        call.audit(&mut tx, Some(app.team), "environment.stop", target, None)
            .await?;
    }
    tx.commit().await?;
    call.wake();

    let settled = call.until_settled(row.id, wait).await?;
    let mut tx = call.begin().await?;
    let shown = shown(&call, &mut tx, row.id).await?;
    let status = if settled { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, axum::Json(shown)).into_response())
}

async fn shown(call: &Call, tx: &mut Tx, id: slipway_domain::ids::EnvironmentId) -> Result<Environment> {
    let row = tx
        .environment_by_id(id)
        .await?
        .ok_or_else(|| ApiError::not_found("environment", &id))?;
    call.environment_shown(tx, row).await
}
