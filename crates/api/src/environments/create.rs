//! `POST /v1/apps/{app}/environments`: a new environment with a spec of its own. Nothing runs yet.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use slipway_wire::Problem;
use slipway_wire::apps::{Environment, NewEnvironment};

use crate::apps::create::Beginning;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names};
use crate::view::located;

/// Make an environment.
#[utoipa::path(post, path = "/v1/apps/{app}/environments", tag = "environments", operation_id = "environment_create",
    params(("app" = String, Path, description = "The app's name."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = NewEnvironment,
    responses(
        (status = 201, description = "Made.", body = Environment),
        (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn environment_create(
    call: Call,
    Names(app): Names<String>,
    Json(body): Json<NewEnvironment>,
) -> Result<Response> {
    let beginning = Beginning::parse("/expires_in", body.from, body.expires_in)?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    if !call.caller.reach.sees_environment(&body.name) {
        return Err(ApiError::not_found(
            "environment",
            &format!("{}/{}", app.name, body.name),
        ));
    }

    let row = call.insert_environment(&mut tx, &app, &body.name, &beginning).await?;
    let shown = call.environment_shown(&mut tx, row).await?;
    tx.commit().await?;
    let path = format!("/v1/apps/{}/environments/{}", app.name, body.name);
    Ok((StatusCode::CREATED, located(&path), axum::Json(shown)).into_response())
}
