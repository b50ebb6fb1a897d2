//! Answers to a CA in DNS (RFC 8555 section 8.4).
//!
//! Promises: a record is noted before it is made, and taken back when its order is over, also after a crash; the CA is
//! told to look only after every server of the zone that can be asked tells the record.

use std::time::Duration;

use chrono::TimeDelta;
use slipway_domain::domains::{Way, ZoneAccess, challenge_name, way};
use slipway_domain::name::DomainName;
use slipway_domain::ports::{TextRecord, ZoneAccount};
use slipway_store::{AcmeRecord, DnsZone, StoreError};
use tokio::time::Instant;

use crate::certificates::domain_of;
use crate::lead::Lead;
use crate::order::{OrderError, failed};
use crate::{Deps, Names};

/// A zone's servers may take so long to tell what its provider took.
const PUBLISHED_MAX: Duration = Duration::from_mins(2);
const LOOK_FIRST: Duration = Duration::from_millis(200);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// What an order left behind longer ago than that is nobody's any more.
const LEFT_BEHIND: TimeDelta = TimeDelta::hours(1);

/// What a CA wants to read.
#[derive(Debug)]
pub(crate) struct TextAnswer {
    /// For which name, without a wildcard's star.
    pub(crate) host: String,
    /// The digest of the key authorization.
    pub(crate) value: String,
}

/// Makes the records for an order and waits until they are told.
///
/// What was made, or may have been, is in `made` whatever comes of it.
pub(crate) async fn publish(
    deps: &Deps,
    lead: Lead,
    names: &Names,
    answers: &[TextAnswer],
    made: &mut Vec<AcmeRecord>,
) -> Result<(), OrderError> {
    let mut asked = Vec::new();
    for answer in answers {
        asked.push(make(deps, lead, names, answer, made).await?);
    }
    let deadline = Instant::now() + PUBLISHED_MAX;
    let mut pause = LOOK_FIRST;
    for (account, record) in &asked {
        while !deps.zones.is_published(account, record).await {
            if Instant::now() > deadline {
                return Err(failed(
                    "dns_not_published",
                    format!(
                        "The record {} was made, but the name servers of {} do not tell it after two minutes.",
                        record.name, account.zone
                    ),
                    "See whether the zone is served by the provider whose credentials were given.",
                    true,
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
    }
    Ok(())
}

async fn make(
    deps: &Deps,
    lead: Lead,
    names: &Names,
    answer: &TextAnswer,
    made: &mut Vec<AcmeRecord>,
) -> Result<(ZoneAccount, TextRecord), OrderError> {
    let way = find(deps, names, &answer.host).await?;
    let mut tx = deps.store.begin().await?;
    let zone = tx.dns_zone(way.zone.id).await?.ok_or_else(|| needed(&answer.host))?;
    drop(tx);
    let account = zone
        .account(deps.sealer.as_ref())
        .map_err(|why| failed("internal", why, "Set the zone's credentials anew.", true))?;
    let record = TextRecord {
        name: way.name,
        value: answer.value.clone(),
    };
    let noted = AcmeRecord {
        zone: zone.id,
        record: record.clone(),
    };
    let mut tx = lead.begin(&deps.store).await?;
    tx.note_acme_record(&noted, deps.clock.now()).await?;
    tx.commit().await?;
    made.push(noted);
    let done = deps.zones.add(&account, &record).await;
    let mut tx = lead.begin(&deps.store).await?;
    tx.note_zone_change(zone.id, done.as_ref().err().map(String::as_str))
        .await?;
    tx.commit().await?;
    done.map_err(|why| {
        failed(
            "dns_refused",
            format!(
                "The record {} cannot be made in {} ({}): {why}.",
                record.name, zone.zone, zone.provider
            ),
            "See the credentials: `slipway dns check` tries them.",
            true,
        )
    })?;
    Ok((account, record))
}

fn needed(host: &str) -> OrderError {
    failed(
        "dns01_needed",
        format!("The CA wants to be answered in DNS, and this platform may change no zone that {host} is in."),
        "Let it make records there: `slipway dns set ZONE --provider NAME`.",
        true,
    )
}

/// Where an answer is to be made.
async fn find(deps: &Deps, names: &Names, host: &str) -> Result<Way, OrderError> {
    let host: DomainName = host.parse().map_err(|_| needed(host))?;
    let mut tx = deps.store.begin().await?;
    let domain = domain_of(&mut tx, names).await?;
    let (token, zones) = match domain {
        Some(domain) => (domain.token, tx.zones_open_to(domain.team).await?),
        None => (String::new(), platforms(&mut tx).await?),
    };
    drop(tx);
    let alias = deps.zones.alias(&challenge_name(&host)).await;
    way(&host, alias.as_deref(), &token, &zones).ok_or_else(|| needed(host.as_str()))
}

/// The platform's own zones.
pub(crate) async fn platforms(tx: &mut slipway_store::Tx) -> Result<Vec<ZoneAccess>, StoreError> {
    Ok(tx.dns_zones(None).await?.iter().map(DnsZone::access).collect())
}

/// Takes back what orders left behind.
pub(crate) async fn tidy(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    let mut tx = deps.store.begin().await?;
    let records = tx.acme_records_before(deps.clock.now() - LEFT_BEHIND).await?;
    drop(tx);
    withdraw(deps, lead, &records).await
}

/// Takes records back.
pub(crate) async fn withdraw(deps: &Deps, lead: Lead, records: &[AcmeRecord]) -> Result<(), StoreError> {
    for record in records {
        let mut tx = deps.store.begin().await?;
        let zone = tx.dns_zone(record.zone).await?;
        drop(tx);
        let removed = match zone.as_ref().map(|zone| zone.account(deps.sealer.as_ref())) {
            Some(Ok(account)) => deps.zones.remove(&account, &record.record).await,
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        let mut tx = lead.begin(&deps.store).await?;
        match removed {
            Ok(()) => tx.forget_acme_record(record).await?,
            Err(error) => {
                tracing::warn!(
                    record = record.record.name,
                    error,
                    "acme.record_not_taken_back: it is tried again"
                );
                tx.postpone_acme_record(record, deps.clock.now()).await?;
            }
        }
        tx.commit().await?;
    }
    Ok(())
}
