//! `GET /v1/certificates/internal-root`: what visitors of local names must trust.

use slipway_wire::certificates::InternalRoot;

use crate::call::Call;
use crate::error::Result;

/// Show the root of the internal CA, which issues for local names. It is no secret.
#[utoipa::path(get, path = "/v1/certificates/internal-root", tag = "domains", operation_id = "internal_root_get",
    responses((status = 200, description = "The root.", body = InternalRoot)))]
pub(crate) async fn internal_root_get(call: Call) -> Result<axum::Json<InternalRoot>> {
    let certificate = call.state.settings.internal_root_pem.clone();
    Ok(axum::Json(InternalRoot { certificate }))
}
