//! `GET /v1/apps/{app}/deployments`: newest first.

use serde::Deserialize;
use slipway_domain::ids::DeploymentId;
use slipway_domain::name::EnvironmentName;
use slipway_wire::Page;
use slipway_wire::deployments::Deployment;

use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};
use crate::paging::Paging;
use crate::view;

/// Which deployments.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Only those of this environment.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<EnvironmentName>,
    /// Entries on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// List the deployments of an app, newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/deployments", tag = "deployments", operation_id = "deployment_list",
    params(("app" = String, Path, description = "The app's name."), ListParams),
    responses((status = 200, description = "One page of deployments.", body = Page<Deployment>)))]
pub(crate) async fn deployment_list(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Deployment>>> {
    let paging = Paging::<DeploymentId>::parse("deployments", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    // A token narrowed to environments never lists across all of them.
    let narrowed = call.caller.reach.environments.is_some();
    let environment = match params.environment {
        None if !narrowed => None,
        named => Some(call.environment(&mut tx, &app, named.as_ref()).await?.id),
    };
    let rows = tx.deployments(app.id, environment, &paging.wanted()).await?;
    let shown = |row| view::deployment(row, &call.state.settings, Vec::new());
    Ok(axum::Json(paging.page(rows, |d| d.id, shown)))
}
