//! Backups of managed databases: the log as it is written, and copies of the whole from time to time.
//!
//! Promises: one process leads, and one that has lost the lead writes nothing down; success is said only after reading
//! back; a server is told to forget a piece of its log only when that piece is stored; a hole in the log is never
//! passed over: what comes after it is another stretch, and begins with a copy of its own.

mod base;
mod covered;
mod destination;
mod keeper;
mod lead;
mod log;
mod restore;
mod retain;
mod schedule;
mod seal;
mod spool;
mod storage;
mod stretch;
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;

use slipway_domain::ports::Sealer;
use slipway_domain::{Clock, Entropy};
use slipway_engine::Engine;
use slipway_store::Store;
use tokio::sync::Semaphore;
use uuid::Uuid;

pub use destination::{Destination, DestinationError, Upload};
pub use lead::run;
pub use seal::{Identities, Recipients, SealError, Sealing, draw_identity};
pub use storage::Location;

/// Copies of whole servers that are made at once.
const BASES_MAX: usize = 2;
/// Databases that are restored at once.
const RESTORES_MAX: usize = 2;
/// Pieces of logs that are compressed and stored at once: each takes the memory of a few segments.
const PACKED_MAX: usize = 2;

/// What it works with.
#[derive(Clone)]
pub struct Deps {
    /// The database.
    pub store: Store,
    /// Finds the servers.
    pub engine: Arc<dyn Engine>,
    /// Opens their passwords.
    pub sealer: Arc<dyn Sealer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where backups go.
    pub destination: Destination,
    /// Whom they are encrypted to.
    pub recipients: Recipients,
    /// What opens them, where restores are made.
    pub identities: Option<Identities>,
    /// A directory for what is not stored yet.
    pub spool: PathBuf,
    /// Which of the installations that share the engine it is.
    pub installation: String,
    /// Under which name it leads.
    pub holder: Uuid,
    limits: Limits,
    covered: covered::Covered,
}

#[derive(Clone)]
struct Limits {
    bases: Arc<Semaphore>,
    packed: Arc<Semaphore>,
    restores: Arc<Semaphore>,
}

/// What [`Deps`] are made from.
#[derive(Clone)]
pub struct Settings {
    /// Where backups go.
    pub destination: Destination,
    /// Whom they are encrypted to.
    pub recipients: Recipients,
    /// What opens them, where restores are made.
    pub identities: Option<Identities>,
    /// A directory for what is not stored yet.
    pub spool: PathBuf,
    /// Which of the installations that share the engine it is.
    pub installation: String,
    /// Under which name it leads.
    pub holder: Uuid,
}

impl Deps {
    /// Puts together what it works with.
    pub fn new(
        store: Store,
        engine: Arc<dyn Engine>,
        sealer: Arc<dyn Sealer>,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        settings: Settings,
    ) -> Self {
        Self {
            store,
            engine,
            sealer,
            clock,
            entropy,
            destination: settings.destination,
            recipients: settings.recipients,
            identities: settings.identities,
            spool: settings.spool,
            installation: settings.installation,
            holder: settings.holder,
            covered: covered::Covered::default(),
            limits: Limits {
                bases: Arc::new(Semaphore::new(BASES_MAX)),
                packed: Arc::new(Semaphore::new(PACKED_MAX)),
                restores: Arc::new(Semaphore::new(RESTORES_MAX)),
            },
        }
    }
}
