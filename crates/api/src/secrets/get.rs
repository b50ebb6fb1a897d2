//! `GET /v1/apps/{app}/secrets/{name}`: what is known of a secret but its value.

use slipway_wire::secrets::Secret;

use super::{newest, shown};
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};
use crate::spec::WhereParams;

/// Show a secret, without its value.
#[utoipa::path(get, path = "/v1/apps/{app}/secrets/{name}", tag = "secrets", operation_id = "secret_get",
    params(("app" = String, Path, description = "The app's name."),
        ("name" = String, Path, description = "The secret's name."), WhereParams),
    responses((status = 200, description = "The secret.", body = Secret)))]
pub(crate) async fn secret_get(
    call: Call,
    Names((app, name)): Names<(String, String)>,
    Params(params): Params<WhereParams>,
) -> Result<axum::Json<Secret>> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let environment = call.environment(&mut tx, &app, params.environment.as_ref()).await?;
    let found = match name.parse() {
        Ok(parsed) => newest(&mut tx, &environment, &parsed).await?,
        Err(_) => None,
    };
    let row = found.ok_or_else(|| ApiError::not_found("secret", &name))?;
    Ok(axum::Json(shown(row, &environment)))
}
