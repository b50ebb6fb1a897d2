//! Backups of managed databases, and what can be restored from them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domains::DomainReason;

/// A backup to make.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {}

/// A kind of backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupKind {
    /// A copy of the whole server, from which the log goes on.
    Base,
}

/// Where a backup stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// It was asked for.
    Waiting,
    /// It is being made.
    Running,
    /// All of it was stored and read back.
    Stored,
    /// It was given up; nothing of it counts.
    Failed,
    /// It need not be kept any more, and is removed.
    Expiring,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// Its identifier.
    pub id: String,
    /// Of which database.
    pub database: String,
    /// What it is.
    pub kind: BackupKind,
    /// Where it stands.
    pub state: BackupState,
    /// Why it failed.
    pub reason: Option<DomainReason>,
    /// Who asked for it; `platform` where it was due.
    pub requested_by: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was begun.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was stored or given up.
    pub ended_at: Option<DateTime<Utc>>,
    /// How far it is.
    pub progress: BackupProgress,
    /// How much it takes in the storage, compressed and encrypted.
    pub stored_bytes: Option<u64>,
}

/// How far a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupProgress {
    /// How much of the server was read.
    pub done_bytes: u64,
    /// How much there is to read; not known before it is begun.
    pub total_bytes: Option<u64>,
}

/// Whether the log of a database is being stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// A line to its server is being made.
    Connecting,
    /// What it writes is stored as it comes.
    Streaming,
    /// It cannot be had or cannot be stored; it is tried again.
    Failing,
}

/// How a database could be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recovery {
    /// Whether what it writes is being stored.
    pub stream: StreamState,
    /// Since when.
    pub stream_since: Option<DateTime<Utc>>,
    /// Why not.
    pub reason: Option<DomainReason>,
    /// Every moment in one of these can be restored, the oldest first. What lies between two of them cannot.
    pub windows: Vec<RecoveryWindow>,
    /// Why something between them cannot: one entry for each interruption.
    pub gaps: Vec<RecoveryGap>,
    /// So much may be lost at most, as declared: seconds of what was committed.
    pub declared_rpo_seconds: u64,
    /// What would be lost now, at most.
    pub current_rpo_seconds: Option<u64>,
    /// When the last copy was stored.
    pub last_backup_at: Option<DateTime<Utc>>,
}

/// A stretch of time that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryWindow {
    /// From here on,
    pub from: DateTime<Utc>,
    /// up to here.
    pub to: DateTime<Utc>,
}

/// An interruption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryGap {
    /// When it was found.
    pub at: DateTime<Utc>,
    /// What happened.
    pub reason: DomainReason,
}

/// A database to make from backups.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRestore {
    /// What the new database is called. Nothing is ever restored into one that is there.
    #[schema(value_type = String)]
    pub into: slipway_domain::name::DatabaseName,
    /// As it was at this moment; all that is stored, if neither this nor `backup` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_time: Option<DateTime<Utc>>,
    /// As it was when this backup was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
}

/// How a database is or was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restore {
    /// The database whose backups it is made from.
    pub source: String,
    /// The copy.
    pub backup: String,
    /// The moment that was asked for.
    pub to_time: Option<DateTime<Utc>>,
    /// How far it is.
    pub phase: RestorePhase,
    /// How much of what is fetched is there.
    pub progress: BackupProgress,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When it was begun.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was done or given up.
    pub ended_at: Option<DateTime<Utc>>,
    /// When the last transaction was committed that it has.
    pub restored_to: Option<DateTime<Utc>>,
}

/// A phase of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestorePhase {
    /// It was asked for.
    Waiting,
    /// What it needs is fetched and checked; nothing is touched yet.
    Fetching,
    /// The files of the copy are unpacked.
    Unpacking,
    /// The log is replayed.
    Replaying,
    /// It is a database like any other.
    Done,
    /// It was given up; nothing of it is left.
    Failed,
}
