//! `GET /v1/operations/{id}`: how long work stands. While a command runs, what it has written so far.

use serde::Deserialize;
use slipway_domain::run::RunState;
use slipway_wire::operations::Operation;

use super::{Found, shown};
use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};
use crate::wait::Wait;

/// How long to wait.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetParams {
    /// How long to wait for the end, such as `120s`, at most `10m`.
    pub(crate) wait: Option<String>,
}

/// Show an operation.
#[utoipa::path(get, path = "/v1/operations/{id}", tag = "operations", operation_id = "operation_get",
    params(("id" = String, Path, description = "The operation's identifier."), GetParams),
    responses((status = 200, description = "The operation.", body = Operation)))]
pub(crate) async fn operation_get(
    call: Call,
    Names(id): Names<String>,
    Params(params): Params<GetParams>,
) -> Result<axum::Json<Operation>> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let mut tx = call.begin().await?;
    let Found {
        mut run,
        app,
        environment,
    } = call.found_run(&mut tx, &id).await?;
    let release = call.run_release(&mut tx, &run).await?;
    drop(tx);
    if let Some(later) = call.until_run_ended(run.id, wait).await? {
        run = later;
    }
    if run.state == RunState::Running {
        run.output = call.state.instances.run_output(run.id).await;
    }
    Ok(axum::Json(shown(run, &app, &environment, release)))
}
