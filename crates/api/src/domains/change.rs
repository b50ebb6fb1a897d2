//! `PATCH /v1/apps/{app}/domains/{host}`: where its visitors are sent on to. Its certificate stays as it is.

use serde_json::json;
use slipway_wire::domains::{Domain, DomainChange};
use slipway_wire::{Code, Problem};

use super::create::check_redirect;
use super::{DomainParams, as_kept, spelled_host};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names, Params};

/// Change where a domain's visitors are sent on to.
#[utoipa::path(patch, path = "/v1/apps/{app}/domains/{host}", tag = "domains", operation_id = "domain_change",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name."), DomainParams),
    request_body = DomainChange,
    responses((status = 200, description = "The domain.", body = Domain),
        (status = 409, description = "Another name of the app sends its visitors there.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn domain_change(
    call: Call,
    Names((app, host)): Names<(String, String)>,
    Params(params): Params<DomainParams>,
    Json(body): Json<DomainChange>,
) -> Result<axum::Json<Domain>> {
    let to = body
        .redirect_to
        .as_deref()
        .map(|to| spelled_host(to, "/redirect_to"))
        .transpose()?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.domain_of(&mut tx, &app, &host, &params).await?;
    let environment = call.environment(&mut tx, &app, Some(&row.environment_name)).await?;
    let environment = call.lock(&mut tx, &app, &environment).await?;
    if let Some(to) = &to {
        let all = tx.custom_domains(app.id).await?;
        if let Some(other) = all
            .iter()
            .find(|d| d.redirect_to.is_some() && d.redirect_to == row.host.host())
        {
            let detail = format!(
                "{} sends its visitors to {}: let it answer itself first (`slipway domains set {} --no-redirect`).",
                other.host, row.host, other.host
            );
            return Err(ApiError::Refused(Code::Conflict, detail));
        }
        check_redirect(&call, &mut tx, &app, &environment, &row.host, to).await?;
    }
    tx.redirect_domain(row.id, to.as_ref()).await?;
    let target = Target::new("domain", row.id, &row.host);
    let change = json!({"redirect_to": to});
    call.audit(&mut tx, Some(app.team), "domain.change", target, Some(change))
        .await?;
    let row = call.domain(&mut tx, &app, row.host.as_str()).await?;
    tx.commit().await?;
    Ok(axum::Json(as_kept(row, call.now())))
}
