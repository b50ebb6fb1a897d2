//! Names that people bring along: what DNS says of them, what that means, and where each of them stands; and the zones
//! that the platform may change for them.
//!
//! Promises: a name belongs to one team, once it is proven; what a person is told names the record to make.

mod hsts;
mod inspection;
mod look;
mod on_demand;
mod providers;
mod standing;
mod zones;

pub use hsts::{Hsts, HstsStep};
pub use inspection::{Finding, Inspection, Level, Proof, RecordCheck, RecordType};
pub use look::{Answer, Caa, CaaRecord, Dnssec, Look, LookFailure, ResolverAnswer};
pub use on_demand::{BroughtNames, Unfit, Verdict, Word, no_place, question, unfit, verdict};
pub use providers::{PROVIDERS, Provider};
pub use standing::{CertificateFacts, IssuanceFacts, Reason, Standing, State, standing};
pub use zones::{Way, ZoneAccess, challenge_name, delegated_name, for_delegation, way};

use crate::name::DomainName;

/// The name below which a TXT record proves whose a domain is.
const PROOF_LABEL: &str = "_slipway-challenge";

/// So long nobody else gets a name that a team gave up: records that still point here must not give its visitors away.
pub const COOL_DOWN: chrono::TimeDelta = chrono::TimeDelta::days(7);

/// Where the TXT record that proves a domain must be.
pub fn proof_name(host: &DomainName) -> String {
    format!("{PROOF_LABEL}.{}", host.bare())
}

/// What a claim's token makes of that record.
pub fn proof_value(token: &str) -> String {
    format!("slipway-domain-verification={token}")
}
