//! `/v1/databases`: managed databases.
//!
//! Promises: a database is seen by its team alone; passwords never come out, apps are told theirs in a secret; what apps
//! still use goes only when somebody insists.

pub(crate) mod attach;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod detach;
pub(crate) mod get;
pub(crate) mod list;

use slipway_domain::database::{DatabaseState, PORT, host, inner_name, reader_name};
use slipway_store::{Database, Tx};
use slipway_wire::databases as wire;

use crate::backups;
use crate::call::Call;
use crate::domains::reason;
use crate::error::{ApiError, Result};

impl Call {
    /// A database that the caller may know of.
    pub(crate) async fn database(&self, tx: &mut Tx, name: &str) -> Result<Database> {
        let missing = || ApiError::not_found("database", &name);
        let parsed = name.parse().map_err(|_| missing())?;
        let found = tx.database(&parsed).await?;
        let seen = found.filter(|d| self.caller.is_admin() || d.team == self.caller.team);
        seen.ok_or_else(missing)
    }

    /// As callers read it, with those who may reach it as far as the caller may know of them.
    pub(crate) async fn database_shown(&self, tx: &mut Tx, row: Database) -> Result<wire::Database> {
        let reach = &self.caller.reach;
        let attached = tx.attachments(Some(row.id), None).await?;
        let seen = attached
            .into_iter()
            .filter(|a| reach.sees_app(&a.app_name) && reach.sees_environment(&a.environment_name));
        let attached = seen.map(|a| wire::Attachment {
            app: a.app_name.to_string(),
            environment: a.environment_name.to_string(),
            variable: a.variable.to_string(),
            created_at: a.created_at,
            created_by: a.created_by,
        });
        Ok(wire::Database {
            host: host(&row.name),
            port: PORT,
            database: inner_name(&row.name),
            reader: reader_name(&row.name),
            attached: attached.collect(),
            restore: tx.restore(row.id).await?.map(backups::restored),
            name: row.name.to_string(),
            team: row.team_name.to_string(),
            engine: wire::DatabaseEngine::Postgres,
            version: row.version.to_string(),
            state: match row.status.state {
                _ if row.deleted_at.is_some() => wire::DatabaseState::Deleting,
                DatabaseState::Restoring => wire::DatabaseState::Restoring,
                DatabaseState::Creating => wire::DatabaseState::Creating,
                DatabaseState::Ready => wire::DatabaseState::Ready,
                DatabaseState::Unavailable => wire::DatabaseState::Unavailable,
                DatabaseState::Failed => wire::DatabaseState::Failed,
                DatabaseState::Deleting => wire::DatabaseState::Deleting,
            },
            since: row.status.since,
            reason: row.status.reason.map(reason),
            memory: row.size.memory,
            cpu: row.size.cpu,
            connections: row.size.connections,
            image: row.image,
            server_version: row.status.server_version,
            size_bytes: row.status.size_bytes,
            ready_at: row.status.ready_at,
            created_at: row.created_at,
            created_by: row.created_by,
        })
    }
}
