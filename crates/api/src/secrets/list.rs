//! `GET /v1/apps/{app}/secrets`: names, versions and fingerprints.

use slipway_wire::Page;
use slipway_wire::secrets::Secret;

use super::shown;
use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};
use crate::paging::Paging;

/// Which environment, and which page.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// The environment; `production` if not given.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<slipway_domain::name::EnvironmentName>,
    /// Entries on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// List secrets, without their values.
#[utoipa::path(get, path = "/v1/apps/{app}/secrets", tag = "secrets", operation_id = "secret_list",
    params(("app" = String, Path, description = "The app's name."), ListParams),
    responses((status = 200, description = "One page of secrets.", body = Page<Secret>)))]
pub(crate) async fn secret_list(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Secret>>> {
    let paging = Paging::<String>::parse("secrets", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let environment = call.environment(&mut tx, &app, params.environment.as_ref()).await?;
    let mut rows = tx.current_secrets(environment.id).await?;
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let after = paging.wanted().after;
    rows.retain(|s| after.as_deref().is_none_or(|after| s.name.as_str() > after));
    Ok(axum::Json(paging.page(
        rows,
        |s| s.name.to_string(),
        |s| shown(s, &environment),
    )))
}
