//! `GET /v1/apps/{app}/domains`.

use serde::Deserialize;
use slipway_domain::name::EnvironmentName;
use slipway_wire::Page;
use slipway_wire::domains::Domain;

use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};
use crate::paging::Paging;

/// Which ones.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Only those that lead to this environment.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<EnvironmentName>,
    /// Entries on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// List the domains of an app.
#[utoipa::path(get, path = "/v1/apps/{app}/domains", tag = "domains", operation_id = "domain_list",
    params(("app" = String, Path, description = "The app's name."), ListParams),
    responses((status = 200, description = "One page of domains.", body = Page<Domain>)))]
pub(crate) async fn domain_list(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Domain>>> {
    let paging = Paging::<String>::parse("domains", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let mut rows = tx.custom_domains(app.id).await?;
    rows.retain(|d| call.caller.reach.sees_environment(&d.environment_name));
    rows.retain(|d| params.environment.as_ref().is_none_or(|e| *e == d.environment_name));
    let after = paging.wanted().after;
    rows.retain(|d| after.as_deref().is_none_or(|after| d.host.as_str() > after));
    Ok(axum::Json(paging.page(
        rows,
        |d| d.host.to_string(),
        |d| call.domain_kept(d),
    )))
}
