//! `POST /v1/dns/{zone}/check`: makes a record, asks for it, takes it back.

use std::time::Duration;

use slipway_domain::ports::{TextRecord, ZoneAccount};
use slipway_wire::dns::DnsZoneCheck;

use super::{OwnerParams, existing};
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};

/// Below the zone.
const LABEL: &str = "_slipway-check";
/// The zone's servers may take so long to tell the record.
const PUBLISHED_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Try to change a zone.
#[utoipa::path(post, path = "/v1/dns/{zone}/check", tag = "domains", operation_id = "dns_zone_check",
    params(("zone" = String, Path, description = "Where the zone begins."), OwnerParams,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    responses((status = 200, description = "What came of it.", body = DnsZoneCheck)))]
pub(crate) async fn dns_zone_check(
    call: Call,
    Names(zone): Names<String>,
    Params(params): Params<OwnerParams>,
) -> Result<axum::Json<DnsZoneCheck>> {
    let parsed = existing(&zone)?;
    let mut tx = call.begin().await?;
    let team = call.zone_owner(&mut tx, &params).await?;
    let rows = tx.dns_zones(team).await?;
    // A provider may take long: nothing is held meanwhile.
    drop(tx);
    let row = rows.into_iter().find(|row| row.zone == parsed);
    let row = row.ok_or_else(|| ApiError::not_found("zone", &zone))?;
    let account = row.account(call.state.sealer.as_ref()).map_err(ApiError::Internal)?;
    let checked = attempt(&call, &account).await;
    let mut tx = call.begin().await?;
    tx.note_zone_change(row.id, checked.as_ref().err().map(String::as_str))
        .await?;
    tx.commit().await?;
    let (ok, detail) = match checked {
        Ok(()) => (true, format!("Records can be made in {}.", row.zone)),
        Err(why) => (false, why),
    };
    Ok(axum::Json(DnsZoneCheck { ok, detail }))
}

async fn attempt(call: &Call, account: &ZoneAccount) -> std::result::Result<(), String> {
    let mut value = [0_u8; 16];
    call.state.entropy.fill(&mut value);
    let record = TextRecord {
        name: format!("{LABEL}.{}", account.zone),
        value: hex::encode(value),
    };
    let zones = &call.state.zones;
    zones
        .add(account, &record)
        .await
        .map_err(|why| format!("The record {} cannot be made: {why}.", record.name))?;
    let seen = async {
        while !zones.is_published(account, &record).await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let seen = tokio::time::timeout(PUBLISHED_MAX, seen).await;
    // Taken back whatever was seen.
    zones
        .remove(account, &record)
        .await
        .map_err(|why| format!("The record {} was made and cannot be taken back: {why}.", record.name))?;
    seen.map_err(|_| {
        format!(
            "The record {} was made, but the name servers of {} do not tell it after {} seconds: is the zone served by this provider?",
            record.name,
            account.zone,
            PUBLISHED_MAX.as_secs()
        )
    })
}
