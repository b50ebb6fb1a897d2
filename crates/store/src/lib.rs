//! All SQL of Slipway.
//!
//! Promises: a [`Tx`] is a transaction: hold one or do not touch the database; `commit` consumes it, dropping it rolls
//! back. Statements are checked against the migrated schema when this crate is built. A row that does not parse is
//! an error that names table, column and id. Status-side writes are fenced by the scheduler's lease.

mod alerts;
mod apps;
mod audit;
mod backups;
mod bounded;
mod certificates;
mod custom_domains;
mod databases;
mod deployments;
mod domains;
mod environments;
mod error;
mod events;
mod idempotency;
mod intents;
mod issuances;
mod jobs;
mod leases;
mod listen;
mod on_demand;
mod page;
mod platform;
mod pool;
mod proxies;
mod registries;
mod releases;
mod restores;
mod routes;
mod row;
mod runs;
mod secrets;
mod status;
mod store;
mod teams;
mod tokens;
mod trials;
mod volumes;
mod wakes;
mod world;
mod zones;

pub use alerts::AlertFilter;
pub use apps::{App, AppSummary, EnvironmentSummary};
pub use audit::{AuditEntry, AuditFilter, AuditOutcome, AuditRow};
pub use backups::{Backup, LogObject, LogSpan, StreamStatus};
pub use certificates::{
    Certificate, CertificateOwner, CertificateRow, DueCertificate, OwnEnding, OwnNames, Revocation,
};
pub use custom_domains::{CustomDomain, DomainCertificate, DomainFilter, HstsCandidate, NewCustomDomain, OtherTeams};
pub use databases::{Attachment, Database, DatabaseFacts, DatabaseStatus};
pub use deployments::{Deployment, NewDeployment};
pub use environments::{Desired, Environment};
pub use error::{Constraint, StoreError};
pub use events::Event;
pub use idempotency::{Idempotent, StoredAnswer};
pub use intents::Intent;
pub use issuances::{AcmeAccount, Challenge, ChallengeKind, Issuance, LedgerKind, OrderRow};
pub use jobs::{Job, JobOutcome, NewJob};
pub use listen::{Hint, Hints};
pub use page::Page;
pub use proxies::ProxyRow;
pub use registries::Registry;
pub use restores::Restore;
pub use routes::{NamePolicyRow, RouteRow, SnapshotRows};
pub use runs::{CronEnvironment, Run, RunEnd, RunsWanted};
pub use secrets::{SealedSecret, SecretInfo};
pub use status::{Condition, EnvironmentStatus, InstanceRecord, LastExit};
pub use store::{SchemaState, Store, StoreOptions, Tx};
pub use teams::Team;
pub use tokens::TokenRow;
pub use trials::{DueTrial, Trial};
pub use volumes::Volume;
pub use world::EnvironmentWorld;
pub use zones::{AcmeRecord, DnsZone};
