//! Long work: one-off commands and what the clock calls for.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use slipway_domain::name::EnvironmentName;
use slipway_domain::quantity::Span;
use slipway_domain::run::RunState;
use utoipa::ToSchema;

/// A command to run once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRun {
    /// The program and its arguments; no shell reads them.
    #[schema(min_items = 1, max_items = 64)]
    pub command: Vec<String>,
    /// The environment; `production` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
    /// After so long it is stopped: 1s to 24h, `1h` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub timeout: Option<Span>,
}

/// Long work, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Its identifier.
    pub id: String,
    /// What kind of work it is.
    pub kind: OperationKind,
    /// Where it stands.
    #[schema(value_type = OperationState)]
    pub state: RunState,
    /// The app.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// The release whose image, variables and secrets it has.
    pub release: i64,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Of which command by the clock it is.
    pub cron: Option<String>,
    /// For which time of the clock.
    pub scheduled_for: Option<DateTime<Utc>>,
    /// The exit code, once it has ended by itself.
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// Why it did not succeed; before its end, what it waits for.
    pub reason: Option<String>,
    /// Its last lines, at most 500; left out in lists.
    pub output: Vec<String>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// Who asked for it.
    pub created_by: String,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A kind of long work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// A command that somebody asked for.
    Run,
    /// A command whose time had come.
    Cron,
}

/// Where long work stands: `skipped` was never begun, `lost` began and its end was not seen.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum OperationState {
    /// Accepted.
    Pending,
    /// Its container is being made.
    Starting,
    /// Under way.
    Running,
    /// It ended well.
    Succeeded,
    /// It did not.
    Failed,
    /// It was called off.
    Cancelled,
    /// It was not begun.
    Skipped,
    /// Its end was not seen.
    Lost,
}

/// A command by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cron {
    /// Its name.
    pub name: String,
    /// When: minute, hour, day of month, month, day of week.
    pub schedule: String,
    /// In which time zone.
    pub timezone: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `forbid`, `replace` or `allow`.
    pub concurrency: String,
    /// After so long a run is stopped.
    pub timeout: String,
    /// The next time; none while the app is stopped.
    pub next_at: Option<DateTime<Utc>>,
    /// The newest run.
    pub last: Option<Operation>,
}
