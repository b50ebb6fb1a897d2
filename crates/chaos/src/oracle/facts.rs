//! What is known from outside: answers of the API, the database, the container engine, the load.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};

use crate::load::Report;

/// A deploy that was answered with a success, so that somebody counts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its id.
    pub deployment: String,
    /// Where it was to go.
    pub environment: String,
    /// When the answer came.
    pub at: DateTime<Utc>,
}

/// Where a deployment stands. Not the platform's own type, whose rules are among what is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Accepted, not begun.
    Pending,
    /// Waits for somebody's word.
    AwaitingApproval,
    /// Under way.
    Running,
    /// Serves.
    Succeeded,
    /// Ended without success.
    Failed,
    /// Called off.
    Aborted,
    /// Another one took its place.
    Superseded,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Pending,
        Self::AwaitingApproval,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Aborted,
        Self::Superseded,
    ];

    /// As in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
        }
    }

    /// The state with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing happens to it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted | Self::Superseded)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A deployment in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentFact {
    /// Its id.
    pub id: String,
    /// Where it goes.
    pub environment: String,
    /// Where it stands.
    pub state: State,
    /// Why it failed.
    pub reason: Option<String>,
    /// What it brings.
    pub release: String,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it must have ended. A deployment that waits for somebody has none.
    pub deadline: Option<DateTime<Utc>>,
}

/// Whose a container is, by what the platform wrote on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The release it runs.
    pub release: String,
    /// Of which app.
    pub app: String,
    /// In which environment.
    pub environment: String,
}

/// A container in the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFact {
    /// Its id.
    pub id: String,
    /// `None` if it is not the platform's.
    pub labels: Option<Labels>,
    /// Whether it runs.
    pub running: bool,
}

/// What should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedFact {
    /// Where.
    pub environment: String,
    /// What.
    pub release: String,
    /// How often.
    pub replicas: u32,
}

/// Everything that is known at one moment, when nothing should be under way any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Deploys that were answered with a success.
    pub acknowledged: Vec<Acknowledged>,
    /// All deployments there are.
    pub deployments: Vec<DeploymentFact>,
    /// All containers there are.
    pub containers: Vec<ContainerFact>,
    /// All that should run.
    pub wanted: Vec<WantedFact>,
    /// Whether a container without labels, started beside the platform's, still runs.
    pub decoy_alive: bool,
    /// What the load found.
    pub report: Report,
    /// Whether the audit chain verifies.
    pub audit_valid: bool,
    /// For each acknowledged change, how many records the audit has of it.
    pub audit_mutations: BTreeMap<String, u32>,
    /// When all this was gathered.
    pub now: DateTime<Utc>,
}
