//! `POST /v1/operations/{id}/cancel`: calls a command off; its container is stopped.

use slipway_wire::instances::Target as NoBody;
use slipway_wire::operations::Operation;
use slipway_wire::{Code, Problem};

use super::{Found, shown};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{MaybeJson, Names};

/// Call off an operation.
#[utoipa::path(post, path = "/v1/operations/{id}/cancel", tag = "operations", operation_id = "operation_cancel",
    params(("id" = String, Path, description = "The operation's identifier."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body(content = Option<NoBody>, description = "May be left out."),
    responses(
        (status = 200, description = "It will be stopped.", body = Operation),
        (status = 409, description = "It has ended.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn operation_cancel(
    call: Call,
    Names(id): Names<String>,
    _body: MaybeJson<NoBody>,
) -> Result<axum::Json<Operation>> {
    let mut tx = call.begin().await?;
    let Found { run, app, environment } = call.found_run(&mut tx, &id).await?;
    let why = format!("it was called off by {}", call.caller.name);
    if !tx.cancel_run(run.id, &why).await? {
        let state = tx.run(run.id).await?.map_or(run.state, |r| r.state);
        let detail = format!("The operation has ended already, as `{}`.", state.as_str());
        return Err(ApiError::Refused(Code::AlreadyFinished, detail));
    }
    let release = call.run_release(&mut tx, &run).await?;
    let target = Target::new("run", run.id, format!("{}/{}", app.name, environment.name));
    call.audit(&mut tx, Some(app.team), "run.cancel", target, None).await?;
    tx.commit().await?;
    call.wake();
    Ok(axum::Json(shown(run, &app, &environment, release)))
}
