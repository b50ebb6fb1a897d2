//! `/v1/apps/{app}/secrets`: values go in and never come out.

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod put;

use axum::response::Response;
use slipway_domain::name::VariableName;
use slipway_domain::release::ReleaseCause;
use slipway_store::{App, Environment, SecretInfo, Tx};
use slipway_wire::secrets::Secret;

use crate::call::Call;
use crate::error::Result;
use crate::release::Place;
use crate::staging::ChangeParams;
use crate::wait::Wait;

fn shown(row: SecretInfo, environment: &Environment) -> Secret {
    Secret {
        required: environment.spec.secrets.required.contains(&row.name),
        name: row.name.to_string(),
        version: row.version,
        fingerprint: row.fingerprint,
        created_at: row.created_at,
        created_by: row.created_by,
    }
}

/// The newest version of one secret.
pub(crate) async fn newest(tx: &mut Tx, environment: &Environment, name: &VariableName) -> Result<Option<SecretInfo>> {
    Ok(tx
        .current_secrets(environment.id)
        .await?
        .into_iter()
        .find(|s| s.name == *name))
}

impl Call {
    /// Makes or stages what follows from changed secrets, and answers.
    pub(crate) async fn secrets_changed(
        &self,
        mut tx: Tx,
        (app, environment): (App, Environment),
        changed: bool,
        params: &ChangeParams,
        wait: Wait,
    ) -> Result<Response> {
        let place = Place {
            app: &app,
            environment: &environment,
        };
        let apply = params.apply.unwrap_or(true);
        let what = (ReleaseCause::Secrets, changed, apply);
        let deployment = self.settle(&mut tx, &place, &environment.spec, what).await?;
        tx.commit().await?;
        if deployment.is_some() {
            self.wake();
        }
        self.answer_change(deployment, wait).await
    }
}
