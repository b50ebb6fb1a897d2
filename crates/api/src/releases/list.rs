//! `GET /v1/apps/{app}/releases`: the releases of an environment, newest first.

use serde::Deserialize;
use slipway_domain::ReleaseNumber;
use slipway_domain::name::EnvironmentName;
use slipway_wire::Page;
use slipway_wire::releases::Release;

use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};
use crate::paging::Paging;
use crate::view;

/// Which releases.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// The environment; `production` if not given.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<EnvironmentName>,
    /// Entries on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// List the releases of an environment, newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/releases", tag = "releases", operation_id = "release_list",
    params(("app" = String, Path, description = "The app's name."), ListParams),
    responses((status = 200, description = "One page of releases.", body = Page<Release>)))]
pub(crate) async fn release_list(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Release>>> {
    let paging = Paging::<ReleaseNumber>::parse("releases", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let environment = call.environment(&mut tx, &app, params.environment.as_ref()).await?;
    let rows = tx.releases(environment.id, &paging.wanted()).await?;
    // What has the traffic; before anything has, what should get it.
    let serving = tx.status(environment.id).await?.and_then(|s| s.serving);
    let current = serving.or(environment.release);
    let shown = |row| view::release(row, &environment, current);
    Ok(axum::Json(paging.page(rows, |r| r.number, shown)))
}
