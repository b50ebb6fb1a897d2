//! What browsers are told to remember: who may ask for what, and what must be asked twice.

use slipway_domain::Timestamp;
use slipway_domain::domains::{Hsts, HstsStep};
use slipway_store::CustomDomain;
use slipway_wire::Code;
use slipway_wire::domains::HstsChange;

use crate::error::{ApiError, Result};

/// What is told from now on.
pub(super) fn changed(row: &CustomDomain, change: &HstsChange, now: Timestamp) -> Result<Hsts> {
    let given =
        |member: &str, detail: String| ApiError::member(Code::InvalidBody, format!("/hsts/{member}").as_str(), detail);
    if !change.enabled {
        if change.include_subdomains || change.preload {
            let detail = "Nothing can be included in what is switched off.".to_owned();
            return Err(given("enabled", detail));
        }
        return Ok(row.hsts.off(now));
    }
    let certificate = row.certificate.as_ref().filter(|c| c.not_after > now);
    if certificate.is_none() {
        let detail = format!(
            "{} has no certificate yet: browsers that insist on HTTPS would not get in. Ask again when it is active.",
            row.host
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    if change.preload {
        preload(row, change).map_err(|detail| given("preload", detail))?;
    }
    confirmed(row, change)?;
    Ok(Hsts {
        step: Some(row.hsts.step.unwrap_or(HstsStep::FiveMinutes)),
        since: row.hsts.step.and(row.hsts.since).or(Some(now)),
        include_subdomains: change.include_subdomains,
        preload: change.preload,
        remembered_until: row.hsts.remembered_until,
    })
}

/// What browsers' makers ask for (<https://hstspreload.org>).
fn preload(row: &CustomDomain, change: &HstsChange) -> std::result::Result<(), String> {
    let host = row.host.host();
    if host
        .as_ref()
        .is_none_or(|host| host.registered() != Some(host.as_str()))
    {
        return Err("Browsers take the registered domain only, such as `example.com`.".into());
    }
    if !change.include_subdomains {
        return Err("Browsers take it with `include_subdomains` only.".into());
    }
    if row.hsts.step != Some(HstsStep::Year) {
        return Err("Browsers take it with a `max-age` of a year only: ask again when that step is reached.".into());
    }
    Ok(())
}

/// What cannot be taken back quickly is asked twice.
fn confirmed(row: &CustomDomain, change: &HstsChange) -> Result<()> {
    let more_names = change.include_subdomains && !row.hsts.include_subdomains;
    let built_in = change.preload && !row.hsts.preload;
    if !more_names && !built_in || change.confirm.as_deref() == Some(row.host.as_str()) {
        return Ok(());
    }
    let host = row.host.bare();
    let again = match &change.confirm {
        Some(given) => format!(
            "`{given}` is not its name. Repeat with `{}` as confirmation (`--confirm`)",
            row.host
        ),
        None => format!("Repeat with `{}` as confirmation (`--confirm`)", row.host),
    };
    let detail = if built_in {
        format!(
            "With `preload` {host} and every name below it can be built into browsers once it is handed in at hstspreload.org; to get it out again takes months. {again}."
        )
    } else {
        format!(
            "With `include_subdomains` browsers refuse every name below {host} that does not answer with a valid certificate, also those that are not on this platform. {again}."
        )
    };
    Err(ApiError::Refused(Code::ConfirmationRequired, detail))
}
