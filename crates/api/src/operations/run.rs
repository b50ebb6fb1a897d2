//! `POST /v1/apps/{app}/run`: a command in a container of its own, with the image, variables and secrets of what serves.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use slipway_domain::ids::RunId;
use slipway_domain::spec::{RUN_TIMEOUT_DEFAULT, RUN_TIMEOUT_MS, check_command};
use slipway_store::Run;
use slipway_wire::operations::{NewRun, Operation};
use slipway_wire::{Code, Problem};

use super::shown;
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names, Params};
use crate::instances::{ActParams, named};
use crate::release::{current_release, serving_release};
use crate::view;
use crate::wait::Wait;

/// Unfinished runs of one environment.
const UNFINISHED_MAX: i64 = 20;

/// Run a command once.
#[utoipa::path(post, path = "/v1/apps/{app}/run", tag = "operations", operation_id = "run",
    params(("app" = String, Path, description = "The app's name."), ActParams,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = NewRun,
    responses(
        (status = 200, description = "It has ended (with `wait`).", body = Operation),
        (status = 202, description = "Accepted, or still running when the wait was over.", body = Operation,
            headers(("Location" = String, description = "The operation."))),
        (status = 409, description = "Nothing was ever deployed.", body = Problem,
            content_type = "application/problem+json"),
        (status = 429, description = "Too many are under way.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn run(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ActParams>,
    Json(body): Json<NewRun>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    check_command(&body.command)
        .map_err(|detail| ApiError::member(Code::InvalidBody, "/command", format!("The command {detail}.")))?;
    let timeout = body.timeout.unwrap_or(RUN_TIMEOUT_DEFAULT);
    if !RUN_TIMEOUT_MS.contains(&timeout.as_millis()) {
        let detail = "A command may take 1s to 24h.";
        return Err(ApiError::member(Code::InvalidBody, "/timeout", detail));
    }
    let environment = named(body.environment, params.environment)?;
    let mut tx = call.begin().await?;
    let (app, environment) = call.locked(&mut tx, &app, environment.as_ref()).await?;
    let release = match serving_release(&mut tx, &environment).await? {
        None => current_release(&mut tx, &environment).await?,
        serving => serving,
    };
    let Some(release) = release else {
        let (name, app) = (&environment.name, &app.name);
        let detail =
            format!("Nothing was deployed to {name} of {app} yet: there is no image to run. Deploy one first.");
        return Err(ApiError::Refused(Code::NothingDeployed, detail));
    };
    if tx.unfinished_runs(environment.id).await? >= UNFINISHED_MAX {
        let detail = format!("{UNFINISHED_MAX} commands are under way already. Wait for one to end, or cancel it.");
        return Err(ApiError::Refused(Code::TooManyRequests, detail));
    }

    let now = call.now();
    let id = RunId::mint(now, call.state.entropy.as_ref());
    let run = Run {
        created_at: now,
        created_by: call.caller.name.to_string(),
        ..Run::new(id, &environment, release.id, body.command, timeout)
    };
    tx.insert_run(&run).await?;
    let target = Target::new("run", id, format!("{}/{}", app.name, environment.name));
    call.audit(&mut tx, Some(app.team), "run.create", target, None).await?;
    tx.commit().await?;
    call.wake();

    let run = call.until_run_ended(id, wait).await?.unwrap_or(run);
    let status = if run.state.is_final() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let body = shown(run, &app, &environment, release.number);
    let location = view::located(&format!("/v1/operations/{id}"));
    Ok((status, location, axum::Json(body)).into_response())
}
