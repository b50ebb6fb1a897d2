//! `GET /v1/dns`.

use serde::Deserialize;
use slipway_domain::name::TeamName;
use slipway_wire::Page;
use slipway_wire::dns::DnsZone;

use super::{OwnerParams, shown};
use crate::call::Call;
use crate::error::Result;
use crate::extract::Params;
use crate::paging::Paging;

/// Which ones.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// The team, for an administrator; the token's own if not given.
    #[param(value_type = Option<String>)]
    pub(crate) team: Option<TeamName>,
    /// The platform's own zones, for an administrator.
    #[serde(default)]
    pub(crate) platform: bool,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// Where the last page ended: its `next_cursor`.
    pub(crate) cursor: Option<String>,
}

/// List the zones that records can be made in.
#[utoipa::path(get, path = "/v1/dns", tag = "domains", operation_id = "dns_zone_list", params(ListParams),
    responses((status = 200, description = "One page of zones.", body = Page<DnsZone>)))]
pub(crate) async fn dns_zone_list(call: Call, Params(params): Params<ListParams>) -> Result<axum::Json<Page<DnsZone>>> {
    let paging = Paging::<String>::parse("dns", params.limit, params.cursor.as_deref())?;
    let owner = OwnerParams {
        team: params.team,
        platform: params.platform,
    };
    let mut tx = call.begin().await?;
    let team = call.zone_owner(&mut tx, &owner).await?;
    let mut rows = tx.dns_zones(team).await?;
    let after = paging.wanted().after;
    rows.retain(|r| after.as_deref().is_none_or(|after| r.zone.as_str() > after));
    Ok(axum::Json(paging.page(rows, |r| r.zone.to_string(), shown)))
}
