//! What kinds of backups there are, and where one stands.
//!
//! | state | it means |
//! |---|---|
//! | waiting | it was asked for |
//! | running | it is being made |
//! | stored | all of it was stored and read back |
//! | failed | it was given up; the reason says why, and nothing of it counts |
//! | expiring | it need not be kept any more, and is removed |

/// A kind of backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackupKind {
    /// A copy of the whole server, from which the log goes on.
    Base,
}

impl BackupKind {
    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Base].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Where a backup stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackupState {
    /// It was asked for.
    Waiting,
    /// It is being made.
    Running,
    /// All of it was stored and read back.
    Stored,
    /// It was given up.
    Failed,
    /// It need not be kept any more, and is removed.
    Expiring,
}

impl BackupState {
    const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Stored, Self::Failed, Self::Expiring];

    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stored => "stored",
            Self::Failed => "failed",
            Self::Expiring => "expiring",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Whether the log of a database is being stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamState {
    /// A line to its server is being made.
    Connecting,
    /// What it writes is stored as it comes.
    Streaming,
    /// It cannot be had or cannot be stored; it is tried again.
    Failing,
}

impl StreamState {
    const ALL: [Self; 3] = [Self::Connecting, Self::Streaming, Self::Failing];

    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Streaming => "streaming",
            Self::Failing => "failing",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}
