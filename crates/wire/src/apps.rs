//! Apps and their environments.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use slipway_domain::name::{AppName, EnvironmentName, TeamName};
use slipway_domain::quantity::Span;
use utoipa::ToSchema;

/// An app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct App {
    /// Its identifier.
    pub id: String,
    /// Its name, unique on the platform.
    pub name: String,
    /// Its team.
    pub team: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// How each environment is.
    pub environments: Vec<EnvironmentSummary>,
}

/// An environment in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentSummary {
    /// Its name.
    pub name: String,
    /// Where it answers.
    pub url: String,
    /// How it is, in a word.
    pub state: EnvironmentState,
    /// The release that has the traffic.
    #[schema(required)]
    pub release: Option<i64>,
    /// Whether what should be is so.
    pub settled: bool,
    /// Whether env, secrets or spec changed since the last release and wait for the next one.
    pub staged: bool,
    /// The state of the newest deployment.
    #[schema(required)]
    pub last_deployment: Option<String>,
}

/// How an environment is, in a word; the conditions say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentState {
    /// Nothing was ever deployed.
    Empty,
    /// A change is being carried out.
    Deploying,
    /// It serves as it should.
    Running,
    /// It should serve and does not, or not in full.
    Degraded,
    /// It ends again and again, and is started with growing pauses.
    CrashLoop,
    /// It rests because nobody asked for it; the next request wakes it.
    Asleep,
    /// Every deployment failed, and nothing serves.
    Failed,
    /// It should not run, and something still does.
    Stopping,
    /// It should not run; data and settings stay.
    Stopped,
    /// It goes away.
    Deleting,
}

/// An environment in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Environment {
    /// Its identifier.
    pub id: String,
    /// Its app.
    pub app: String,
    /// Its name.
    pub name: String,
    /// Where it answers.
    pub url: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// How it is, in a word.
    pub state: EnvironmentState,
    /// The release that should run; `null` before the first deploy.
    #[schema(required)]
    pub release: Option<i64>,
    /// The release that has the traffic.
    #[schema(required)]
    pub serving: Option<i64>,
    /// How often the intent changed.
    pub generation: i64,
    /// When it is deleted unless something is deployed to it before; `null`: never.
    #[schema(required)]
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether the intent has been carried out.
    pub settled: bool,
    /// Whether env, secrets or spec changed since the last release and wait for the next one.
    pub staged: bool,
    /// What is true of it now.
    pub conditions: Vec<Condition>,
}

/// Something that is true or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Condition {
    /// What: `Ready` (every wanted instance is healthy and has traffic), `Available` (at least one is), `Progressing`
    /// (a deployment is being carried out).
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is true.
    pub status: bool,
    /// Why, for scripts.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// A new app.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// Its name: `[a-z][a-z0-9-]{1,38}[a-z0-9]`, no `--`.
    #[schema(value_type = String, example = "directory")]
    pub name: AppName,
    /// Its team; the token's own if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub team: Option<TeamName>,
}

/// A change of an app. Name and team are fixed in this version: giving other ones is refused.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppChange {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<AppName>,
    /// The team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub team: Option<TeamName>,
}

/// A new environment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEnvironment {
    /// Its name.
    #[schema(value_type = String, example = "staging")]
    pub name: EnvironmentName,
    /// The environment whose spec it begins with, variables included; not its secrets' values, volumes' contents and
    /// commands by the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<EnvironmentName>,
    /// It is deleted so long after the last deploy: 10m to 90d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "72h")]
    pub expires_in: Option<Span>,
}
