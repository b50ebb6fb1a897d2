//! `/v1/apps/{app}/domains/{host}/client-ca`: visitors show a certificate (mTLS).

use serde_json::json;
use slipway_wire::domains::{ClientCa, Domain};
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names};

const PEM_BYTES_MAX: usize = 64 << 10;

/// Have visitors show a certificate that one of these CAs vouches for.
#[utoipa::path(put, path = "/v1/apps/{app}/domains/{host}/client-ca", tag = "domains", operation_id = "client_ca_put",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name.")),
    request_body = ClientCa,
    responses((status = 200, description = "Who comes without one is not let in any more.", body = Domain),
        (status = 409, description = "It is not proven whose the name is.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn client_ca_put(
    call: Call,
    Names((app, host)): Names<(String, String)>,
    Json(body): Json<ClientCa>,
) -> Result<axum::Json<Domain>> {
    let wrong = |detail: String| ApiError::member(Code::InvalidBody, "/certificates", detail);
    if body.certificates.len() > PEM_BYTES_MAX {
        return Err(wrong(format!("Give at most {PEM_BYTES_MAX} bytes.")));
    }
    call.state.checker.check_client_ca(&body.certificates).map_err(wrong)?;
    set(&call, &app, &host, Some(&body.certificates)).await
}

/// Let anybody in.
#[utoipa::path(delete, path = "/v1/apps/{app}/domains/{host}/client-ca", tag = "domains", operation_id = "client_ca_delete",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name.")),
    responses((status = 200, description = "No certificate is asked for.", body = Domain)))]
pub(crate) async fn client_ca_delete(
    call: Call,
    Names((app, host)): Names<(String, String)>,
) -> Result<axum::Json<Domain>> {
    set(&call, &app, &host, None).await
}

async fn set(call: &Call, app: &str, host: &str, pem: Option<&str>) -> Result<axum::Json<Domain>> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, app).await?;
    // A wildcard may serve a name that is not proven, and lets in whom it likes.
    let row = match pem {
        Some(_) => call.proven_domain(&mut tx, &app, host).await?,
        None => call.domain(&mut tx, &app, host).await?,
    };
    tx.set_client_ca(row.id, pem).await?;
    let target = Target::new("domain", row.id, &row.host);
    let change = json!({"client_ca": pem.is_some()});
    call.audit(&mut tx, Some(app.team), "domain.change", target, Some(change))
        .await?;
    let row = call.domain(&mut tx, &app, row.host.as_str()).await?;
    tx.commit().await?;
    Ok(axum::Json(call.domain_kept(row)))
}
