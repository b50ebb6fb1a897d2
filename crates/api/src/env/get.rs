//! `GET /v1/apps/{app}/env`.

use axum::response::{IntoResponse, Response};
use http::header;
use slipway_wire::env::Env;

use crate::call::Call;
use crate::error::Result;
use crate::etag::etag;
use crate::extract::{Names, Params};
use crate::spec::WhereParams;

/// Show the variables of an environment.
#[utoipa::path(get, path = "/v1/apps/{app}/env", tag = "env", operation_id = "env_get",
    params(("app" = String, Path, description = "The app's name."), WhereParams),
    responses((status = 200, description = "The variables.", body = Env,
        headers(("ETag" = String, description = "The ETag of the spec, which they are part of.")))))]
pub(crate) async fn env_get(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<WhereParams>,
) -> Result<Response> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let environment = call.environment(&mut tx, &app, params.environment.as_ref()).await?;
    let generation = environment.spec_generation;
    let env = environment
        .spec
        .env
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect();
    Ok(([(header::ETAG, etag(generation))], axum::Json(Env { env, generation })).into_response())
}
