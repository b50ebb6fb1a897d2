//! Deployments: how one is asked for and how it went.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use slipway_domain::deployment as domain;
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_domain::ports::PullPolicy;
use slipway_domain::quantity::Span;
use utoipa::ToSchema;

/// A deployment to be made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDeployment {
    /// The image: `registry/repository:tag` or `…@sha256:…`.
    #[schema(example = "registry.example.com/directory:4f2c1ab")]
    pub image: String,
    /// The environment; `production` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
    /// How traffic moves this once: `rolling`, `bluegreen`, `canary` or `recreate`; as the spec says if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// If the environment is made for this deploy: the one whose spec it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<EnvironmentName>,
    /// If the environment is made for this deploy: it is deleted so long after the last one, 10m to 90d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_in: Option<Span>,
    /// A line for the record, up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where the image is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Pull>)]
    pub pull: Option<PullPolicy>,
    /// A bill of materials. Not available in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub sbom: Option<serde_json::Value>,
}

/// What may go with the one-line deploy: the body is optional there, and so is all that is in it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployOptions {
    /// The app, if the query does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub app: Option<AppName>,
    /// The image, if the query does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The environment, if the query does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
    /// How traffic moves this once: `rolling`, `bluegreen`, `canary` or `recreate`; as the spec says if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// If the environment is made for this deploy: the one whose spec it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<EnvironmentName>,
    /// If the environment is made for this deploy: it is deleted so long after the last one, 10m to 90d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_in: Option<Span>,
    /// A line for the record, up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where the image is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Pull>)]
    pub pull: Option<PullPolicy>,
    /// A bill of materials. Not available in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub sbom: Option<serde_json::Value>,
}

/// Where an image is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pull {
    /// In the registry that the reference names.
    Registry,
    /// On the platform's engine only, pinned by id.
    Local,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// Its identifier.
    pub id: String,
    /// The app.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// The number of the release it brings into service.
    pub release: i64,
    /// The image as it was given.
    pub image: String,
    /// What the image was when the deployment was accepted.
    pub digest: String,
    /// Where it stands.
    pub state: State,
    /// How traffic moves.
    pub strategy: String,
    /// What made it come about.
    pub cause: String,
    /// Why it failed.
    #[schema(required)]
    pub reason: Option<Reason>,
    /// What was done so far, in order.
    pub steps: Vec<Step>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it was taken up.
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
    /// Who asked for it.
    pub created_by: String,
    /// The line for the record.
    #[schema(required)]
    pub message: Option<String>,
    /// Where the environment answers.
    pub url: String,
    /// What in the release's spec weakens the defaults or leaves a gap; empty in lists.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Where a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
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
    /// A later deployment took its place.
    Superseded,
}

impl From<domain::DeploymentState> for State {
    fn from(state: domain::DeploymentState) -> Self {
        match state {
            domain::DeploymentState::Pending => Self::Pending,
            domain::DeploymentState::AwaitingApproval => Self::AwaitingApproval,
            domain::DeploymentState::Running => Self::Running,
            domain::DeploymentState::Succeeded => Self::Succeeded,
            domain::DeploymentState::Failed => Self::Failed,
            domain::DeploymentState::Aborted => Self::Aborted,
            domain::DeploymentState::Superseded => Self::Superseded,
        }
    }
}

/// One step with its times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// `pull`, `release_command`, `start`, `health`, `switch`, `drain` or `stop`.
    pub name: String,
    /// How it stands.
    pub state: StepState,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
    /// A line for people.
    #[schema(required)]
    pub detail: Option<String>,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

impl From<domain::Step> for Step {
    fn from(step: domain::Step) -> Self {
        Self {
            name: step.name.as_str().into(),
            state: match step.state {
                domain::StepState::Running => StepState::Running,
                domain::StepState::Succeeded => StepState::Succeeded,
                domain::StepState::Failed => StepState::Failed,
                domain::StepState::Skipped => StepState::Skipped,
            },
            started_at: step.started_at,
            finished_at: step.finished_at,
            detail: step.detail,
        }
    }
}

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// For scripts.
    pub code: String,
    /// What happened.
    pub detail: String,
    /// What to do next.
    pub hint: String,
    /// The exit code, if a process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub exit_code: Option<i64>,
    /// Whether the kernel ended the process for want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub oom_killed: Option<bool>,
    /// What the last probe saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_probe: Option<LastProbe>,
    /// The last lines the app wrote, at most 50.
    pub log_tail: Vec<String>,
}

/// What a probe saw last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastProbe {
    /// When.
    pub at: DateTime<Utc>,
    /// The address and path asked.
    pub target: String,
    /// The HTTP status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub status: Option<u16>,
    /// The beginning of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub body: Option<String>,
    /// Where a redirect pointed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub location: Option<String>,
    /// What went wrong before there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<String>,
}

impl From<domain::Reason> for Reason {
    fn from(reason: domain::Reason) -> Self {
        Self {
            code: reason.code.as_str().into(),
            detail: reason.detail,
            hint: reason.hint,
            exit_code: reason.exit_code,
            oom_killed: reason.oom_killed,
            last_probe: reason.last_probe.map(|probe| LastProbe {
                at: probe.at,
                target: probe.target,
                status: probe.status,
                body: probe.body,
                location: probe.location,
                error: probe.error,
            }),
            log_tail: reason.log_tail,
        }
    }
}
