//! `GET /v1/databases/{database}`.

use slipway_wire::databases::Database;

use crate::call::Call;
use crate::error::Result;
use crate::extract::Names;

/// Show a database.
#[utoipa::path(get, path = "/v1/databases/{database}", tag = "databases", operation_id = "database_get",
    params(("database" = String, Path, description = "The database's name.")),
    responses((status = 200, description = "The database.", body = Database)))]
pub(crate) async fn database_get(call: Call, Names(name): Names<String>) -> Result<axum::Json<Database>> {
    let mut tx = call.begin().await?;
    let row = call.database(&mut tx, &name).await?;
    Ok(axum::Json(call.database_shown(&mut tx, row).await?))
}
