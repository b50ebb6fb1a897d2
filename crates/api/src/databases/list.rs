//! `GET /v1/databases`: those of the caller's team; for an administrator those of all teams.

use slipway_wire::Page;
use slipway_wire::databases::Database;

use crate::call::Call;
use crate::error::Result;
use crate::extract::Params;
use crate::paging::{PageParams, Paging};

/// List databases by name.
#[utoipa::path(get, path = "/v1/databases", tag = "databases", operation_id = "database_list", params(PageParams),
    responses((status = 200, description = "One page of databases.", body = Page<Database>)))]
pub(crate) async fn database_list(
    call: Call,
    Params(params): Params<PageParams>,
) -> Result<axum::Json<Page<Database>>> {
    let paging = Paging::<String>::parse("databases", params.limit, params.cursor.as_deref())?;
    let team = (!call.caller.is_admin()).then_some(call.caller.team);
    let mut tx = call.begin().await?;
    let rows = tx.databases(team, &paging.wanted()).await?;
    let page = paging.page(rows, |d| d.name.to_string(), |d| d);
    let mut items = Vec::with_capacity(page.items.len());
    for row in page.items {
        items.push(call.database_shown(&mut tx, row).await?);
    }
    Ok(axum::Json(Page {
        items,
        next_cursor: page.next_cursor,
    }))
}
