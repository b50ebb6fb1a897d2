//! `POST /v1/databases/{database}/restore`: another database, as this one was. Nothing is ever restored into one that is there.

use http::StatusCode;
use serde_json::json;
use slipway_domain::backup::{Choice, RestorePhase, Target as Moment, choose, needed_to};
use slipway_domain::database::{DatabasePasswords, DatabaseState, is_reserved};
use slipway_domain::ids::DatabaseId;
use slipway_domain::secret::Sealed;
use slipway_store::{Backup, Database, DatabaseStatus, Restore, Tx};
use slipway_wire::backups::NewRestore;
use slipway_wire::databases as wire;
use slipway_wire::{Code, Problem};

use super::{copies, stretches};
use crate::audit::Target;
use crate::call::Call;
use crate::databases::create::DATABASES_MAX;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names};

/// Make another database out of the backups of one.
#[utoipa::path(post, path = "/v1/databases/{database}/restore", tag = "databases", operation_id = "database_restore",
    params(("database" = String, Path, description = "The database whose backups it is made from."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = NewRestore,
    responses((status = 202, description = "It is made; `restore` in it says how far it is.", body = wire::Database),
        (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "That moment cannot be restored; the detail says which can.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn database_restore(
    call: Call,
    Names(name): Names<String>,
    Json(body): Json<NewRestore>,
) -> Result<(StatusCode, axum::Json<wire::Database>)> {
    call.demand_whole_team("restore databases")?;
    let moment = moment(&body)?;
    let mut tx = call.begin().await?;
    let source = call.database(&mut tx, &name).await?;
    if tx.count_databases(source.team).await? >= DATABASES_MAX {
        let detail = format!("The team has {DATABASES_MAX} databases already. Remove one first.");
        return Err(ApiError::Refused(Code::InvalidBody, detail));
    }
    let spans = tx.spans(source.id).await?;
    let bases = tx.stored_bases(source.id).await?;
    let pointer = if body.backup.is_some() { "/backup" } else { "/to_time" };
    let choice = choose(&stretches(&spans), &copies(&bases), moment)
        .map_err(|detail| ApiError::member(Code::InvalidBody, pointer, detail))?;
    let now = call.now();
    let id = DatabaseId::mint(now, call.state.entropy.as_ref());
    let drawn = DatabasePasswords::draw(call.state.entropy.as_ref());
    let row = Database {
        id,
        name: body.into.clone(),
        sealed_passwords: call.sealed(&source, id, &drawn)?,
        generation: 1,
        deleted_at: None,
        created_at: now,
        created_by: call.caller.name.to_string(),
        status: DatabaseStatus {
            state: DatabaseState::Restoring,
            since: now,
            reason: None,
            subnet: None,
            ready_at: None,
            server_version: None,
            size_bytes: None,
        },
        ..source.clone()
    };
    tx.insert_database(&row).await?;
    let restore = call.asked(&mut tx, (&source, &row), &bases, &choice).await?;
    tx.ask_restore(&restore).await?;
    let target = Target::new("database", id, &row.name);
    let change = json!({"from": source.name, "backup": choice.copy.id, "to_time": choice.until});
    call.audit(&mut tx, Some(source.team), "database.restore", target, Some(change))
        .await?;
    tx.commit().await?;
    call.wake();
    let mut tx = call.begin().await?;
    let row = call.database(&mut tx, row.name.as_str()).await?;
    let shown = call.database_shown(&mut tx, row).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(shown)))
}

fn moment(body: &NewRestore) -> Result<Moment> {
    if is_reserved(&body.into) {
        let detail = format!(
            "`{}` is a name that Postgres or the platform keeps for itself. Choose another.",
            body.into
        );
        return Err(ApiError::member(Code::InvalidName, "/into", detail));
    }
    match (body.to_time, body.backup.as_deref()) {
        (None, None) => Ok(Moment::Latest),
        (Some(at), None) => Ok(Moment::At(at)),
        (None, Some(id)) => match id.parse() {
            Ok(id) => Ok(Moment::Copy(id)),
            Err(error) => Err(ApiError::member(Code::InvalidBody, "/backup", format!("{error}."))),
        },
        (Some(_), Some(_)) => {
            let detail = "Give `to_time` or `backup`, or neither for all that is stored.";
            Err(ApiError::member(Code::InvalidBody, "/backup", detail))
        }
    }
}

impl Call {
    /// What the worker is told of a restore.
    async fn asked(
        &self,
        tx: &mut Tx,
        (source, row): (&Database, &Database),
        bases: &[Backup],
        choice: &Choice,
    ) -> Result<Restore> {
        let range = (choice.copy.from, choice.stretch.to);
        let pieces = tx.log_objects(choice.stretch.id, range).await?;
        let base = bases.iter().find(|base| base.id == choice.copy.id);
        Ok(Restore {
            database: row.id,
            source: source.id,
            source_name: base.map_or_else(|| source.name.clone(), |base| base.database_name.clone()),
            backup: choice.copy.id,
            span: choice.stretch.id,
            to: needed_to(pieces.iter().map(|piece| (piece.to, piece.last_at)), choice),
            until: choice.until,
            sealed_passwords: self.sealed(source, row.id, &self.passwords_of(source)?)?,
            phase: RestorePhase::Waiting,
            reason: None,
            done_bytes: 0,
            total_bytes: None,
            requested_by: row.created_by.clone(),
            created_at: row.created_at,
            started_at: None,
            ended_at: None,
            restored_to: None,
        })
    }

    /// Passwords, sealed for a database of the source's team.
    fn sealed(&self, source: &Database, id: DatabaseId, passwords: &DatabasePasswords) -> Result<Sealed> {
        let text = id.to_string();
        let context = DatabasePasswords::seal_context(source.team, &text);
        Ok(self.state.sealer.seal(context, &passwords.to_secret())?)
    }
}
