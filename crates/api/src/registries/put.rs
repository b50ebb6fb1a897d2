//! `PUT /v1/registries/{host}`: stores pull credentials, sealed. The next pull uses them.

use slipway_domain::image::{ImageError, RegistryHost};
use slipway_domain::ports::SealContext;
use slipway_domain::secret::Secret;
use slipway_wire::Code;
use slipway_wire::registries::{NewRegistry, Registry};

use super::{TeamParams, shown};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names, Params};

const USERNAME_BYTES_MAX: usize = 256;
const PASSWORD_BYTES_MAX: usize = 16 << 10;
const REGISTRIES_MAX: usize = 200;

/// Store pull credentials.
#[utoipa::path(put, path = "/v1/registries/{host}", tag = "registries", operation_id = "registry_put",
    params(("host" = String, Path, description = "Host and port."), TeamParams),
    request_body = NewRegistry,
    responses((status = 200, description = "Stored.", body = Registry)))]
pub(crate) async fn registry_put(
    call: Call,
    Names(host): Names<String>,
    Params(params): Params<TeamParams>,
    Json(body): Json<NewRegistry>,
) -> Result<axum::Json<Registry>> {
    call.demand_whole_team("change pull credentials")?;
    let host: RegistryHost = host
        .parse()
        .map_err(|e: ImageError| ApiError::Refused(Code::InvalidName, format!("{e}.")))?;
    for (pointer, value, max) in [
        ("/username", &body.username, USERNAME_BYTES_MAX),
        ("/password", &body.password, PASSWORD_BYTES_MAX),
    ] {
        if value.is_empty() || value.len() > max || value.contains('\0') {
            return Err(ApiError::member(
                Code::InvalidBody,
                pointer,
                format!("Give 1 to {max} bytes without NUL."),
            ));
        }
    }
    // RFC 7617 section 2: what comes after a colon would be taken for the password.
    if body.username.contains(':') {
        let detail = "A user name cannot contain a colon.";
        return Err(ApiError::member(Code::InvalidBody, "/username", detail));
    }
    let mut tx = call.begin().await?;
    let team = call.team_or_own(&mut tx, params.team.as_ref()).await?.id;
    let others = tx.registries(team).await?;
    if others.len() >= REGISTRIES_MAX && !others.iter().any(|r| r.host == host) {
        let detail = format!("The team has {REGISTRIES_MAX} registries already. Remove one first.");
        return Err(ApiError::Refused(Code::InvalidBody, detail));
    }

    let context = SealContext {
        team: Some(team),
        kind: "registry",
        id: host.as_str(),
    };
    let sealed_password = call.state.sealer.seal(context, &Secret::new(body.password))?;
    let row = slipway_store::Registry {
        host,
        username: body.username,
        sealed_password,
        updated_at: call.now(),
        updated_by: call.caller.name.to_string(),
    };
    tx.put_registry(team, &row).await?;
    call.audit(
        &mut tx,
        Some(team),
        "registry.set",
        Target::named("registry", &row.host),
        None,
    )
    .await?;
    tx.commit().await?;
    Ok(axum::Json(shown(row)))
}
