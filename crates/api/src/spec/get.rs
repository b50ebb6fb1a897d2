//! `GET /v1/apps/{app}/spec`: the whole spec of an environment, defaults included, with its `ETag`.

use axum::response::{IntoResponse, Response};
use http::header;
use slipway_wire::spec::{Spec, SpecDocument};

use super::WhereParams;
use crate::call::Call;
use crate::error::Result;
use crate::etag::etag;
use crate::extract::{Names, Params};

/// Show the spec of an environment.
#[utoipa::path(get, path = "/v1/apps/{app}/spec", tag = "spec", operation_id = "spec_get",
    params(("app" = String, Path, description = "The app's name."), WhereParams),
    responses((status = 200, description = "The spec.", body = SpecDocument,
        headers(("ETag" = String, description = "Give it as If-Match to change exactly this version.")))))]
pub(crate) async fn spec_get(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<WhereParams>,
) -> Result<Response> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let environment = call.environment(&mut tx, &app, params.environment.as_ref()).await?;
    let generation = environment.spec_generation;
    let body = SpecDocument {
        spec: Spec(environment.spec.to_json()),
        generation,
    };
    Ok(([(header::ETAG, etag(generation))], axum::Json(body)).into_response())
}
