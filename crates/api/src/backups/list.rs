//! `GET /v1/databases/{database}/backups`: a database's backups, the newest first.

use slipway_domain::ids::BackupId;
use slipway_wire::Page;
use slipway_wire::backups::Backup;

use super::shown;
use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};
use crate::paging::{PageParams, Paging};

/// List a database's backups, the newest first.
#[utoipa::path(get, path = "/v1/databases/{database}/backups", tag = "databases", operation_id = "backup_list",
    params(("database" = String, Path, description = "The database's name."), PageParams),
    responses((status = 200, description = "One page of backups.", body = Page<Backup>)))]
pub(crate) async fn backup_list(
    call: Call,
    Names(name): Names<String>,
    Params(params): Params<PageParams>,
) -> Result<axum::Json<Page<Backup>>> {
    let paging = Paging::<BackupId>::parse("backups", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let database = call.database(&mut tx, &name).await?;
    let rows = tx.backups(database.id, &paging.wanted()).await?;
    Ok(axum::Json(paging.page(rows, |backup| backup.id, shown)))
}
