//! `GET /v1/apps/{app}/environments`.

use slipway_wire::Page;
use slipway_wire::apps::Environment;

use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};
use crate::paging::{PageParams, Paging};

/// List the environments of an app.
#[utoipa::path(get, path = "/v1/apps/{app}/environments", tag = "environments", operation_id = "environment_list",
    params(("app" = String, Path, description = "The app's name."), PageParams),
    responses((status = 200, description = "One page of environments.", body = Page<Environment>)))]
pub(crate) async fn environment_list(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<PageParams>,
) -> Result<axum::Json<Page<Environment>>> {
    let paging = Paging::<String>::parse("environments", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let mut rows = tx.environments(app.id).await?;
    rows.retain(|e| call.caller.reach.sees_environment(&e.name));

    let wanted = paging.wanted();
    rows.retain(|e| wanted.after.as_deref().is_none_or(|after| e.name.as_str() > after));
    rows.truncate(usize::try_from(wanted.limit).unwrap_or(usize::MAX));
    let page = paging.page(rows, |e| e.name.to_string(), |e| e);
    let mut items = Vec::with_capacity(page.items.len());
    for row in page.items {
        items.push(call.environment_shown(&mut tx, row).await?);
    }
    Ok(axum::Json(Page {
        items,
        next_cursor: page.next_cursor,
    }))
}
