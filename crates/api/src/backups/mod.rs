//! `/v1/databases/{database}/backups` and `…/recovery`: what is stored of a database, and what can be had back.
//!
//! Promises: a backup is called stored only once all of it was read back; what cannot be restored is shown as a gap.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod recovery;
pub(crate) mod restore;

use slipway_domain::backup::{BackupKind, BackupState, RestorePhase, StoredCopy, Stretch};
use slipway_store::{Backup, LogSpan, Restore};
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
            BackupState::Expiring => wire::BackupState::Expiring,
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

/// As callers read it.
pub(crate) fn restored(row: Restore) -> wire::Restore {
    wire::Restore {
        source: row.source_name.to_string(),
        backup: row.backup.to_string(),
        to_time: row.until,
        phase: match row.phase {
            RestorePhase::Waiting => wire::RestorePhase::Waiting,
            RestorePhase::Fetching => wire::RestorePhase::Fetching,
            RestorePhase::Unpacking => wire::RestorePhase::Unpacking,
            RestorePhase::Replaying => wire::RestorePhase::Replaying,
            RestorePhase::Done => wire::RestorePhase::Done,
            RestorePhase::Failed => wire::RestorePhase::Failed,
        },
        progress: wire::BackupProgress {
            done_bytes: row.done_bytes,
            total_bytes: row.total_bytes,
        },
        requested_by: row.requested_by,
        created_at: row.created_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        restored_to: row.restored_to,
    }
}

/// Stretches of the log, as restores choose among them.
fn stretches(spans: &[LogSpan]) -> Vec<Stretch> {
    let stretch = |span: &LogSpan| Stretch {
        id: span.id,
        to: span.to,
        covered_at: span.covered_at,
    };
    spans.iter().map(stretch).collect()
}

/// Copies that are stored, as restores choose among them.
fn copies(bases: &[Backup]) -> Vec<StoredCopy> {
    let copy = |base: &Backup| {
        let (from, to) = base.range?;
        Some(StoredCopy {
            id: base.id,
            span: base.span?,
            from,
            to,
            ended_at: base.ended_at?,
        })
    };
    bases.iter().filter_map(copy).collect()
}
