//! A deployment: one bounded attempt to bring a release into service, and why it failed if it did.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Where a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Accepted, not begun.
    Pending,
    /// Waits for somebody's word.
    AwaitingApproval,
    /// Under way.
    Running,
    /// All traffic is on the new release and every proxy has said so.
    Succeeded,
    /// Ended without success; the reason says why.
    Failed,
    /// Ended by request.
    Aborted,
    /// A later intent took its place.
    Superseded,
}

/// What can happen to a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentEvent {
    /// Somebody gave the word it waited for.
    Approve,
    /// The scheduler took it up.
    Start,
    /// All traffic is on it.
    Succeed,
    /// It cannot succeed.
    Fail,
    /// Somebody called it off.
    Abort,
    /// A later deployment of the same environment was accepted.
    Supersede,
}

/// The event does not fit the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a deployment that is {from} cannot {event:?}")]
pub struct InvalidTransition {
    /// The state it was in.
    pub from: DeploymentState,
    /// What was tried.
    pub event: DeploymentEvent,
}

impl DeploymentState {
    /// All of them, in the order of life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::AwaitingApproval,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Aborted,
        Self::Superseded,
    ];

    /// The word in the database and in answers.
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

    /// Back from the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether nothing can happen to it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted | Self::Superseded)
    }

    /// The state after the event.
    pub const fn apply(self, event: DeploymentEvent) -> Result<Self, InvalidTransition> {
        use DeploymentEvent as E;
        match (self, event) {
            (Self::AwaitingApproval, E::Approve) => Ok(Self::Pending),
            (Self::Pending, E::Start) => Ok(Self::Running),
            (Self::Running, E::Succeed) => Ok(Self::Succeeded),
            (Self::Pending | Self::Running | Self::AwaitingApproval, E::Fail) => Ok(Self::Failed),
            (Self::Pending | Self::Running | Self::AwaitingApproval, E::Abort) => Ok(Self::Aborted),
            (Self::Pending | Self::Running | Self::AwaitingApproval, E::Supersede) => Ok(Self::Superseded),
            (from, event) => Err(InvalidTransition { from, event }),
        }
    }
}

impl fmt::Display for DeploymentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The steps of a deployment, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    /// The image comes to the machine.
    Pull,
    /// The release command runs once, before any traffic.
    ReleaseCommand,
    /// Instances are created and started.
    Start,
    /// They answer their probe.
    Health,
    /// The app's own checks are made, before any traffic.
    Smoke,
    /// They get the traffic in shares and are judged.
    Canary,
    /// All traffic moves to them, acknowledged by every proxy.
    Switch,
    /// Requests under way on the old instances end.
    Drain,
    /// The old instances stop.
    Stop,
}

impl StepName {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Pull,
        Self::ReleaseCommand,
        Self::Start,
        Self::Health,
        Self::Smoke,
        Self::Canary,
        Self::Switch,
        Self::Drain,
        Self::Stop,
    ];

    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::ReleaseCommand => "release_command",
            Self::Start => "start",
            Self::Health => "health",
            Self::Smoke => "smoke",
            Self::Canary => "canary",
            Self::Switch => "switch",
            Self::Drain => "drain",
            Self::Stop => "stop",
        }
    }

    /// Back from the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Not done, and it ended the deployment.
    Failed,
    /// Not needed.
    Skipped,
}

impl StepState {
    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Back from the database.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Succeeded, Self::Failed, Self::Skipped]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// One step with its times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub name: StepName,
    /// How it stands.
    pub state: StepState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// A line for people.
    pub detail: Option<String>,
}

/// Why a deployment failed, as scripts tell reasons apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// The registry no longer has the digest.
    ImageNotFound,
    /// The registry refused the credentials.
    RegistryUnauthorized,
    /// The registry could not be reached in time.
    RegistryUnavailable,
    /// The release command ended with an error.
    ReleaseCommandFailed,
    /// The process ended by itself.
    Exited,
    /// The kernel ended the process for want of memory.
    OomKilled,
    /// Nothing listens on the port.
    PortClosed,
    /// Something listens on another port.
    WrongPort,
    /// The process listens on 127.0.0.1 only.
    LoopbackOnly,
    /// The health path answers with a redirect.
    HealthRedirect,
    /// The health path answers with another status than 2xx.
    HealthStatus,
    /// The health path does not answer in time.
    HealthTimeout,
    /// The container could not be created or started.
    StartFailed,
    /// Every network of `SLIPWAY_NETWORK_POOL` is used.
    NetworkPoolUsedUp,
    /// The disk is fuller than the floor allows.
    DiskFull,
    /// The container engine did not answer until the deadline.
    EngineUnavailable,
    /// A secret that the release pins could not be opened.
    SecretUnavailable,
    /// The environment was deleted or stopped meanwhile.
    Cancelled,
    /// No proxy acknowledged the switch until the deadline.
    ProxyUnavailable,
    /// One of the app's own checks failed.
    SmokeFailed,
    /// The new release of a canary does worse than the old one.
    CanaryWorse,
    /// A later deployment took its place.
    Superseded,
    /// Somebody called it off.
    Aborted,
    /// A release runs that the database does not know, since it was put back to an older point.
    UnknownRelease,
}

impl ReasonCode {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ImageNotFound => "image_not_found",
            Self::RegistryUnauthorized => "registry_unauthorized",
            Self::RegistryUnavailable => "registry_unavailable",
            Self::ReleaseCommandFailed => "release_command_failed",
            Self::Exited => "exited",
            Self::OomKilled => "oom_killed",
            Self::PortClosed => "port_closed",
            Self::WrongPort => "wrong_port",
            Self::LoopbackOnly => "loopback_only",
            Self::HealthRedirect => "health_redirect",
            Self::HealthStatus => "health_status",
            Self::HealthTimeout => "health_timeout",
            Self::StartFailed => "start_failed",
            Self::NetworkPoolUsedUp => "network_pool_used_up",
            Self::DiskFull => "disk_full",
            Self::EngineUnavailable => "engine_unavailable",
            Self::SecretUnavailable => "secret_unavailable",
            Self::Cancelled => "cancelled",
            Self::ProxyUnavailable => "proxy_unavailable",
            Self::SmokeFailed => "smoke_failed",
            Self::CanaryWorse => "canary_worse",
            Self::Superseded => "superseded",
            Self::Aborted => "aborted",
            Self::UnknownRelease => "unknown_release",
        }
    }
}

/// What a probe saw last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastProbe {
    /// When.
    pub at: Timestamp,
    /// The address and path asked.
    pub target: String,
    /// The HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The beginning of the body, at most 1 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Where a redirect pointed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What went wrong before there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a deployment failed, in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// For scripts.
    pub code: ReasonCode,
    /// What happened, in a sentence.
    pub detail: String,
    /// What to do next, in a sentence.
    pub hint: String,
    /// The exit code, if a process ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether the kernel ended the process for want of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_killed: Option<bool>,
    /// What the last probe saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe: Option<LastProbe>,
    /// The last lines the app wrote, at most 50.
    pub log_tail: Vec<String>,
}

impl Reason {
    /// What happened and what to do, without evidence.
    pub const fn new(code: ReasonCode, detail: String, hint: String) -> Self {
        Self {
            code,
            detail,
            hint,
            exit_code: None,
            oom_killed: None,
            last_probe: None,
            log_tail: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_grid_of_states_and_events_is_as_written() {
        use DeploymentEvent as E;
        let events = [E::Start, E::Succeed, E::Fail, E::Abort, E::Supersede];
        let grid: Vec<String> = DeploymentState::ALL
            .into_iter()
            .map(|s| {
                let row: Vec<_> = events
                    .iter()
                    .map(|e| s.apply(*e).map_or("-", DeploymentState::as_str))
                    .collect();
                format!("{s}: {}", row.join(" "))
            })
            .collect();
        assert_eq!(
            grid,
            [
                "pending: running - failed aborted superseded",
                "awaiting_approval: - - failed aborted superseded",
                "running: - succeeded failed aborted superseded",
                "succeeded: - - - - -",
                "failed: - - - - -",
                "aborted: - - - - -",
                "superseded: - - - - -",
            ]
        );
    }
}
