//! What goes wrong with backups, and what people are told of it.

use slipway_domain::domains::Reason;
use slipway_engine::EngineError;
use slipway_postgres::ReplicationError;
use slipway_store::StoreError;

use crate::destination::DestinationError;
use crate::seal::SealError;

/// Why something is not backed up now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The platform's own database does not answer, or another process leads.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The container engine does not say where the server is.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The server does not run.
    #[error("its server does not run")]
    Stopped,
    /// Its passwords cannot be opened.
    #[error("its passwords cannot be used: {0}")]
    Passwords(String),
    /// The server.
    #[error("its server said: {0}")]
    Server(#[from] ReplicationError),
    /// The storage.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// The encryption.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The directory for what is not stored yet.
    #[error("what is not stored yet cannot be kept: {0}")]
    Spool(#[from] std::io::Error),
    /// The log does not go on where it should.
    #[error("its log goes on at {found} instead of {expected}")]
    Gap {
        /// Where it should.
        expected: String,
        /// Where it does.
        found: String,
    },
    /// What a restore needs is not there yet.
    #[error("its image and its network are not there yet")]
    NotYet,
    /// Nobody wants it any more.
    #[error("it is not wanted any more, or what it was to be made from is gone")]
    Unwanted,
    /// Nothing can be opened here.
    #[error("there is no private key here that opens backups")]
    NoIdentity,
    /// The restored server ended.
    #[error("the server that was to replay the log ended before it was done")]
    NotRecovered,
    /// It went too far.
    #[error("the server replayed transactions that were committed after the moment that was asked for")]
    TooFar,
    /// Its roles are not what they were.
    #[error("the restored server would not take its new names: {0}")]
    NotAdopted(String),
    /// The server writes another history now.
    #[error("its server went on in timeline {0}")]
    Switched(u32),
}

impl Trouble {
    /// As people are told it.
    pub(crate) fn reason(&self) -> Reason {
        let (code, hint) = match self {
            Self::Destination(error) => return error.reason(),
            Self::Store(_) => ("platform_database_away", "It is tried again."),
            Self::Engine(_) => ("engine_unavailable", "It is tried again."),
            Self::Stopped => ("server_stopped", "See why with `slipway db show`."),
            Self::Passwords(_) => (
                "passwords_sealed",
                "Put back the master key that they were sealed with.",
            ),
            Self::Server(ReplicationError::Away(_)) => ("server_away", "It is tried again."),
            Self::Server(_) => (
                "server_refused",
                "It is tried again; an operator finds more in the log of its container.",
            ),
            Self::Seal(_) => ("backup_not_encrypted", "See SLIPWAY_BACKUP_RECIPIENTS."),
            Self::Spool(_) => (
                "backup_spool_unusable",
                "See that SLIPWAY_DATA_DIR can be written to and has room.",
            ),
            Self::NotYet => ("not_yet", "It is tried again."),
            Self::Unwanted => ("not_wanted", ""),
            Self::NoIdentity => (
                "no_private_key",
                "Put the key back that the backups were encrypted to: SLIPWAY_BACKUP_IDENTITY_FILE.",
            ),
            Self::NotRecovered | Self::TooFar | Self::NotAdopted(_) => (
                "restore_failed",
                "Try another moment or an older backup; an operator finds more in the log of the platform.",
            ),
            Self::Gap { .. } | Self::Switched(_) => (
                "log_interrupted",
                "A new copy is made; what was stored before stays restorable.",
            ),
        };
        let detail = self.to_string();
        Reason {
            code: code.into(),
            detail: format!(
                "{}{}.",
                detail.get(..1).unwrap_or_default().to_uppercase(),
                detail.get(1..).unwrap_or_default()
            ),
            hint: hint.into(),
        }
    }
}
