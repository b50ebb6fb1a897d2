//! `GET /v1/apps`: the apps the token may see, by name.

use slipway_wire::Page;
use slipway_wire::apps::App;

use crate::call::Call;
use crate::error::Result;
use crate::extract::Params;
use crate::paging::{PageParams, Paging};
use crate::view;

/// List apps.
#[utoipa::path(get, path = "/v1/apps", tag = "apps", operation_id = "app_list", params(PageParams),
    responses((status = 200, description = "One page of apps.", body = Page<App>)))]
pub(crate) async fn app_list(call: Call, Params(params): Params<PageParams>) -> Result<axum::Json<Page<App>>> {
    let paging = Paging::<String>::parse("apps", params.limit, params.cursor.as_deref())?;
    let team = (!call.caller.is_admin()).then_some(call.caller.team);

    let mut tx = call.begin().await?;
    let rows = tx
        .apps(team, call.caller.reach.apps.as_deref(), &paging.wanted())
        .await?;

    let sees = |e: &slipway_store::EnvironmentSummary| call.caller.reach.sees_environment(&e.name);
    let shown = |row| view::app(row, &call.state.settings, sees);
    Ok(axum::Json(paging.page(rows, |row| row.app.name.to_string(), shown)))
}
