//! Managed databases. Passwords never come out: apps are told theirs in a secret.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use slipway_domain::name::{AppName, DatabaseName, EnvironmentName, TeamName, VariableName};
use slipway_domain::quantity::{Bytes, MilliCpu};
use utoipa::ToSchema;

use crate::domains::DomainReason;

/// A database to make.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDatabase {
    /// Its name, unique on the platform.
    #[schema(value_type = String)]
    pub name: DatabaseName,
    /// `postgres`, which is also what is made if nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<DatabaseEngine>,
    /// The major version, such as `17`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// An app that may reach it from the beginning, in `environment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub app: Option<AppName>,
    /// The app's environment; `production` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
    /// The team that it is made for; the caller's if not given. With `app` it is the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub team: Option<TeamName>,
    /// Memory, such as `256MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub memory: Option<Bytes>,
    /// CPU, such as `0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cpu: Option<MilliCpu>,
    /// Connections at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
}

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseEngine {
    /// `PostgreSQL`.
    Postgres,
}

/// Where a database stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseState {
    /// It is made from a backup.
    Restoring,
    /// Its server is being made.
    Creating,
    /// It answers.
    Ready,
    /// It was ready and does not answer now.
    Unavailable,
    /// It cannot be made.
    Failed,
    /// It goes, with its data.
    Deleting,
}

/// A managed database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub team: String,
    /// What it is.
    pub engine: DatabaseEngine,
    /// The major version.
    pub version: String,
    /// Where it stands.
    pub state: DatabaseState,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why it is not as it should be.
    pub reason: Option<DomainReason>,
    /// What it is or was made from, if that is a backup.
    pub restore: Option<crate::backups::Restore>,
    /// Where the apps that may reach it find it.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// What it is called inside its server; its owner, as which apps log in, is called the same.
    pub database: String,
    /// As whom people log in who only look.
    pub reader: String,
    /// The environments that may reach it.
    pub attached: Vec<Attachment>,
    /// Memory.
    #[schema(value_type = String)]
    pub memory: Bytes,
    /// CPU.
    #[schema(value_type = String)]
    pub cpu: MilliCpu,
    /// Connections at once.
    pub connections: u32,
    /// The image that its server runs.
    pub image: String,
    /// The server's own word for its version.
    pub server_version: Option<String>,
    /// What it takes on the disk.
    pub size_bytes: Option<u64>,
    /// When it was ready first.
    pub ready_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
}

/// An environment that may reach a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attachment {
    /// The app.
    pub app: String,
    /// Its environment.
    pub environment: String,
    /// The secret that tells it how.
    pub variable: String,
    /// When it was let.
    pub created_at: DateTime<Utc>,
    /// Who let it.
    pub created_by: String,
}

/// An environment to let reach a database.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAttachment {
    /// The app.
    #[schema(value_type = String)]
    pub app: AppName,
    /// Its environment; `production` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
    /// The secret that tells it how; `DATABASE_URL` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub variable: Option<VariableName>,
}
