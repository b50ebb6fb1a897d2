//! `POST /v1/deployments/{id}/approve`: the word that a deployment waits for, by another token than the one that asked for
//! it.

use slipway_domain::deployment::DeploymentState;
use slipway_wire::deployments::Deployment;
use slipway_wire::instances::Target as NoBody;
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{MaybeJson, Names};

/// Approve a deployment that waits for it.
#[utoipa::path(post, path = "/v1/deployments/{id}/approve", tag = "deployments", operation_id = "deployment_approve",
    params(("id" = String, Path, description = "The deployment's identifier."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body(content = Option<NoBody>, description = "May be left out."),
    responses(
        (status = 200, description = "Approved.", body = Deployment),
        (status = 403, description = "The token asked for it itself.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "It does not wait for approval.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn deployment_approve(
    call: Call,
    Names(id): Names<String>,
    _body: MaybeJson<NoBody>,
) -> Result<axum::Json<Deployment>> {
    let mut tx = call.begin().await?;
    let found = call.deployment(&mut tx, &id).await?;
    if found.state != DeploymentState::AwaitingApproval {
        let detail = format!("The deployment does not wait for approval: it is `{}`.", found.state);
        return Err(ApiError::Refused(Code::NotAwaitingApproval, detail));
    }
    let by = call.caller.name.to_string();
    if found.created_by == by {
        let detail =
            "The token that asked for a deployment cannot approve it. Have somebody approve it with another one.";
        return Err(ApiError::Refused(Code::OwnDeployment, detail.into()));
    }
    let missing = || ApiError::not_found("deployment", &id);
    tx.lock_environment(found.environment).await?.ok_or_else(missing)?;
    if !tx.approve_deployment(found.id, &by, call.now()).await? {
        let state = tx.deployment(found.id).await?.ok_or_else(missing)?.state;
        let detail = format!("The deployment does not wait for approval any more: it is `{state}`.");
        return Err(ApiError::Refused(Code::NotAwaitingApproval, detail));
    }
    let target = Target::deployment(&found);
    call.audit(&mut tx, Some(found.team), "deployment.approve", target, None)
        .await?;
    let approved = tx.deployment(found.id).await?.ok_or_else(missing)?;
    tx.commit().await?;
    call.wake();
    Ok(axum::Json(call.shown(approved).await?))
}
