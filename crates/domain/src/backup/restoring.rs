//! How far a restore is.
//!
//! | phase | it means |
//! |---|---|
//! | waiting | it was asked for |
//! | fetching | what it needs is fetched and checked; nothing is touched yet |
//! | unpacking | the files of the copy are put into a volume of its own |
//! | replaying | its server replays the log up to the moment that was asked for |
//! | done | it is a database like any other |
//! | failed | it was given up; the reason says why |

/// A phase of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestorePhase {
    /// It was asked for.
    Waiting,
    /// What it needs is fetched and checked.
    Fetching,
    /// The files of the copy are unpacked.
    Unpacking,
    /// The log is replayed.
    Replaying,
    /// It is a database like any other.
    Done,
    /// It was given up.
    Failed,
}

impl RestorePhase {
    const ALL: [Self; 6] = [
        Self::Waiting,
        Self::Fetching,
        Self::Unpacking,
        Self::Replaying,
        Self::Done,
        Self::Failed,
    ];

    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Fetching => "fetching",
            Self::Unpacking => "unpacking",
            Self::Replaying => "replaying",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}
