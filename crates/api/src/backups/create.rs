//! `POST /v1/databases/{database}/backups`: a copy of the whole server, now.

use http::StatusCode;
use slipway_domain::backup::{BackupKind, BackupState};
use slipway_domain::ids::BackupId;
use slipway_store::Backup;
use slipway_wire::backups::{self as wire, NewBackup};
use slipway_wire::{Code, Problem};

use super::shown;
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names};

/// Make a backup now. It is made by itself once a day, and what is written meanwhile is stored as it is written.
#[utoipa::path(post, path = "/v1/databases/{database}/backups", tag = "databases", operation_id = "backup_create",
    params(("database" = String, Path, description = "The database's name."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = NewBackup,
    responses((status = 202, description = "It is made.", body = wire::Backup),
        (status = 409, description = "One is being made, or the database is not ready.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn backup_create(
    call: Call,
    Names(name): Names<String>,
    Json(NewBackup {}): Json<NewBackup>,
) -> Result<(StatusCode, axum::Json<wire::Backup>)> {
    let mut tx = call.begin().await?;
    let database = call.database(&mut tx, &name).await?;
    if database.deleted_at.is_some() || database.status.ready_at.is_none() {
        let detail = format!("{name} has no server to copy: `slipway db show {name}` says why.");
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    if let Some(pending) = tx.pending_backup(database.id).await? {
        let detail = format!(
            "A backup of {name} is being made already ({}): `slipway db backups {name}` shows how far it is.",
            pending.id
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    let now = call.now();
    let backup = Backup {
        id: BackupId::mint(now, call.state.entropy.as_ref()),
        database: database.id,
        database_name: database.name.clone(),
        team: database.team,
        kind: BackupKind::Base,
        state: BackupState::Waiting,
        reason: None,
        requested_by: call.caller.name.to_string(),
        created_at: now,
        started_at: None,
        ended_at: None,
        span: None,
        range: None,
        source_bytes: None,
        done_bytes: 0,
        stored_bytes: None,
    };
    tx.ask_backup(&backup).await?;
    let target = Target::new("database", database.id, &database.name);
    call.audit(&mut tx, Some(database.team), "database.backup", target, None)
        .await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, axum::Json(shown(backup))))
}
