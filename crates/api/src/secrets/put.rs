//! `PUT /v1/apps/{app}/secrets/{name}`: a new version, sealed. A new release at once, or staged. Setting the value it
//! already has changes nothing.

use axum::response::Response;
use serde_json::json;
use slipway_domain::ids::SecretId;
use slipway_domain::name::VariableName;
use slipway_domain::ports::SealContext;
use slipway_domain::secret::Secret;
use slipway_domain::spec::check_variable;
use slipway_store::{SealedSecret, SecretInfo};
use slipway_wire::Code;
use slipway_wire::deployments::Deployment;
use slipway_wire::secrets::NewSecret;

use super::newest;
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names, Params};
use crate::staging::ChangeParams;
use crate::wait::Wait;

/// The longest value.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// The most secrets of one environment.
const SECRETS_MAX: usize = 256;

/// Set a secret.
#[utoipa::path(put, path = "/v1/apps/{app}/secrets/{name}", tag = "secrets", operation_id = "secret_put",
    params(("app" = String, Path, description = "The app's name."),
        ("name" = String, Path, description = "The secret's name."), ChangeParams),
    request_body = NewSecret,
    responses(
        (status = 200, description = "The deployment that followed succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "A deployment follows.", body = Deployment),
        (status = 204, description = "Staged, or nothing was ever deployed, or nothing changed.")))]
pub(crate) async fn secret_put(
    call: Call,
    Names((app, name)): Names<(String, String)>,
    Params(params): Params<ChangeParams>,
    Json(body): Json<NewSecret>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let mut tx = call.begin().await?;
    let (app, environment) = call.locked(&mut tx, &app, params.environment.as_ref()).await?;
    let name = parse_name(&name)?;
    let value = parse_value(body)?;

    let fingerprint = call.state.sealer.fingerprint(app.team, &value);
    let before = newest(&mut tx, &environment, &name).await?;
    let changed = before.as_ref().is_none_or(|s| s.fingerprint != fingerprint);
    if changed {
        if before.is_none() && tx.current_secrets(environment.id).await?.len() >= SECRETS_MAX {
            let detail = format!("The environment has {SECRETS_MAX} secrets already. Remove one first.");
            return Err(ApiError::Refused(Code::InvalidBody, detail));
        }
        let (id, now) = (SecretId::mint(call.now(), call.state.entropy.as_ref()), call.now());
        let key = id.to_string();
        let context = SealContext {
            team: Some(app.team),
            kind: "secret",
            id: &key,
        };
        let sealed = call.state.sealer.seal(context, &value)?;
        let created_by = call.caller.name.to_string();
        let info = SecretInfo {
            id,
            name: name.clone(),
            version: 0,
            fingerprint,
            created_at: now,
            created_by,
        };
        let version = tx.put_secret(&environment, &SealedSecret { info, sealed }).await?;
        let target = Target::new("secret", id, format!("{}/{}/{name}", app.name, environment.name));
        call.audit(
            &mut tx,
            Some(app.team),
            "secret.set",
            target,
            Some(json!({"version": version})),
        )
        .await?;
    }

    call.secrets_changed(tx, (app, environment), changed, &params, wait)
        .await
}

fn parse_name(name: &str) -> Result<VariableName> {
    let refuse = |detail: String| ApiError::Refused(Code::InvalidName, detail);
    let parsed: VariableName = name
        .parse()
        .map_err(|e: slipway_domain::name::NameError| refuse(format!("{e}.")))?;
    check_variable(&parsed, "").map_err(|detail| refuse(format!("{detail}.")))?;
    Ok(parsed)
}

fn parse_value(body: NewSecret) -> Result<Secret> {
    let refuse = |detail: &str| Err(ApiError::member(Code::InvalidBody, "/value", detail));
    match body.value.len() {
        0 => refuse("The value is empty. To remove a secret, delete it."),
        n if n > VALUE_BYTES_MAX => {
            refuse("The value is longer than 64 KiB. Keep large things in a volume or a bucket.")
        }
        _ if body.value.contains('\0') => refuse("The value contains a NUL byte, which no variable can hold."),
        _ => Ok(Secret::new(body.value)),
    }
}
