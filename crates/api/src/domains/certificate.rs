//! `/v1/apps/{app}/domains/{host}/certificate`: one that somebody brings along, checked before it is used and its key
//! sealed. It is not renewed; when it has ended, or is taken back, one is ordered as for any other domain.

use http::StatusCode;
use serde_json::json;
use slipway_domain::ids::CertificateId;
use slipway_domain::ports::SealContext;
use slipway_domain::secret::Secret;
use slipway_store::Certificate;
use slipway_wire::domains::{Domain, NewCertificate};
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names};

const PEM_BYTES_MAX: usize = 64 << 10;

/// Put a certificate of one's own in use.
#[utoipa::path(put, path = "/v1/apps/{app}/domains/{host}/certificate", tag = "domains", operation_id = "certificate_put",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name.")),
    request_body = NewCertificate,
    responses((status = 200, description = "In use.", body = Domain),
        (status = 409, description = "The domain is not proven.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn certificate_put(
    call: Call,
    Names((app, host)): Names<(String, String)>,
    Json(body): Json<NewCertificate>,
) -> Result<axum::Json<Domain>> {
    for (pointer, value) in [("/chain", &body.chain), ("/key", &body.key)] {
        if value.len() > PEM_BYTES_MAX {
            let detail = format!("Give at most {PEM_BYTES_MAX} bytes.");
            return Err(ApiError::member(Code::InvalidBody, pointer, detail));
        }
    }
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.proven_domain(&mut tx, &app, &host).await?;
    let now = call.now();
    let checked = call
        .state
        .checker
        .check((&body.chain, &body.key), &row.host, now)
        .map_err(|why| ApiError::member(Code::InvalidBody, "/chain", why))?;
    let id = CertificateId::mint(now, call.state.entropy.as_ref());
    let text = id.to_string();
    let context = SealContext::certificate(&text);
    let certificate = Certificate {
        id,
        names: vec![row.host.to_string()],
        issuer: checked.issuer,
        chain_pem: body.chain,
        sealed_key: call.state.sealer.seal(context, &Secret::new(body.key))?,
        not_before: checked.not_before,
        not_after: checked.not_after,
        created_at: now,
        ca: None,
        // Nothing takes its place before it has ended.
        renew_at: checked.not_after,
        ari_at: None,
        failures: 0,
        uploaded: true,
    };
    tx.insert_certificate(&certificate).await?;
    tx.forget_issuance(&certificate.names).await?;
    let change = json!({"issuer": certificate.issuer, "not_after": certificate.not_after});
    let target = Target::new("domain", row.id, &row.host);
    call.audit(&mut tx, Some(app.team), "certificate.upload", target, Some(change))
        .await?;
    let row = call.domain(&mut tx, &app, row.host.as_str()).await?;
    tx.commit().await?;
    Ok(axum::Json(call.domain_kept(row)))
}

/// Have a certificate ordered in place of the one that was brought along.
#[utoipa::path(delete, path = "/v1/apps/{app}/domains/{host}/certificate", tag = "domains",
    operation_id = "certificate_delete",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name.")),
    responses((status = 202, description = "It serves until the ordered one is there.", body = Domain),
        (status = 409, description = "The domain's certificate was not brought along.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn certificate_delete(
    call: Call,
    Names((app, host)): Names<(String, String)>,
) -> Result<(StatusCode, axum::Json<Domain>)> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.proven_domain(&mut tx, &app, &host).await?;
    if !row.certificate.as_ref().is_some_and(|c| c.uploaded) {
        let detail = format!(
            "The certificate of {} is the platform's own and renewed by it.",
            row.host
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    let now = call.now();
    tx.renew_now(&[row.host.to_string()], now).await?;
    let target = Target::new("domain", row.id, &row.host);
    call.audit(&mut tx, Some(app.team), "certificate.give_up", target, None)
        .await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, axum::Json(call.domain_kept(row))))
}
