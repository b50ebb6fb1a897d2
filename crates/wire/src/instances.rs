//! Instances, what they write, and how many there are.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use slipway_domain::name::EnvironmentName;
use utoipa::ToSchema;

/// One container of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// The engine's identifier.
    pub id: String,
    /// What it is told that it is (`SLIPWAY_INSTANCE`): app, release and place.
    pub name: String,
    /// The number of its release.
    pub release: i64,
    /// What the engine says of it.
    pub state: InstanceState,
    /// What the platform's probe says of it.
    pub health: InstanceHealth,
    /// Whether the proxies send it requests: a group that waits for its switch, bakes or drains gets none.
    pub has_traffic: bool,
    /// When it was started.
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    /// How often it ended by itself and was started again.
    pub restarts: u32,
    /// How it ended the last time.
    #[schema(required)]
    pub last_exit: Option<LastExit>,
    /// The exit code, if it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub oom_killed: Option<bool>,
    /// Cores in use; `null` when it cannot be read.
    #[schema(required)]
    pub cpu: Option<f64>,
    /// Memory in use; `null` when it cannot be read.
    #[schema(required)]
    pub memory_bytes: Option<u64>,
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastExit {
    /// When.
    pub at: DateTime<Utc>,
    /// The exit code.
    pub exit_code: i64,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// Whether the platform ended it, since it did not answer its health check.
    pub unresponsive: bool,
}

/// What the engine says of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Frozen, by somebody or because nobody asks for anything.
    Paused,
    /// Stopped because nobody asks for anything: the next request starts it.
    Asleep,
    /// Being started again.
    Restarting,
    /// Ended.
    Exited,
    /// Being removed or beyond repair.
    Dead,
}

/// What the platform's probe says of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceHealth {
    /// Not healthy yet.
    Starting,
    /// It answers its probe.
    Healthy,
    /// It does not.
    Unhealthy,
    /// Nobody looked yet.
    Unknown,
}

/// One line an app wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When the engine received it.
    pub time: DateTime<Utc>,
    /// Which stream.
    pub stream: Stream,
    /// The container.
    pub instance: String,
    /// The number of its release.
    pub release: i64,
    /// The text without its newline.
    pub line: String,
    /// The text read as JSON, where it is an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub fields: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Another number of instances.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// How many, 1 to 32.
    #[schema(minimum = 1, maximum = 32)]
    pub count: i64,
    /// The environment; `production` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
}

/// Which environment is meant; an empty object means the default one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The environment; `production` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
}
