//! `POST /v1/deployments/{id}/promote`: ends a canary early. All traffic goes to the new release, as after its last step.

use slipway_domain::spec::Strategy;
use slipway_wire::deployments::Deployment;
use slipway_wire::instances::Target as NoBody;
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{MaybeJson, Names};

/// End a canary early by giving it all traffic.
#[utoipa::path(post, path = "/v1/deployments/{id}/promote", tag = "deployments", operation_id = "deployment_promote",
    params(("id" = String, Path, description = "The deployment's identifier."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body(content = Option<NoBody>, description = "May be left out."),
    responses(
        (status = 200, description = "The new release gets all traffic once its instances are healthy.", body = Deployment),
        (status = 409, description = "It has ended, or is no canary.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn deployment_promote(
    call: Call,
    Names(id): Names<String>,
    _body: MaybeJson<NoBody>,
) -> Result<axum::Json<Deployment>> {
    let mut tx = call.begin().await?;
    let found = call.deployment(&mut tx, &id).await?;
    let missing = || ApiError::not_found("deployment", &id);
    if found.strategy != Strategy::Canary.as_str() {
        let detail = format!(
            "The deployment's strategy is `{}`: it has no canary to end. It goes on by itself.",
            found.strategy
        );
        return Err(ApiError::Refused(Code::NoCanary, detail));
    }
    tx.lock_environment(found.environment).await?.ok_or_else(missing)?;
    if !tx.promote_deployment(found.id).await? {
        let state = tx.deployment(found.id).await?.ok_or_else(missing)?.state;
        let detail = format!("The deployment has ended already, as `{state}`.");
        return Err(ApiError::Refused(Code::AlreadyFinished, detail));
    }

    let target = Target::deployment(&found);
    call.audit(&mut tx, Some(found.team), "deployment.promote", target, None)
        .await?;
    let promoted = tx.deployment(found.id).await?.ok_or_else(missing)?;
    tx.commit().await?;
    call.wake();
    Ok(axum::Json(call.shown(promoted).await?))
}
