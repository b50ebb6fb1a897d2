//! `POST /v1/deployments/{id}/approve`: approval gates are not built yet, and the call says so instead of pretending.

use slipway_wire::Code;
use slipway_wire::deployments::Deployment;
use slipway_wire::instances::Target as NoBody;

use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{MaybeJson, Names};

/// Approve a deployment that waits for it. Not available in this version.
#[utoipa::path(post, path = "/v1/deployments/{id}/approve", tag = "deployments", operation_id = "deployment_approve",
    params(("id" = String, Path, description = "The deployment's identifier."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body(content = Option<NoBody>, description = "May be left out."),
    responses((status = 200, description = "Approved.", body = Deployment)))]
pub(crate) async fn deployment_approve(
    call: Call,
    Names(id): Names<String>,
    _body: MaybeJson<NoBody>,
) -> Result<axum::Json<Deployment>> {
    let mut tx = call.begin().await?;
    let found = call.deployment(&mut tx, &id).await?;
    let detail = format!(
        "There are no approval gates in this version, so nothing waits for approval. The deployment is {}; to stop it, abort it.",
        found.state
    );
    Err(ApiError::Refused(Code::NotAvailable, detail))
}
