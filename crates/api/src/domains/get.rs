//! `GET /v1/apps/{app}/domains/{host}`.

use slipway_wire::domains::Domain;

use super::DomainParams;
use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};

/// Show a domain as it stood when DNS was asked last.
#[utoipa::path(get, path = "/v1/apps/{app}/domains/{host}", tag = "domains", operation_id = "domain_get",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name."), DomainParams),
    responses((status = 200, description = "The domain.", body = Domain)))]
pub(crate) async fn domain_get(
    call: Call,
    Names((app, host)): Names<(String, String)>,
    Params(params): Params<DomainParams>,
) -> Result<axum::Json<Domain>> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.domain_of(&mut tx, &app, &host, &params).await?;
    Ok(axum::Json(call.domain_kept(row)))
}
