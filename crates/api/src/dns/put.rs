//! `PUT /v1/dns/{zone}`: stores how a zone is changed, sealed.

use serde_json::json;
use slipway_domain::domains::{PROVIDERS, Provider};
use slipway_domain::ids::ZoneId;
use slipway_domain::name::HostName;
use slipway_domain::ports::ZoneAccount;
use slipway_domain::secret::Secret;
use slipway_wire::dns::{DnsZone, NewDnsZone};
use slipway_wire::{Code, Problem};

use super::{OwnerParams, shown};
use crate::audit::Target;
use crate::call::Call;
use crate::domains::spelled;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names, Params};

const SETTING_BYTES_MAX: usize = 16 << 10;
const ZONES_MAX: usize = 100;

/// Store how a zone is changed.
#[utoipa::path(put, path = "/v1/dns/{zone}", tag = "domains", operation_id = "dns_zone_put",
    params(("zone" = String, Path, description = "Where the zone begins, such as `example.com`."), OwnerParams),
    request_body = NewDnsZone,
    responses((status = 200, description = "Stored.", body = DnsZone),
        (status = 409, description = "Another zone is for delegation already.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn dns_zone_put(
    call: Call,
    Names(zone): Names<String>,
    Params(params): Params<OwnerParams>,
    Json(body): Json<NewDnsZone>,
) -> Result<axum::Json<DnsZone>> {
    call.demand_whole_team("change DNS credentials")?;
    let zone = spelled(&zone, "/zone")?
        .host()
        .ok_or_else(|| ApiError::member(Code::InvalidName, "/zone", "Give the zone itself, without `*.`."))?;
    let provider = provider(&body)?;
    if provider.has_own_address {
        call.demand_admin(&format!(
            "have the platform call an address for the provider {}",
            provider.name
        ))?;
    }
    if body.delegation && !params.platform {
        let detail = "Teams can be let into a zone of the platform's only: with `platform=true`.";
        return Err(ApiError::member(Code::InvalidBody, "/delegation", detail));
    }
    check(&call, &zone, &body)?;

    let mut tx = call.begin().await?;
    let team = call.zone_owner(&mut tx, &params).await?;
    let others = tx.dns_zones(team).await?;
    if others.len() >= ZONES_MAX && !others.iter().any(|z| z.zone == zone) {
        let detail = format!("There are {ZONES_MAX} zones already. Remove one first.");
        return Err(ApiError::Refused(Code::InvalidBody, detail));
    }
    let delegated = others.iter().find(|z| z.for_delegation && z.zone != zone);
    if let Some(other) = delegated.filter(|_| body.delegation) {
        let detail = format!("{} is for that already: teams are told one zone.", other.zone);
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    let text = serde_json::to_string(&body.settings).map_err(|e| ApiError::Internal(e.to_string()))?;
    let sealed_settings = call
        .state
        .sealer
        .seal(slipway_store::DnsZone::seal_context(team, &zone), &Secret::new(text))?;
    let row = slipway_store::DnsZone {
        id: ZoneId::mint(call.now(), call.state.entropy.as_ref()),
        zone,
        team,
        provider: provider.name.to_owned(),
        sealed_settings,
        settings: body.settings.into_keys().collect(),
        for_delegation: body.delegation,
        error: None,
        updated_at: call.now(),
        updated_by: call.caller.name.to_string(),
    };
    tx.put_dns_zone(&row).await?;
    let change = json!({"provider": row.provider, "settings": row.settings, "delegation": row.for_delegation});
    call.audit(
        &mut tx,
        team,
        "dns.set",
        Target::named("dns_zone", &row.zone),
        Some(change),
    )
    .await?;
    tx.commit().await?;
    Ok(axum::Json(shown(row)))
}

/// Who keeps it, if all that one wants to know is there and nothing else.
fn provider(body: &NewDnsZone) -> Result<&'static Provider> {
    let wrong = |pointer: &str, detail: String| ApiError::member(Code::InvalidBody, pointer, detail);
    let provider = Provider::named(&body.provider).ok_or_else(|| {
        let names: Vec<&str> = PROVIDERS.iter().map(|p| p.name).collect();
        wrong("/provider", format!("Give one of {}.", names.join(", ")))
    })?;
    let list = |keys: &[&str]| keys.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = body.settings.keys().find(|key| !provider.knows(key)) {
        let known = [provider.required, provider.optional].concat();
        let detail = if known.is_empty() {
            format!(
                "The provider {} has no setting `{unknown}`: it wants to know nothing.",
                provider.name
            )
        } else {
            format!(
                "The provider {} has no setting `{unknown}`: it knows {}.",
                provider.name,
                list(&known)
            )
        };
        return Err(wrong(&format!("/settings/{unknown}"), detail));
    }
    let missing: Vec<&str> = provider
        .required
        .iter()
        .copied()
        .filter(|k| !body.settings.contains_key(*k))
        .collect();
    if !missing.is_empty() {
        let detail = format!("The provider {} also needs {}.", provider.name, list(&missing));
        return Err(wrong("/settings", detail));
    }
    for (key, value) in &body.settings {
        if value.trim().is_empty() || value.len() > SETTING_BYTES_MAX || value.contains('\0') {
            let detail = format!("Give 1 to {SETTING_BYTES_MAX} bytes without NUL.");
            return Err(wrong(&format!("/settings/{key}"), detail));
        }
    }
    Ok(provider)
}

/// Whether the provider's client makes sense of it.
fn check(call: &Call, zone: &HostName, body: &NewDnsZone) -> Result<()> {
    let settings = body.settings.iter();
    let account = ZoneAccount {
        zone: zone.clone(),
        provider: body.provider.clone(),
        settings: settings.map(|(k, v)| (k.clone(), Secret::new(v.clone()))).collect(),
    };
    call.state.zones.check(&account).map_err(|why| {
        ApiError::member(
            Code::InvalidBody,
            "/settings",
            format!("The provider {}: {why}.", body.provider),
        )
    })
}
