//! `GET /v1/deployments/{id}`.

use slipway_wire::deployments::Deployment;

use crate::call::Call;
use crate::error::Result;
use crate::extract::Names;

/// Show a deployment.
#[utoipa::path(get, path = "/v1/deployments/{id}", tag = "deployments", operation_id = "deployment_get",
    params(("id" = String, Path, description = "The deployment's identifier.")),
    responses((status = 200, description = "The deployment.", body = Deployment)))]
pub(crate) async fn deployment_get(call: Call, Names(id): Names<String>) -> Result<axum::Json<Deployment>> {
    let mut tx = call.begin().await?;
    let found = call.deployment(&mut tx, &id).await?;
    drop(tx);
    Ok(axum::Json(call.shown(found).await?))
}
