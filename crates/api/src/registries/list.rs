//! `GET /v1/registries`.

use slipway_wire::Page;
use slipway_wire::registries::Registry;

use super::shown;
use crate::call::Call;
use crate::error::Result;
use crate::extract::Params;
use crate::paging::{PageParams, Paging};

/// List registries with stored credentials.
#[utoipa::path(get, path = "/v1/registries", tag = "registries", operation_id = "registry_list", params(PageParams),
    responses((status = 200, description = "One page of registries.", body = Page<Registry>)))]
pub(crate) async fn registry_list(
    call: Call,
    Params(params): Params<PageParams>,
) -> Result<axum::Json<Page<Registry>>> {
    let paging = Paging::<String>::parse("registries", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let mut rows = tx.registries(call.caller.team).await?;
    let after = paging.wanted().after;
    rows.retain(|r| after.as_deref().is_none_or(|after| r.host.as_str() > after));
    Ok(axum::Json(paging.page(rows, |r| r.host.to_string(), shown)))
}
