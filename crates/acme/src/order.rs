//! One order, from the first call to the certificate.
//!
//! | what there is | what is done |
//! |---|---|
//! | nothing | the budget is asked, the order is made and kept with the key of the certificate |
//! | an order under way | it is gone on with where it stands |
//! | authorizations that pend | the answers go to the proxies, then the CA is told to look |
//! | the order is ready | the request for the certificate is sent |
//! | the order is valid | the certificate is fetched, checked and put in use |
//! | the order is invalid, or the CA does not know it | it is forgotten, what the CA said is kept |

use std::time::Duration;

use instant_acme::{Account, CertificateIdentifier, Error, Identifier, NewOrder, Order, OrderStatus, Problem};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use slipway_domain::Timestamp;
use slipway_domain::domains::Reason;
use slipway_domain::ports::SealContext;
use slipway_domain::secret::Secret;
use slipway_store::{AcmeRecord, Certificate, ChallengeKind, LedgerKind, OrderRow, StoreError};
use tokio::time::Instant;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::account::CaSettings;
use crate::authority::{Issued, Plan, sealed};
use crate::lead::Lead;
use crate::nonce::{CallError, call};
use crate::renewal::{self, Got, Window};
use crate::{Deps, Names, budget, challenge, dns01};

/// A CA may take so long to look at a name, and to issue.
const VALIDATION_MAX: Duration = Duration::from_mins(3);
const POLL_FIRST: Duration = Duration::from_millis(100);
const POLL_MAX: Duration = Duration::from_secs(5);

/// Why there is no certificate.
#[derive(Debug)]
pub(crate) enum OrderError {
    /// The database is away, or another leads.
    Store(StoreError),
    /// It must wait; nobody failed.
    Wait(Timestamp, Reason),
    /// It failed.
    Failed {
        /// What is told.
        reason: Reason,
        /// Whether the order is still good.
        keeps_order: bool,
        /// Until when the CA says to wait.
        not_before: Option<Timestamp>,
        /// Whether a check of a name failed, which CAs count.
        counts: bool,
    },
}

impl From<StoreError> for OrderError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

pub(crate) fn failed(code: &str, detail: String, hint: &str, keeps_order: bool) -> OrderError {
    OrderError::Failed {
        reason: Reason {
            code: code.into(),
            detail,
            hint: hint.into(),
        },
        keeps_order,
        not_before: None,
        counts: false,
    }
}

/// The CA does not know the account: with the new one it may do.
pub(crate) const ACCOUNT_GONE: &str = "ca_account_gone";

/// What a call that did not work means.
fn told(ca: &CaSettings, error: CallError) -> OrderError {
    let host = ca_host(&ca.directory);
    match error {
        CallError::Away(reason) | CallError::Unreadable(reason) => failed(
            "ca_unavailable",
            format!("The CA {host} cannot be asked: {reason}."),
            "It is tried again by itself.",
            true,
        ),
        CallError::Untimely(reason) => failed(
            "clock_wrong",
            format!(
                "The CA {host} cannot be asked, for its own certificate is not valid by the clock of this machine: {reason}."
            ),
            "Set the clock, best by NTP. If it is right, the CA has let its certificate run out: it is tried again by itself.",
            true,
        ),
        CallError::Refused(problem) => {
            let detail = words(&problem);
            let not_before = problem.detail.as_deref().and_then(budget::told_until);
            let (code, hint, keeps_order) = match kind_of(&problem) {
                Some("rateLimited") => ("ca_rate_limited", "It is tried again when the CA allows it.", true),
                Some("caa") => (
                    "caa_forbids",
                    "Add a CAA record that permits this CA, or remove those there are.",
                    false,
                ),
                Some("dns") => (
                    "ca_dns",
                    "The CA cannot look the name up: see the records that are listed.",
                    false,
                ),
                Some("connection" | "unauthorized" | "incorrectResponse" | "tls") => (
                    "ca_cannot_reach",
                    "Ports 80 and 443 of this platform must be reachable from the internet under this name.",
                    false,
                ),
                Some("rejectedIdentifier") => (
                    "ca_rejects_name",
                    "This CA does not issue for the name. Choose another name or CA.",
                    false,
                ),
                Some("externalAccountRequired") => (
                    "ca_needs_account",
                    "An operator must give the key that the CA handed out: SLIPWAY_ACME_EAB.",
                    false,
                ),
                Some("serverInternal" | "badNonce") => ("ca_unavailable", "It is tried again by itself.", true),
                _ => ("ca_refused", "It is tried again by itself.", false),
            };
            OrderError::Failed {
                reason: Reason {
                    code: code.into(),
                    detail: format!("The CA {host} refused: {detail}"),
                    hint: hint.into(),
                },
                keeps_order,
                not_before,
                counts: false,
            }
        }
    }
}

/// What it means that there is no account: a key that the CA handed out is wrong, or lacks.
fn told_of_account(ca: &CaSettings, error: CallError) -> OrderError {
    let is_about_key = matches!(&error, CallError::Refused(problem)
        if matches!(kind_of(problem), Some("unauthorized" | "malformed" | "externalAccountRequired")));
    match (told(ca, error), is_about_key) {
        (
            OrderError::Failed {
                mut reason,
                keeps_order,
                not_before,
                counts,
            },
            true,
        ) => {
            reason.code = "ca_needs_account".into();
            reason.hint =
                "An operator must give the key that the CA handed out, and no other: SLIPWAY_ACME_EAB.".into();
            OrderError::Failed {
                reason,
                keeps_order,
                not_before,
                counts,
            }
        }
        (other, _) => other,
    }
}

/// What a CA says, in its own words.
fn words(problem: &Problem) -> String {
    let subproblems = problem.subproblems.iter().filter_map(|s| s.detail.clone());
    let all: Vec<String> = problem.detail.clone().into_iter().chain(subproblems).collect();
    match (all.is_empty(), &problem.r#type) {
        (true, Some(kind)) => format!("{kind}."),
        (true, None) => "without a reason.".into(),
        (false, _) => format!("{}.", all.join("; ").trim_end_matches('.')),
    }
}

/// The host of a directory, which people know a CA by.
pub(crate) fn ca_host(directory: &str) -> &str {
    let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// What is ordered.
pub(crate) struct Wish<'a> {
    pub(crate) names: &'a Names,
    /// The certificate it takes the place of.
    pub(crate) replaces: Option<&'a Certificate>,
    /// What was begun before.
    pub(crate) begun: Option<&'a OrderRow>,
    /// How the CA is to check the names.
    pub(crate) challenge: ChallengeKind,
    /// Attempts before this one.
    pub(crate) failures: u32,
}

/// Gets a certificate from one CA and puts it in use.
pub(crate) async fn run(deps: &Deps, lead: Lead, ca: &CaSettings, wish: &Wish<'_>) -> Result<(), OrderError> {
    let _in_use = ca.in_use().await;
    let account = ca.account(deps, lead).await.map_err(|e| told_of_account(ca, e))?;
    let begun = match wish.begun.filter(|row| row.ca == ca.directory) {
        Some(row) => resumed(deps, lead, ca, &account, row).await?,
        None => None,
    };
    let (mut order, key) = match begun {
        Some(begun) => begun,
        None => made(deps, lead, ca, &account, wish).await?,
    };
    let mut made = Vec::new();
    let kept = match finish(deps, lead, ca, (&mut order, &key), wish, &mut made).await {
        Ok(chain_pem) => keep(deps, lead, ca, &account, wish, (chain_pem, &key)).await,
        Err(error) => Err(error),
    };
    // Answered or not, nobody asks any more.
    dns01::withdraw(deps, lead, &made).await?;
    kept
}

/// Makes an order to see whether it succeeds, and lets go of what comes of it.
pub(crate) async fn try_out(deps: &Deps, lead: Lead, ca: &CaSettings, wish: &Wish<'_>) -> Result<(), OrderError> {
    let _in_use = ca.in_use().await;
    let account = ca.account(deps, lead).await.map_err(|e| told(ca, e))?;
    let (mut order, key) = ordered(deps, lead, ca, &account, wish).await?;
    let mut made = Vec::new();
    let issued = finish(deps, lead, ca, (&mut order, &key), wish, &mut made).await;
    dns01::withdraw(deps, lead, &made).await?;
    issued.map(drop)
}

/// Goes on with an order; `None` if it is lost, so that another one is to be made.
async fn resumed(
    deps: &Deps,
    lead: Lead,
    ca: &CaSettings,
    account: &Account,
    row: &OrderRow,
) -> Result<Option<(Order, KeyPair)>, OrderError> {
    let lost = |why: &dyn std::fmt::Display| {
        tracing::warn!(ca = ca.directory, order = row.url, %why, "acme.order_lost: another one is made");
        Ok(None)
    };
    let key = match deps.sealer.open(key_context(&row.url), &row.sealed_key) {
        Ok(pem) => KeyPair::from_pem(pem.expose()),
        Err(error) => return lost(&error),
    };
    let key = match key {
        Ok(key) => key,
        Err(error) => return lost(&error),
    };
    match call!(account.order(row.url.clone())) {
        Ok(order) => Ok(Some((order, key))),
        Err(CallError::Refused(problem)) if is_unknown_account(&problem) => {
            Err(not_made(deps, lead, ca, CallError::Refused(problem)).await?)
        }
        Err(error) if is_passing(&error) => Err(told(ca, error)),
        // The CA forgot it; not every one says so in words.
        Err(error @ (CallError::Refused(_) | CallError::Unreadable(_))) => lost(&error),
        Err(error) => Err(told(ca, error)),
    }
}

const fn key_context(url: &str) -> SealContext<'_> {
    SealContext {
        team: None,
        kind: "acme_order",
        id: url,
    }
}

/// Makes an order, within the budget, and keeps it.
async fn made(
    deps: &Deps,
    lead: Lead,
    ca: &CaSettings,
    account: &Account,
    wish: &Wish<'_>,
) -> Result<(Order, KeyPair), OrderError> {
    let (order, key) = ordered(deps, lead, ca, account, wish).await?;
    let url = order.url().to_owned();
    let sealed_key = deps
        .sealer
        .seal(key_context(&url), &Secret::new(key.serialize_pem()))
        .map_err(|e| {
            failed(
                "internal",
                e.to_string(),
                "An operator must look at the master key.",
                false,
            )
        })?;
    let row = OrderRow {
        ca: ca.directory.clone(),
        url,
        sealed_key,
    };
    let mut tx = lead.begin(&deps.store).await?;
    tx.note_order(wish.names, &row, deps.clock.now()).await?;
    tx.commit().await?;
    Ok((order, key))
}

/// Makes an order, within the budget.
async fn ordered(
    deps: &Deps,
    lead: Lead,
    ca: &CaSettings,
    account: &Account,
    wish: &Wish<'_>,
) -> Result<(Order, KeyPair), OrderError> {
    let replaced = wish.replaces.filter(|c| c.ca.as_deref() == Some(ca.directory.as_str()));
    spend(deps, lead, ca, wish.names, replaced.is_some()).await?;

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| {
        failed(
            "internal",
            format!("No key can be made: {e}."),
            "It is tried again.",
            false,
        )
    })?;
    let identifiers: Vec<Identifier> = wish.names.iter().cloned().map(Identifier::Dns).collect();
    let der = replaced.and_then(|c| CertificateDer::from_pem_slice(c.chain_pem.as_bytes()).ok());
    let id = der.as_ref().and_then(|der| CertificateIdentifier::try_from(der).ok());
    if let Some(id) = id {
        match call!(replacing(ca, account, &identifiers, id.clone())) {
            Ok(Some(order)) => return Ok((order, key)),
            Ok(None) => {}
            Err(error) if is_about_replacing(&error) => {}
            Err(error) => return Err(not_made(deps, lead, ca, error).await?),
        }
        // Then it is an order like any other, and counts as one.
        spend(deps, lead, ca, wish.names, false).await?;
    }
    match call!(account.new_order(&new_order(ca, account, &identifiers))) {
        Ok(order) => Ok((order, key)),
        Err(error) => Err(not_made(deps, lead, ca, error).await?),
    }
}

/// What it means that no order was made.
async fn not_made(deps: &Deps, lead: Lead, ca: &CaSettings, error: CallError) -> Result<OrderError, StoreError> {
    if !matches!(&error, CallError::Refused(problem) if is_unknown_account(problem)) {
        return Ok(told(ca, error));
    }
    ca.disown(deps, lead).await?;
    let host = ca_host(&ca.directory);
    Ok(failed(
        ACCOUNT_GONE,
        format!("The CA {host} does not know this platform's account any more."),
        "A new account is made, and it is tried again by itself.",
        false,
    ))
}

/// Writes an order into the ledger, unless the budget is used up.
async fn spend(deps: &Deps, lead: Lead, ca: &CaSettings, names: &Names, is_renewal: bool) -> Result<(), OrderError> {
    let now = deps.clock.now();
    let mut tx = lead.begin(&deps.store).await?;
    tx.lock_ledger(&ca.directory).await?;
    if let Some(until) = budget::wait_until(&mut tx, &ca.directory, names, is_renewal, now).await? {
        let reason = Reason {
            code: "ca_budget".into(),
            detail: format!(
                "No more orders for this name are made at the CA {} until {}: CAs allow a few within a time only.",
                ca_host(&ca.directory),
                until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            ),
            hint: "It is ordered then by itself.".into(),
        };
        return Err(OrderError::Wait(until, reason));
    }
    tx.prune_ledger(now - budget::REMEMBERED).await?;
    // Before the call: what is counted twice does less harm than what is not counted.
    for kind in [LedgerKind::Order, LedgerKind::Certificate, LedgerKind::Duplicate] {
        if kind == LedgerKind::Certificate && is_renewal {
            continue;
        }
        for subject in budget::subjects(kind, names) {
            tx.enter_ledger(&ca.directory, kind, &subject, now).await?;
        }
    }
    Ok(tx.commit().await?)
}

fn is_unknown_account(problem: &Problem) -> bool {
    kind_of(problem) == Some("accountDoesNotExist")
}

/// Whether a CA would say something else later.
fn is_passing(error: &CallError) -> bool {
    matches!(error, CallError::Refused(problem)
        if matches!(kind_of(problem), Some("rateLimited" | "serverInternal" | "badNonce")))
}

/// Whether a refusal may be for what is to be replaced, and not for the order: it was replaced already, say.
fn is_about_replacing(error: &CallError) -> bool {
    let CallError::Refused(problem) = error else {
        return false;
    };
    !is_passing(error) && !matches!(kind_of(problem), Some("accountDoesNotExist" | "userActionRequired"))
}

/// The last word of a problem's type (RFC 8555 section 6.7).
pub(crate) fn kind_of(problem: &Problem) -> Option<&str> {
    problem.r#type.as_deref()?.rsplit(':').next()
}

/// An order of the kind that is wanted, where the CA knows of kinds.
fn new_order<'a>(ca: &'a CaSettings, account: &Account, identifiers: &'a [Identifier]) -> NewOrder<'a> {
    let new = NewOrder::new(identifiers);
    let wanted = ca.profile.as_deref();
    match wanted.filter(|wanted| account.profiles().any(|offered| offered.name == *wanted)) {
        Some(profile) => new.profile(profile),
        None => new,
    }
}

/// An order that says what it replaces (RFC 9773 section 5); `None` from a CA that knows no such thing.
async fn replacing(
    ca: &CaSettings,
    account: &Account,
    identifiers: &[Identifier],
    id: CertificateIdentifier<'_>,
) -> Result<Option<Order>, Error> {
    match account
        .new_order(&new_order(ca, account, identifiers).replaces(id))
        .await
    {
        Ok(order) => Ok(Some(order)),
        Err(Error::Unsupported(_)) => Ok(None),
        // It has windows for renewals, and does not say in the order that it took note of what is replaced.
        Err(Error::Other(error)) if error.to_string().starts_with("replaces field mismatch") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has the CA check the names: answers where it looks, tells it to, and waits until it has.
async fn validate(
    deps: &Deps,
    lead: Lead,
    ca: &CaSettings,
    order: &mut Order,
    wish: &Wish<'_>,
    made: &mut Vec<AcmeRecord>,
) -> Result<(), OrderError> {
    let told = |e| told(ca, e);
    let answers = challenge::answers(order, wish.challenge).await.map_err(told)?;
    let checked = async {
        dns01::publish(deps, lead, wish.names, &answers.texts, made).await?;
        if !answers.proxies.is_empty() && !challenge::publish(deps, lead, &answers.proxies).await? {
            return Err(failed(
                "proxy_away",
                "No proxy has the answer for the CA: it is down, or cut off from the control plane.".into(),
                "Start the proxy; the order is gone on with by itself.",
                true,
            ));
        }
        challenge::ready(order, wish.challenge).await.map_err(told)?;
        poll(order, ca, &[OrderStatus::Pending]).await
    };
    let checked = checked.await;
    let mut tx = lead.begin(&deps.store).await?;
    tx.delete_challenges(&answers.proxies).await?;
    tx.commit().await?;
    checked
}

/// Brings an order to its certificate.
async fn finish(
    deps: &Deps,
    lead: Lead,
    ca: &CaSettings,
    (order, key): (&mut Order, &KeyPair),
    wish: &Wish<'_>,
    made: &mut Vec<AcmeRecord>,
) -> Result<String, OrderError> {
    let told = |e| told(ca, e);
    if order.state().status == OrderStatus::Pending {
        validate(deps, lead, ca, order, wish, made).await?;
    }
    if order.state().status == OrderStatus::Invalid {
        return Err(invalid(order, ca, wish.challenge).await);
    }
    if order.state().status == OrderStatus::Ready {
        let csr = request(wish.names, key).map_err(|e| {
            failed(
                "internal",
                format!("No request can be made: {e}."),
                "It is tried again.",
                false,
            )
        })?;
        call!(order.finalize_csr(&csr)).map_err(told)?;
        poll(order, ca, &[OrderStatus::Processing, OrderStatus::Ready]).await?;
    }
    if order.state().status == OrderStatus::Invalid {
        return Err(invalid(order, ca, wish.challenge).await);
    }
    let chain = call!(order.certificate()).map_err(told)?;
    chain.ok_or_else(|| {
        failed(
            "ca_unavailable",
            "The CA has no certificate yet.".into(),
            "It is asked again.",
            true,
        )
    })
}

fn request(names: &Names, key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(names.clone())?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// Asks until the order is in none of these states any more.
async fn poll(order: &mut Order, ca: &CaSettings, during: &[OrderStatus]) -> Result<(), OrderError> {
    let deadline = Instant::now() + VALIDATION_MAX;
    let mut pause = POLL_FIRST;
    loop {
        call!(async { order.refresh().await.map(drop) }).map_err(|e| told(ca, e))?;
        if !during.contains(&order.state().status) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let detail = format!(
                "The CA {} has not decided within three minutes.",
                ca_host(&ca.directory)
            );
            return Err(failed("ca_slow", detail, "The order is gone on with by itself.", true));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}

async fn invalid(order: &mut Order, ca: &CaSettings, wish: ChallengeKind) -> OrderError {
    let problem = order.state().error.clone();
    let found = challenge::verdict(order).await;
    let detail = found.or_else(|| problem.as_ref().map(words));
    let detail = detail.unwrap_or_else(|| "it gives no reason".into());
    OrderError::Failed {
        reason: Reason {
            code: if wish == ChallengeKind::Dns01 { "ca_dns" } else { "ca_cannot_reach" }.into(),
            detail: format!("The CA {} looked and found: {}.", ca_host(&ca.directory), detail.trim_end_matches('.')),
            hint: if wish == ChallengeKind::Dns01 {
                "The zone's name servers must tell the record everywhere: see the registrar's page. It is tried again by itself."
            } else {
                "The name must lead here from everywhere, and ports 80 and 443 of this platform must be reachable from the internet: one of them is tried after the other."
            }
            .into(),
        },
        keeps_order: false,
        not_before: None,
        counts: true,
    }
}

/// Puts a certificate in use, with the time of its renewal.
async fn keep(
    deps: &Deps,
    lead: Lead,
    ca: &CaSettings,
    account: &Account,
    wish: &Wish<'_>,
    (chain_pem, key): (String, &KeyPair),
) -> Result<(), OrderError> {
    let now = deps.clock.now();
    let issued = read(ca, chain_pem, key, wish.names)?;
    deps.doubt.issued(now, issued.not_before);
    let window = window(account, &issued.chain_pem).await;
    let (renew_at, ari_at) = window.map_or_else(
        || {
            let by_life = renewal::by_life(issued.not_before, issued.not_after, deps.entropy.as_ref());
            (by_life, None)
        },
        |window| {
            let got = Got {
                at: now,
                life: issued.not_after - issued.not_before,
            };
            window.plan(None, got, now, deps.entropy.as_ref())
        },
    );
    let plan = Plan {
        ca: Some(&ca.directory),
        renew_at,
        ari_at,
        failures: wish.failures,
    };
    let not_after = issued.not_after;
    let certificate = sealed(
        issued,
        wish.names.clone(),
        plan,
        deps.sealer.as_ref(),
        (now, deps.entropy.as_ref()),
    )
    .map_err(|e| {
        failed(
            "internal",
            e.to_string(),
            "An operator must look at the master key.",
            true,
        )
    })?;
    let mut tx = lead.begin(&deps.store).await?;
    tx.insert_certificate(&certificate).await?;
    tx.forget_issuance(wish.names).await?;
    tx.commit().await?;
    tracing::info!(certificate = %certificate.id, names = ?wish.names, ca = ca.directory, %not_after, "certificate.issued");
    Ok(())
}

/// Checks that a chain is what was ordered.
fn read(ca: &CaSettings, chain_pem: String, key: &KeyPair, names: &Names) -> Result<Issued, OrderError> {
    let wrong = |why: String| {
        let detail = format!(
            "The CA {} issued something else than was ordered: {why}.",
            ca_host(&ca.directory)
        );
        failed("ca_wrong_certificate", detail, "A new order is made.", false)
    };
    let der = CertificateDer::from_pem_slice(chain_pem.as_bytes()).map_err(|e| wrong(e.to_string()))?;
    let (_, leaf) = x509_parser::parse_x509_certificate(&der).map_err(|e| wrong(e.to_string()))?;
    if leaf.public_key().raw != key.subject_public_key_info() {
        return Err(wrong("it is for another key".into()));
    }
    let san = leaf.subject_alternative_name().ok().flatten();
    let has = |name: &String| {
        let called = |n: &GeneralName<'_>| matches!(n, GeneralName::DNSName(dns) if dns.eq_ignore_ascii_case(name));
        san.as_ref()
            .is_some_and(|san| san.value.general_names.iter().any(called))
    };
    if let Some(missing) = names.iter().find(|name| !has(name)) {
        return Err(wrong(format!("{missing} is not in it")));
    }
    let (not_before, not_after) = (time_of(leaf.validity().not_before), time_of(leaf.validity().not_after));
    let issuer = issuer_of(&leaf);
    Ok(Issued {
        key_pem: key.serialize_pem(),
        not_before,
        not_after,
        issuer,
        chain_pem,
    })
}

pub(crate) fn time_of(time: x509_parser::time::ASN1Time) -> Timestamp {
    Timestamp::from_timestamp(time.timestamp(), 0).unwrap_or_default()
}

/// Who issued a certificate, as people know them.
pub(crate) fn issuer_of(leaf: &X509Certificate<'_>) -> String {
    let issuer = leaf.issuer();
    let part = |mut parts: Box<dyn Iterator<Item = &str> + '_>| parts.next().map(str::to_owned);
    let organization = part(Box::new(issuer.iter_organization().filter_map(|a| a.as_str().ok())));
    let common_name = part(Box::new(issuer.iter_common_name().filter_map(|a| a.as_str().ok())));
    let parts = [organization, common_name].into_iter().flatten();
    parts.collect::<Vec<_>>().join(" ")
}

/// When the CA suggests to replace a certificate; `None` where it has no opinion.
pub(crate) async fn window(account: &Account, chain_pem: &str) -> Option<Window> {
    let der = CertificateDer::from_pem_slice(chain_pem.as_bytes()).ok()?;
    let id = CertificateIdentifier::try_from(&der).ok()?;
    let (info, again) = call!(account.renewal_info(&id)).ok()?;
    let time = |t: time::OffsetDateTime| Timestamp::from_timestamp(t.unix_timestamp(), 0).unwrap_or_default();
    Some(Window {
        start: time(info.suggested_window.start),
        end: time(info.suggested_window.end),
        again: chrono::TimeDelta::from_std(again).unwrap_or(renewal::ARI_MAX),
    })
}
