//! `POST /v1/deployments/{id}/abort`: calls a deployment off. What serves goes on serving; the intent goes back to it.

use slipway_wire::deployments::Deployment;
use slipway_wire::instances::Target as NoBody;
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{MaybeJson, Names};

/// Call off a deployment.
#[utoipa::path(post, path = "/v1/deployments/{id}/abort", tag = "deployments", operation_id = "deployment_abort",
    params(("id" = String, Path, description = "The deployment's identifier."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body(content = Option<NoBody>, description = "May be left out."),
    responses(
        (status = 200, description = "It is called off.", body = Deployment),
        (status = 409, description = "It has ended.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn deployment_abort(
    call: Call,
    Names(id): Names<String>,
    _body: MaybeJson<NoBody>,
) -> Result<axum::Json<Deployment>> {
    let mut tx = call.begin().await?;
    let found = call.deployment(&mut tx, &id).await?;
    let missing = || ApiError::not_found("deployment", &id);
    let environment = tx.lock_environment(found.environment).await?.ok_or_else(missing)?;
    if !tx
        .abort_deployment(found.id, call.caller.name.as_str(), call.now())
        .await?
    {
        let state = tx.deployment(found.id).await?.ok_or_else(missing)?.state;
        let detail = format!("The deployment has ended already, as `{state}`. To go back, use rollback.");
        return Err(ApiError::Refused(Code::AlreadyFinished, detail));
    }

    let serving = tx.status(environment.id).await?.and_then(|s| s.serving);
    tx.set_intent(
        environment.id,
        environment.generation,
        environment.desired,
        serving,
        call.now(),
    )
    .await?;
    let target = Target::deployment(&found);
    call.audit(&mut tx, Some(found.team), "deployment.abort", target, None)
        .await?;
    let aborted = tx.deployment(found.id).await?.ok_or_else(missing)?;
    tx.commit().await?;
    call.wake();
    Ok(axum::Json(call.shown(aborted).await?))
}
