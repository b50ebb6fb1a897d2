//! `PATCH /v1/apps/{app}/domains/{host}`: where its visitors are sent on to, what their browsers are told to remember. Its
//! certificate stays as it is.

use serde_json::json;
use slipway_domain::name::HostName;
use slipway_store::{App, CustomDomain, Tx};
use slipway_wire::domains::{Domain, DomainChange};
use slipway_wire::{Code, Problem};

use super::create::check_redirect;
use super::{DomainParams, hsts, sent_from, spelled_host};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names, Params};

/// Change where a domain's visitors are sent on to, or what their browsers are told to remember.
#[utoipa::path(patch, path = "/v1/apps/{app}/domains/{host}", tag = "domains", operation_id = "domain_change",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name."), DomainParams),
    request_body = DomainChange,
    responses((status = 200, description = "The domain.", body = Domain),
        (status = 409, description = "Another name of the app sends its visitors there, or something must be confirmed.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn domain_change(
    call: Call,
    Names((app, host)): Names<(String, String)>,
    Params(params): Params<DomainParams>,
    Json(body): Json<DomainChange>,
) -> Result<axum::Json<Domain>> {
    if body.redirect_to.is_none() && body.hsts.is_none() {
        return Err(ApiError::Refused(
            Code::InvalidBody,
            "Say what is to change: `redirect_to` or `hsts`.".into(),
        ));
    }
    let to = body
        .redirect_to
        .as_ref()
        .map(|to| to.as_deref().map(|to| spelled_host(to, "/redirect_to")).transpose())
        .transpose()?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.domain_of(&mut tx, &app, &host, &params).await?;
    if let Some(to) = &to {
        redirect(&call, &mut tx, &app, &row, to.as_ref()).await?;
    }
    if let Some(change) = &body.hsts {
        let next = hsts::changed(&row, change, call.now())?;
        tx.set_hsts(row.id, &next).await?;
    }
    let target = Target::new("domain", row.id, &row.host);
    let change = json!({"redirect_to": to, "hsts": body.hsts});
    call.audit(&mut tx, Some(app.team), "domain.change", target, Some(change))
        .await?;
    let row = call.domain(&mut tx, &app, row.host.as_str()).await?;
    tx.commit().await?;
    Ok(axum::Json(call.domain_kept(row)))
}

async fn redirect(call: &Call, tx: &mut Tx, app: &App, row: &CustomDomain, to: Option<&HostName>) -> Result<()> {
    let environment = call.environment(tx, app, Some(&row.environment_name)).await?;
    let environment = call.lock(tx, app, &environment).await?;
    if let Some(to) = to {
        let is_itself = row.host.host().as_ref() == Some(to);
        if let Some(other) = sent_from(tx, app, row).await?.filter(|_| !is_itself) {
            let detail = format!(
                "{other} sends its visitors to {}: let it answer itself first (`slipway domains set {other} --no-redirect`).",
                row.host
            );
            return Err(ApiError::Refused(Code::Conflict, detail));
        }
        check_redirect(call, tx, app, &environment, &row.host, to).await?;
    }
    Ok(tx.redirect_domain(row.id, to).await?)
}
