//! `DELETE /v1/dns/{zone}`.

use http::StatusCode;

use super::{OwnerParams, existing};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};

/// Forget how a zone is changed.
#[utoipa::path(delete, path = "/v1/dns/{zone}", tag = "domains", operation_id = "dns_zone_delete",
    params(("zone" = String, Path, description = "Where the zone begins."), OwnerParams),
    responses((status = 204, description = "Forgotten. Certificates that are there go on serving.")))]
pub(crate) async fn dns_zone_delete(
    call: Call,
    Names(zone): Names<String>,
    Params(params): Params<OwnerParams>,
) -> Result<StatusCode> {
    call.demand_whole_team("change DNS credentials")?;
    let parsed = existing(&zone)?;
    let mut tx = call.begin().await?;
    let team = call.zone_owner(&mut tx, &params).await?;
    if !tx.delete_dns_zone(team, &parsed).await? {
        return Err(ApiError::not_found("zone", &zone));
    }
    call.audit(&mut tx, team, "dns.delete", Target::named("dns_zone", &parsed), None)
        .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
