//! `DELETE /v1/databases/{database}`: it goes with its data; refused while apps may reach it, unless somebody insists.

use http::StatusCode;
use serde_json::json;
use slipway_wire::{Code, Problem};

use crate::apps::delete::DeleteParams;
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};

/// Delete a database with its data.
#[utoipa::path(delete, path = "/v1/databases/{database}", tag = "databases", operation_id = "database_delete",
    params(("database" = String, Path, description = "The database's name."), DeleteParams),
    responses((status = 204, description = "It goes away."),
        (status = 409, description = "Apps may reach it.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn database_delete(
    call: Call,
    Names(name): Names<String>,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode> {
    call.demand_whole_team("delete databases")?;
    let force = params.force.unwrap_or(false);
    let mut tx = call.begin().await?;
    let database = call.database(&mut tx, &name).await?;
    let attached = tx.attachments(Some(database.id), None).await?;
    if let (false, Some(one)) = (force, attached.first()) {
        let detail = format!(
            "{}/{} may reach {name}. Detach it first (`slipway db detach {name} -a {}`), or insist with `?force=true` (`--force`).",
            one.app_name, one.environment_name, one.app_name
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    tx.delete_database(database.id, call.now()).await?;
    let target = Target::new("database", database.id, &database.name);
    call.audit(
        &mut tx,
        Some(database.team),
        "database.delete",
        target,
        Some(json!({"force": force})),
    )
    .await?;
    tx.commit().await?;
    call.wake();
    Ok(StatusCode::NO_CONTENT)
}
