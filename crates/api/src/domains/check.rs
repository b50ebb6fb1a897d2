//! `/v1/apps/{app}/domains/{host}/check`: what DNS says now. `GET` tells it and changes nothing; `POST` has the platform
//! act on it without waiting for its own next look.

use chrono::TimeDelta;
use http::StatusCode;
use slipway_wire::domains::Domain;

use super::DomainParams;
use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};

/// Who asks again and again does not use up what a CA allows: an attempt that failed sooner is not repeated for it.
const TRIED_AGO: TimeDelta = TimeDelta::minutes(10);

/// Ask DNS about a domain now.
#[utoipa::path(get, path = "/v1/apps/{app}/domains/{host}/check", tag = "domains", operation_id = "domain_check",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name."), DomainParams),
    responses((status = 200, description = "The domain, by what DNS says now.", body = Domain)))]
pub(crate) async fn domain_check(
    call: Call,
    Names((app, host)): Names<(String, String)>,
    Params(params): Params<DomainParams>,
) -> Result<axum::Json<Domain>> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.domain_of(&mut tx, &app, &host, &params).await?;
    let others = tx.other_teams(row.team, &row.host).await?;
    let zones = tx.zones_open_to(row.team).await?;
    // DNS may take seconds: nothing is held meanwhile.
    drop(tx);
    let claim = row.claim(&others, zones, call.now());
    let inspection = call.state.inspector.inspect(claim).await;
    Ok(axum::Json(call.domain_shown(row, Some(&inspection))))
}

/// Have the platform look at a domain now, and act on what it finds.
#[utoipa::path(post, path = "/v1/apps/{app}/domains/{host}/check", tag = "domains", operation_id = "domain_recheck",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    responses((status = 202, description = "It is looked at within a moment.", body = Domain)))]
pub(crate) async fn domain_recheck(
    call: Call,
    Names((app, host)): Names<(String, String)>,
) -> Result<(StatusCode, axum::Json<Domain>)> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.domain(&mut tx, &app, &host).await?;
    let now = call.now();
    tx.look_soon(row.id, now).await?;
    tx.try_soon(&[row.host.to_string()], now - TRIED_AGO, now).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, axum::Json(call.domain_kept(row))))
}
