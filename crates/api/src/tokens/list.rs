//! `GET /v1/tokens`: newest first; an administrator sees those of every team.

use std::collections::BTreeMap;

use slipway_domain::ids::TokenId;
use slipway_wire::Page;
use slipway_wire::tokens::Token;

use crate::call::Call;
use crate::error::Result;
use crate::extract::Params;
use crate::paging::{PageParams, Paging};
use crate::view;

/// List tokens, without their text.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", operation_id = "token_list", params(PageParams),
    responses((status = 200, description = "One page of tokens.", body = Page<Token>)))]
pub(crate) async fn token_list(call: Call, Params(params): Params<PageParams>) -> Result<axum::Json<Page<Token>>> {
    let paging = Paging::<TokenId>::parse("tokens", params.limit, params.cursor.as_deref())?;
    let team = (!call.caller.is_admin()).then_some(call.caller.team);
    let mut tx = call.begin().await?;
    let rows = tx.tokens(team, &paging.wanted()).await?;

    let mut names = BTreeMap::new();
    for id in rows.iter().map(|t| t.team) {
        if let std::collections::btree_map::Entry::Vacant(entry) = names.entry(id) {
            entry.insert(tx.team(id).await?.map(|t| t.name.to_string()).unwrap_or_default());
        }
    }
    let shown = |row: slipway_store::TokenRow| {
        let team = names.get(&row.team).cloned().unwrap_or_default();
        view::token(row, &team)
    };
    Ok(axum::Json(paging.page(rows, |t| t.id, shown)))
}
