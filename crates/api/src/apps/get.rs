//! `GET /v1/apps/{app}`.

use slipway_wire::apps::App;

use crate::call::Call;
use crate::error::Result;
use crate::extract::Names;

/// Show an app.
#[utoipa::path(get, path = "/v1/apps/{app}", tag = "apps", operation_id = "app_get",
    params(("app" = String, Path, description = "The app's name.")),
    responses((status = 200, description = "The app.", body = App)))]
pub(crate) async fn app_get(call: Call, Names(name): Names<String>) -> Result<axum::Json<App>> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &name).await?;
    Ok(axum::Json(call.app_shown(&mut tx, &app.name).await?))
}
