//! `/v1/databases/{database}/backups` and `…/recovery`: what is stored of a database, and what can be had back.
//!
//! Promises: a backup is called stored only once all of it was read back; what cannot be restored is shown as a gap.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod recovery;

use slipway_domain::backup::{BackupKind, BackupState};
use slipway_store::Backup;
use slipway_wire::backups as wire;

use crate::domains::reason;

fn shown(row: Backup) -> wire::Backup {
    wire::Backup {
        id: row.id.to_string(),
        database: row.database_name.to_string(),
        kind: match row.kind {
            BackupKind::Base => wire::BackupKind::Base,
        },
        state: match row.state {
            BackupState::Waiting => wire::BackupState::Waiting,
            BackupState::Running => wire::BackupState::Running,
            BackupState::Stored => wire::BackupState::Stored,
            BackupState::Failed => wire::BackupState::Failed,
        },
        reason: row.reason.map(reason),
        requested_by: row.requested_by,
        created_at: row.created_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        progress: wire::BackupProgress {
            done_bytes: row.done_bytes,
            total_bytes: row.source_bytes,
        },
        stored_bytes: row.stored_bytes,
    }
}
