//! `PUT /v1/apps/{app}/secrets/{name}`: a new version, sealed. A new release at once, or staged. Setting the value it
//! already has changes nothing.

use axum::response::Response;
use serde_json::json;
use slipway_domain::ids::SecretId;
use slipway_domain::name::VariableName;
use slipway_domain::ports::SealContext;
use slipway_domain::secret::Secret;
use slipway_domain::spec::check_variable;
use slipway_store::{App, Environment, SealedSecret, SecretInfo, Tx};
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

    let changed = call.store_secret(&mut tx, (&app, &environment), &name, &value).await?;
    call.secrets_changed(tx, (app, environment), changed, &params, wait)
        .await
}

impl Call {
    /// Writes a new version of a secret; false if it has the value already. Hold the environment's lock.
    pub(crate) async fn store_secret(
        &self,
        tx: &mut Tx,
        (app, environment): (&App, &Environment),
        name: &VariableName,
        value: &Secret,
    ) -> Result<bool> {
        let fingerprint = self.state.sealer.fingerprint(app.team, value);
        let before = newest(tx, environment, name).await?;
        if before.as_ref().is_some_and(|s| s.fingerprint == fingerprint) {
            return Ok(false);
        }
        if before.is_none() && tx.current_secrets(environment.id).await?.len() >= SECRETS_MAX {
            let detail = format!("The environment has {SECRETS_MAX} secrets already. Remove one first.");
            return Err(ApiError::Refused(Code::InvalidBody, detail));
        }
        let (id, now) = (SecretId::mint(self.now(), self.state.entropy.as_ref()), self.now());
        let key = id.to_string();
        let context = SealContext {
            team: Some(app.team),
            kind: "secret",
            id: &key,
        };
        let sealed = self.state.sealer.seal(context, value)?;
        let info = SecretInfo {
            id,
            name: name.clone(),
            version: 0,
            fingerprint,
            created_at: now,
            created_by: self.caller.name.to_string(),
        };
        let version = tx.put_secret(environment, &SealedSecret { info, sealed }).await?;
        let target = Target::new("secret", id, format!("{}/{}/{name}", app.name, environment.name));
        let change = json!({"version": version});
        self.audit(tx, Some(app.team), "secret.set", target, Some(change))
            .await?;
        Ok(true)
    }
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
