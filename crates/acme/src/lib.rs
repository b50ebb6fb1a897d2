//! Domains and their certificates: looked at, proven, ordered, renewed.
//!
//! Promises: one process leads, and one that has lost the lead writes nothing; nothing is ordered while it cannot
//! succeed, nor beyond what the CA allows; an order that is under way is gone on with after a crash; the certificate
//! that serves goes on serving until there is a new one. This is the only crate that knows an ACME library.

mod account;
mod authority;
mod budget;
mod certificates;
mod challenge;
mod dns01;
mod doubt;
mod hsts;
mod lead;
mod looks;
mod nonce;
mod order;
mod queue;
mod renewal;
mod requests;
#[cfg(test)]
mod simulation;
mod upkeep;
mod upload;
mod wanted;
mod warn;
mod windows;

use std::sync::Arc;

use slipway_domain::Clock;
use slipway_domain::Entropy;
use slipway_domain::ports::{DomainInspector, Sealer, ZoneEditor};
use slipway_store::Store;
use uuid::Uuid;

pub use account::{CaSettings, ExternalAccount};
pub use authority::{Issued, LocalAuthority, LocalError, LocalIssue};
pub use doubt::ClockDoubt;
pub use lead::run;
pub use upload::UploadChecker;
pub use wanted::Platform;

/// What it works with.
#[derive(Clone)]
pub struct Deps {
    /// The database.
    pub store: Store,
    /// Seals keys.
    pub sealer: Arc<dyn Sealer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Asks DNS.
    pub inspector: Arc<dyn DomainInspector>,
    /// Changes zones.
    pub zones: Arc<dyn ZoneEditor>,
    /// Issues for names that only this machine or this network resolves.
    pub local: Arc<dyn LocalAuthority>,
    /// Where certificates are ordered, the first choice first.
    pub cas: Vec<CaSettings>,
    /// The platform's own names.
    pub platform: Platform,
    /// Whether the clock can be believed.
    pub doubt: Arc<ClockDoubt>,
    /// Under which name it leads.
    pub holder: Uuid,
}

/// The names of a certificate as the database keeps them.
type Names = Vec<String>;
