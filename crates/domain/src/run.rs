//! A one-off command of an app: asked for by somebody, or due by the clock.
//!
//! | from | to | when |
//! |---|---|---|
//! | pending | starting | it is written down before the engine is told |
//! | starting | running | the engine has its container |
//! | running | succeeded, failed | it ended, or had its time |
//! | running | lost | its container is gone: whether it came to its end is not known |
//! | any unfinished | cancelled | somebody, or a newer run that replaces it, said so |
//! | | skipped | it was not begun at all, and the reason says why |
//!
//! Promises: a run is begun at most once; if that it came to its end is not known, it is said.

use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Accepted.
    Pending,
    /// Its container is being made.
    Starting,
    /// Under way.
    Running,
    /// It ended with exit code 0.
    Succeeded,
    /// It ended with another one, could not be started or had no more time.
    Failed,
    /// It was called off.
    Cancelled,
    /// It was not begun.
    Skipped,
    /// Its container is gone before its end was seen.
    Lost,
}

impl RunState {
    const ALL: [Self; 8] = [
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
        Self::Lost,
    ];

    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Lost => "lost",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing more will happen.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Starting | Self::Running)
    }
}
