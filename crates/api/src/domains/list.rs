//! `GET /v1/apps/{app}/domains`, and `GET /v1/domains` for those of all apps.

use serde::Deserialize;
use slipway_domain::name::EnvironmentName;
use slipway_store::DomainFilter;
use slipway_wire::Page;
use slipway_wire::domains::Domain;

use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};
use crate::paging::{PageParams, Paging};

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
    let seen = call.caller.reach.environments.as_deref();
    let environments = match &params.environment {
        Some(named) if call.caller.reach.sees_environment(named) => Some(std::slice::from_ref(named)),
        Some(_) => Some(&[][..]),
        None => seen,
    };
    let filter = DomainFilter {
        app: Some(app.id),
        environments,
        ..DomainFilter::default()
    };
    let rows = tx.custom_domains_page(&filter, &paging.wanted()).await?;
    Ok(axum::Json(paging.page(
        rows,
        |d| d.host.to_string(),
        |d| call.domain_kept(d),
    )))
}

/// List the domains of all apps of the caller's team; for an administrator those of all teams.
#[utoipa::path(get, path = "/v1/domains", tag = "domains", operation_id = "domain_list_all", params(PageParams),
    responses((status = 200, description = "One page of domains.", body = Page<Domain>)))]
pub(crate) async fn domain_list_all(
    call: Call,
    Params(params): Params<PageParams>,
) -> Result<axum::Json<Page<Domain>>> {
    let paging = Paging::<String>::parse("domains", params.limit, params.cursor.as_deref())?;
    let reach = &call.caller.reach;
    let filter = DomainFilter {
        team: (!call.caller.is_admin()).then_some(call.caller.team),
        apps: reach.apps.as_deref(),
        environments: reach.environments.as_deref(),
        ..DomainFilter::default()
    };
    let mut tx = call.begin().await?;
    let rows = tx.custom_domains_page(&filter, &paging.wanted()).await?;
    Ok(axum::Json(paging.page(
        rows,
        |d| d.host.to_string(),
        |d| call.domain_kept(d),
    )))
}
