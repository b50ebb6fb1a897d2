//! The server's replication protocol: what a copy of a whole server and the stream of its log are had by.
//!
//! Promises: nothing runs inside the server's container for it; what is asked for is asked of the server itself, which
//! verifies the checksums of its pages on the way; no byte of the log is confirmed that the caller did not confirm.
//!
//! Source: `PostgreSQL` documentation, chapter "Streaming Replication Protocol", version 15 and later.

mod base;
mod line;
mod stream;

use slipway_domain::backup::{Lsn, Timeline};
use slipway_domain::ports::ServerLogin;

pub use base::{BaseBackup, BaseEnd, BaseEvent, BaseStart};
pub use stream::{WalEvent, WalStream};

use line::{Line, unexpected};

/// As whom backups are made.
pub const BACKUP_ROLE: &str = "slipway_backup";

/// Why a server did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplicationError {
    /// It does not answer, or not any more.
    #[error("{0}")]
    Away(String),
    /// It answered and would not.
    #[error("{message} (SQLSTATE {code})")]
    Refused {
        /// The SQLSTATE.
        code: String,
        /// In its words.
        message: String,
    },
    /// It said what cannot be understood.
    #[error("{0}")]
    Unexpected(String),
}

impl From<std::io::Error> for ReplicationError {
    fn from(error: std::io::Error) -> Self {
        Self::Away(error.to_string())
    }
}

impl ReplicationError {
    /// Whether what was asked for is there no more: a slot, or a piece of the log.
    pub fn is_gone(&self) -> bool {
        // undefined_object; undefined_file, which is how a removed segment is called; object_not_in_prerequisite_state,
        // which is how a slot is called whose log was removed.
        matches!(self, Self::Refused { code, .. } if matches!(code.as_str(), "42704" | "58P01" | "55000"))
    }
}

/// Which server it is, and where its log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Drawn when the server's files were made; restored files keep it.
    pub system: u64,
    /// Which history it writes.
    pub timeline: Timeline,
    /// What of its log is on its disk.
    pub flushed: Lsn,
}

/// A slot: what keeps the log until it was confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// From where on the log is kept; not known before it was used.
    pub restart: Option<Lsn>,
    /// Which history that is in.
    pub timeline: Option<Timeline>,
}

/// A line to a server that asks and streams.
#[derive(Debug)]
pub struct Replication {
    line: Line,
}

impl Replication {
    /// Opens one.
    pub async fn open(login: &ServerLogin) -> Result<Self, ReplicationError> {
        Ok(Self {
            line: Line::open(login, BACKUP_ROLE).await?,
        })
    }

    /// Which server it is.
    pub async fn identify(&mut self) -> Result<SystemIdentity, ReplicationError> {
        let rows = self.line.rows("IDENTIFY_SYSTEM").await?;
        let row = rows.first().ok_or_else(|| unexpected("no identity"))?;
        let identity = || {
            Some(SystemIdentity {
                system: text(row, 0)?.parse().ok()?,
                timeline: Timeline(text(row, 1)?.parse().ok()?),
                flushed: text(row, 2)?.parse().ok()?,
            })
        };
        identity().ok_or_else(|| unexpected("an identity that cannot be read"))
    }

    /// The value of a setting of the server's.
    pub async fn setting(&mut self, name: &'static str) -> Result<String, ReplicationError> {
        let rows = self.line.rows(&format!("SHOW {name}")).await?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        value.ok_or_else(|| unexpected("no value of a setting"))
    }

    /// A slot as it is, if there is one of that name.
    pub async fn slot(&mut self, name: &SlotName) -> Result<Option<Slot>, ReplicationError> {
        let rows = self.line.rows(&format!("READ_REPLICATION_SLOT {name}")).await?;
        let row = rows.first().ok_or_else(|| unexpected("nothing of a slot"))?;
        if text(row, 0).is_none() {
            return Ok(None);
        }
        let restart = text(row, 1).map(str::parse).transpose();
        let timeline = text(row, 2).map(str::parse).transpose();
        match (restart, timeline) {
            (Ok(restart), Ok(timeline)) => Ok(Some(Slot {
                restart,
                timeline: timeline.map(Timeline),
            })),
            _ => Err(unexpected("a slot that cannot be read")),
        }
    }

    /// Makes a slot that keeps the log from now on.
    pub async fn create_slot(&mut self, name: &SlotName) -> Result<(), ReplicationError> {
        let command = format!("CREATE_REPLICATION_SLOT {name} PHYSICAL (RESERVE_WAL true)");
        self.line.rows(&command).await.map(drop)
    }

    /// Removes a slot, once nobody streams from it.
    pub async fn drop_slot(&mut self, name: &SlotName) -> Result<(), ReplicationError> {
        self.line
            .rows(&format!("DROP_REPLICATION_SLOT {name} WAIT"))
            .await
            .map(drop)
    }

    /// The file that says where a history comes from, for all but the first.
    pub async fn timeline_history(&mut self, timeline: Timeline) -> Result<Vec<u8>, ReplicationError> {
        let rows = self.line.rows(&format!("TIMELINE_HISTORY {}", timeline.0)).await?;
        let row = rows.first().ok_or_else(|| unexpected("no history"))?;
        let content = text(row, 1).ok_or_else(|| unexpected("no history"))?;
        Ok(content.as_bytes().to_vec())
    }

    /// Begins a copy of the whole server.
    pub async fn base_backup(self, label: &str) -> Result<BaseBackup, ReplicationError> {
        BaseBackup::begin(self.line, label).await
    }

    /// Streams the log of a history from a place on, which should be where a segment begins.
    pub async fn stream(self, slot: &SlotName, from: Lsn, timeline: Timeline) -> Result<WalStream, ReplicationError> {
        WalStream::begin(self.line, slot, from, timeline).await
    }
}

fn text(row: &[Option<String>], column: usize) -> Option<&str> {
    row.get(column)?.as_deref()
}

/// The name of a slot: small letters, digits and underscores, 63 at most.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotName(String);

impl SlotName {
    /// From a text that is one.
    pub fn new(name: &str) -> Option<Self> {
        let is_one = (1..=63).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        is_one.then(|| Self(name.to_owned()))
    }

    /// As a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for SlotName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}
