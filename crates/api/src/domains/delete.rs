//! `DELETE /v1/apps/{app}/domains/{host}`: nothing is served there any more.

use http::StatusCode;
use slipway_domain::name::DomainName;
use slipway_store::{CustomDomain, Tx};

use super::{DomainParams, sent_from};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};
use slipway_wire::{Code, Problem};

/// Give a domain up.
#[utoipa::path(delete, path = "/v1/apps/{app}/domains/{host}", tag = "domains", operation_id = "domain_delete",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name."), DomainParams),
    responses((status = 204, description = "Given up. For a week no other team gets it."),
        (status = 409, description = "Another name of the app sends its visitors there, or a wildcard would let in whom it does not.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn domain_delete(
    call: Call,
    Names((app, host)): Names<(String, String)>,
    Params(params): Params<DomainParams>,
) -> Result<StatusCode> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.domain_of(&mut tx, &app, &host, &params).await?;
    if let Some(other) = sent_from(&mut tx, &app, &row).await? {
        let detail = format!(
            "{other} sends its visitors to {}. Remove {other} first, or let it answer itself (`slipway domains set {other} --no-redirect`).",
            row.host
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    if row.asks_visitors
        && let Some(wildcard) = wildcard_over(&mut tx, &row).await?
    {
        let detail = format!(
            "{wildcard} would serve {} from then on, to visitors without a certificate as well. If that is meant, say so first: `slipway domains client-ca {} --off`.",
            row.host, row.host
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    tx.delete_custom_domain(&row).await?;
    let target = Target::new("domain", row.id, &row.host);
    call.audit(&mut tx, Some(app.team), "domain.delete", target, None)
        .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The wildcard that serves a name that is given up.
async fn wildcard_over(tx: &mut Tx, row: &CustomDomain) -> Result<Option<DomainName>> {
    let Some((_, above)) = row.host.as_str().split_once('.') else {
        return Ok(None);
    };
    let found = tx.proven_domain(&format!("*.{above}")).await?;
    Ok(found.map(|wildcard| wildcard.host).filter(|host| *host != row.host))
}
