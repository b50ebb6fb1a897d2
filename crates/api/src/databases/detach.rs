//! `DELETE /v1/databases/{database}/attach`: an environment may reach a database no more; its secret goes.

use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_store::{App, Environment, Tx};
use slipway_wire::Code;
use slipway_wire::deployments::Deployment;

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};
use crate::staging::ChangeParams;
use crate::wait::Wait;

/// Which environment.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DetachParams {
    /// The app.
    #[param(value_type = String)]
    pub(crate) app: AppName,
    /// Its environment; `production` if not given.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<EnvironmentName>,
    /// `false` stages the change for the next release.
    #[param(default = true)]
    pub(crate) apply: Option<bool>,
    /// How long to wait for the deployment to end, such as `120s`, at most `10m`.
    pub(crate) wait: Option<String>,
}

/// Have an environment of an app reach a database no more.
#[utoipa::path(delete, path = "/v1/databases/{database}/attach", tag = "databases", operation_id = "database_detach",
    params(("database" = String, Path, description = "The database's name."), DetachParams),
    responses(
        (status = 200, description = "The deployment that followed succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "A deployment follows.", body = Deployment),
        (status = 204, description = "Staged, or nothing was ever deployed.")))]
pub(crate) async fn database_detach(
    call: Call,
    Names(name): Names<String>,
    Params(params): Params<DetachParams>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let mut tx = call.begin().await?;
    let (app, environment) = call
        .locked(&mut tx, params.app.as_str(), params.environment.as_ref())
        .await?;
    let database = call.database(&mut tx, &name).await?;
    let attached = tx.attachments(Some(database.id), Some(environment.id)).await?;
    let Some(attachment) = attached.into_iter().next() else {
        let place = format!("{}/{} to {name}", app.name, environment.name);
        return Err(ApiError::not_found("attachment", &place));
    };
    tx.detach_database(database.id, environment.id).await?;
    tx.delete_secret(environment.id, &attachment.variable, call.now())
        .await?;
    let target = Target::new("database", database.id, &database.name);
    let change = json!({"app": app.name, "environment": environment.name, "variable": attachment.variable});
    call.audit(&mut tx, Some(app.team), "database.detach", target, Some(change))
        .await?;
    let params = ChangeParams {
        environment: None,
        apply: params.apply,
        wait: None,
    };
    call.secrets_changed(tx, (app, environment), true, &params, wait).await
}

impl Call {
    /// An environment that goes reaches no database any more; refused where it does, unless somebody insists. The databases
    /// stay.
    pub(crate) async fn leave_databases(
        &self,
        tx: &mut Tx,
        app: &App,
        environment: &Environment,
        force: bool,
    ) -> Result<()> {
        let attached = tx.attachments(None, Some(environment.id)).await?;
        let Some(one) = attached.first() else { return Ok(()) };
        if !force {
            let (database, place) = (&one.database_name, format!("{}/{}", app.name, environment.name));
            let detail = format!(
                "{place} may reach the database {database}. Detach it first (`slipway db detach {database} -a {} -e {}`), or insist with `?force=true` (`--force`): the database stays.",
                app.name, environment.name
            );
            return Err(ApiError::Refused(Code::Conflict, detail));
        }
        tx.detach_databases(environment.id).await?;
        Ok(())
    }
}
