//! What was seen, or that nothing could be seen. "Could not look" is never "not there".

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::generation::{Epoch, ReleaseNumber};
use crate::ids::{EnvironmentId, ReleaseId};

/// The reason of conditions that say that a release runs which the database does not know.
pub const UNKNOWN_RELEASE: &str = "UnknownRelease";

/// A fact about the outside world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed<T> {
    /// It was looked at, and this is what was there.
    Known(T),
    /// It could not be looked at; nothing may be concluded.
    Unknown {
        /// Why, for people.
        reason: String,
    },
}

impl<T> Observed<T> {
    /// The fact, if there is one.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown { .. } => None,
        }
    }
}

/// The life of one container as the engine tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum InstanceState {
    /// Made, not started: a start was interrupted.
    Created,
    /// Running since then.
    Running {
        /// When it was started.
        started_at: Timestamp,
    },
    /// Paused by somebody.
    Paused,
    /// The engine restarts it.
    Restarting,
    /// Ended.
    Exited {
        /// The exit code.
        exit_code: i64,
        /// Whether the kernel ended it for want of memory.
        oom_killed: bool,
        /// When.
        finished_at: Option<Timestamp>,
    },
    /// Being removed or beyond repair.
    Dead,
}

/// One container of ours, found by its labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The engine's container id.
    pub id: String,
    /// Whose it is.
    pub environment: EnvironmentId,
    /// Which release.
    pub release: ReleaseId,
    /// Its number within the environment.
    pub release_number: ReleaseNumber,
    /// Its place within the group, from 0.
    pub slot: u32,
    /// The fence under which it was made.
    pub epoch: Epoch,
    /// What the engine says of it.
    pub state: InstanceState,
    /// Where it can be reached, when running and attached to its network.
    pub address: Option<SocketAddr>,
}

impl Instance {
    /// Whether it runs now.
    pub fn is_running(&self) -> bool {
        matches!(self.state, InstanceState::Running { .. })
    }
}
