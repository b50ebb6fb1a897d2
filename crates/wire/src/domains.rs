//! Names that people bring along, the records to make, and their certificates.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use slipway_domain::name::EnvironmentName;
use utoipa::ToSchema;

/// A domain to add.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDomain {
    /// The name, such as `shop.example.com`; upper case, a final dot and letters beyond ASCII are understood.
    pub host: String,
    /// Where it leads; `production` if not given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
    /// Another name of the same environment that visitors are sent on to.
    #[serde(default)]
    pub redirect_to: Option<String>,
}

/// What is to change of a domain; what is left out stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainChange {
    /// The name that visitors are sent on to; `null` for none: the app answers here itself.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub redirect_to: Option<Option<String>>,
    /// What browsers are told to remember.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub hsts: Option<HstsChange>,
}

/// Whatever is given, `null` too, is more than nothing.
fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Whether browsers are told to come by HTTPS only (Strict-Transport-Security, RFC 6797).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HstsChange {
    /// Told for five minutes at first, then longer and longer as certificates are renewed without trouble; or taken back.
    pub enabled: bool,
    /// The same for every name below, also those that are elsewhere.
    #[serde(default)]
    pub include_subdomains: bool,
    /// Let browsers have it built in.
    #[serde(default)]
    pub preload: bool,
    /// The name once more: `include_subdomains` and `preload` cannot be taken back quickly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub confirm: Option<String>,
}

/// What browsers are told to remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainHsts {
    /// The header that is sent now; `null` if none is.
    pub header: Option<String>,
    /// For how long browsers are told to remember, in seconds; 0 while it is off.
    pub max_age_seconds: u32,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// What it will be at the next step, in seconds; `null` if there is none.
    pub next_max_age_seconds: Option<u32>,
    /// Not before that, and only after the certificate was renewed without a failure.
    pub next_not_before: Option<DateTime<Utc>>,
    /// Until when a browser that does not come by again may still insist on HTTPS.
    pub remembered_until: Option<DateTime<Utc>>,
    /// Whether the same holds for every name below.
    pub include_subdomains: bool,
    /// Whether browsers may have it built in.
    pub preload: bool,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    /// Where visitors find it; null for a wildcard.
    #[schema(required)]
    pub url: Option<String>,
    /// The name.
    pub host: String,
    /// Its app.
    pub app: String,
    /// The environment that it leads to.
    pub environment: String,
    /// The name that visitors are sent on to.
    pub redirect_to: Option<String>,
    /// What browsers are told to remember.
    pub hsts: DomainHsts,
    /// Whether visitors must show a certificate.
    pub client_ca: bool,
    /// Where it stands.
    pub state: DomainState,
    /// Why it is not `active`, or why it will not stay so.
    pub reason: Option<DomainReason>,
    /// The records to make.
    pub records: Vec<DomainRecord>,
    /// What else is to be known.
    pub warnings: Vec<DomainReason>,
    /// How it was proven to be the team's: `txt`, `routed`, `local`; `null` while it is not.
    pub proof: Option<String>,
    /// What DNSSEC says: `secure`, `insecure`, `bogus` or `unknown`.
    pub dnssec: Option<String>,
    /// How long what DNS says now may be remembered, in seconds.
    pub ttl_seconds: Option<u32>,
    /// Its certificate, and when one is tried for next.
    pub certificate: Option<DomainCertificate>,
    /// When DNS was asked last.
    pub checked_at: Option<DateTime<Utc>>,
    /// When it is asked next.
    pub next_check_at: DateTime<Utc>,
    /// Whether a visitor brought it along: it goes again by itself once it leads elsewhere.
    pub on_demand: bool,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
}

/// A certificate to put in use.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCertificate {
    /// The site's own certificate first, then those that vouch for it; PEM.
    pub chain: String,
    /// Its private key, not encrypted; PEM.
    #[schema(format = Password)]
    pub key: String,
}

impl std::fmt::Debug for NewCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewCertificate {{ chain: {:?}, key: **** }}", self.chain)
    }
}

/// Why a certificate is to hold no more.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Why.
    #[serde(default)]
    pub reason: RevocationReason,
    /// Tell the CA at once, not only when there is another certificate: until then browsers may refuse the site.
    #[serde(default)]
    pub immediately: bool,
}

/// Why a certificate is to hold no more (RFC 5280 section 5.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// No reason is given.
    #[default]
    Unspecified,
    /// Somebody else may have its key.
    KeyCompromise,
    /// Another one takes its place.
    Superseded,
    /// Nothing is served there any more.
    CessationOfOperation,
}

impl RevocationReason {
    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }
}

/// Who must vouch for visitors.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCa {
    /// The certificates of CAs, PEM.
    pub certificates: String,
}

/// Where a domain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DomainState {
    /// It is not proven, or its records are not as they must be.
    PendingDns,
    /// Its first certificate is on its way.
    Issuing,
    /// It is served with a certificate.
    Active,
    /// It was not given a certificate, or has one and will lose it or its visitors unless something is done.
    Failing,
}

/// An order that was only to show whether it would succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainTrial {
    /// `running`, `succeeded` or `failed`.
    pub state: TrialState,
    /// The staging directory that was asked.
    pub ca: String,
    /// When it was asked for.
    pub asked_at: DateTime<Utc>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it failed.
    pub reason: Option<DomainReason>,
}

/// How a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// It is under way.
    Running,
    /// A real order would succeed.
    Succeeded,
    /// A real order would fail.
    Failed,
}

/// Why something is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainReason {
    /// A stable word.
    pub code: String,
    /// What is so, in a sentence.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

/// A DNS record to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainRecord {
    /// `A`, `AAAA`, `CNAME` or `TXT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name in full.
    pub name: String,
    /// What it must say; empty where what is there must be removed.
    pub value: String,
    /// What is there now.
    pub found: Vec<String>,
    /// Whether that will do.
    pub ok: bool,
    /// Records of one group belong together, and one group that leads here is enough: `addresses`, `alias`, `proof`.
    pub group: String,
    /// Whether the domain can do without it.
    pub optional: bool,
}

/// The certificate of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainCertificate {
    /// Who issued it; `null` while there is none.
    pub issuer: Option<String>,
    /// Whether it was brought along: then nothing renews it.
    pub uploaded: bool,
    /// Until when it is valid.
    pub not_after: Option<DateTime<Utc>>,
    /// When the next attempt to get one is made, where the last one failed or had to wait.
    pub next_try: Option<DateTime<Utc>>,
    /// Attempts in a row that failed.
    pub failures: u32,
}
