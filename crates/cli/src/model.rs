//! The answers that the display follows closely, read leniently: a client meets newer servers, and a word it does not
//! know must not stop it from showing the rest. The document as it came is kept for `--json`.

use serde::Deserialize;
use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::deployment::DeploymentState;
use slipway_domain::release::ReleaseCause;

use crate::error::CliError;

/// A deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    pub(crate) app: String,
    pub(crate) environment: String,
    pub(crate) release: Option<i64>,
    pub(crate) image: Option<String>,
    pub(crate) digest: Option<String>,
    pub(crate) state: String,
    pub(crate) cause: String,
    pub(crate) url: Option<String>,
    pub(crate) reason: Option<Reason>,
    pub(crate) steps: Vec<Step>,
    pub(crate) warnings: Vec<String>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) created_by: Option<String>,
    pub(crate) message: Option<String>,
    /// The document as it came.
    #[serde(skip)]
    pub(crate) document: Value,
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) detail: Option<String>,
}

/// Why it failed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reason {
    pub(crate) code: String,
    pub(crate) detail: String,
    pub(crate) hint: Option<String>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) oom_killed: Option<bool>,
    pub(crate) last_probe: Option<Probe>,
    pub(crate) log_tail: Vec<String>,
}

/// What the last probe saw.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Probe {
    pub(crate) target: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) body: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) error: Option<String>,
}

/// One event of a deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Event {
    #[serde(default)]
    pub(crate) kind: String,
    pub(crate) step: Option<String>,
    pub(crate) message: Option<String>,
}

impl Deployment {
    /// Reads a document.
    pub(crate) fn read(document: Value) -> Result<Self, CliError> {
        let mut deployment: Self = serde_json::from_value(document.clone()).map_err(|error| {
            CliError::failed_with(
                format!("the server's answer is not a deployment: {error}"),
                "is this client older than the server? compare `slipway --version` with the operator's",
            )
        })?;
        if deployment.id.is_empty() {
            return Err(CliError::failed(
                "the server's answer is not a deployment: it has no id",
            ));
        }
        deployment.document = document;
        Ok(deployment)
    }

    /// Whether a document is one at all.
    pub(crate) fn is_one(document: &Value) -> bool {
        document
            .get("id")
            .and_then(Value::as_str)
            .is_some_and(|id| id.starts_with("dep_"))
    }

    /// Whether nothing more will happen to it.
    pub(crate) fn is_final(&self) -> bool {
        // A state of a newer server counts as the end only once the server says when it ended.
        DeploymentState::parse(&self.state).map_or(self.finished_at.is_some(), DeploymentState::is_final)
    }

    /// Whether it succeeded.
    pub(crate) fn succeeded(&self) -> bool {
        self.state == DeploymentState::Succeeded.as_str()
    }

    /// What made it come about, as far as this client knows the word.
    pub(crate) fn cause(&self) -> Option<ReleaseCause> {
        ReleaseCause::parse(&self.cause)
    }

    /// Whether it goes back to the contents of an earlier release.
    pub(crate) fn is_rollback(&self) -> bool {
        self.cause().is_some_and(ReleaseCause::is_rollback)
    }

    /// How long it took or has taken, by the server's clock.
    pub(crate) fn took_ms(&self, now: Timestamp) -> u64 {
        let end = self.finished_at.unwrap_or(now);
        self.created_at
            .map_or(0, |begin| u64::try_from((end - begin).num_milliseconds()).unwrap_or(0))
    }

    /// `v7`, or nothing.
    pub(crate) fn release_text(&self) -> String {
        self.release.map(|n| format!("v{n}")).unwrap_or_default()
    }
}

impl Step {
    /// How long it took, once it has ended.
    pub(crate) fn took_ms(&self) -> Option<u64> {
        u64::try_from((self.finished_at? - self.started_at?).num_milliseconds()).ok()
    }

    /// The name for people.
    pub(crate) fn title(&self) -> String {
        self.name.replace('_', " ")
    }

    /// Whether it is under way.
    pub(crate) fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// Whether it ended the deployment.
    pub(crate) fn is_failed(&self) -> bool {
        self.state == "failed"
    }

    /// Whether it was not needed.
    pub(crate) fn is_skipped(&self) -> bool {
        self.state == "skipped"
    }
}
