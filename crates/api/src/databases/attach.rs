//! `POST /v1/databases/{database}/attach`: an environment may reach a database, and is told how in a secret.

use axum::response::Response;
use serde_json::json;
use slipway_domain::database::{DatabasePasswords, DatabaseState, PORT, host, inner_name};
use slipway_domain::name::VariableName;
use slipway_domain::secret::Secret;
use slipway_domain::spec::check_variable;
use slipway_store::{App, Database, Environment, Tx};
use slipway_wire::databases::NewAttachment;
use slipway_wire::deployments::Deployment;
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names, Params};
use crate::secrets::newest;
use crate::staging::{ApplyParams, ChangeParams};
use crate::wait::Wait;

/// What the secret is called where nobody says.
const DATABASE_URL: &str = "DATABASE_URL";

/// The same, parsed.
pub(crate) fn default_variable() -> Result<VariableName> {
    let parsed = DATABASE_URL.parse();
    parsed.map_err(|_| ApiError::Internal(format!("{DATABASE_URL} is no variable")))
}

/// Let an environment of an app reach a database.
#[utoipa::path(post, path = "/v1/databases/{database}/attach", tag = "databases", operation_id = "database_attach",
    params(("database" = String, Path, description = "The database's name."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call."), ApplyParams),
    request_body = NewAttachment,
    responses(
        (status = 200, description = "The deployment that followed succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "A deployment follows.", body = Deployment),
        (status = 204, description = "Staged, or nothing was ever deployed."),
        (status = 409, description = "It may reach it already, the secret is there, or the database is not ready.",
            body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn database_attach(
    call: Call,
    Names(name): Names<String>,
    Params(params): Params<ApplyParams>,
    Json(body): Json<NewAttachment>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let variable = match body.variable {
        Some(variable) => variable,
        None => default_variable()?,
    };
    check_variable(&variable, "")
        .map_err(|detail| ApiError::member(Code::InvalidName, "/variable", format!("{detail}.")))?;
    let mut tx = call.begin().await?;
    let (app, environment) = call
        .locked(&mut tx, body.app.as_str(), body.environment.as_ref())
        .await?;
    let database = call.database(&mut tx, &name).await?;
    if database.team != app.team {
        // Who sees both is an administrator.
        let detail = format!(
            "{name} is the team {}'s, {} is not. A database is reached by its own team's apps.",
            database.team_name, app.name
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    if database.deleted_at.is_some() || database.status.state != DatabaseState::Ready {
        let detail = format!("{name} is not ready: `slipway db show {name}` says why. Attach it when it is.");
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    call.let_reach(&mut tx, &database, (&app, &environment), &variable)
        .await?;
    let params = ChangeParams {
        environment: None,
        apply: params.apply,
        wait: None,
    };
    call.secrets_changed(tx, (app, environment), true, &params, wait).await
}

impl Call {
    /// Writes that an environment may reach a database, and the secret that tells it how.
    pub(crate) async fn let_reach(
        &self,
        tx: &mut Tx,
        database: &Database,
        (app, environment): (&App, &Environment),
        variable: &VariableName,
    ) -> Result<()> {
        let attached = tx.attachments(Some(database.id), Some(environment.id)).await?;
        if let Some(attachment) = attached.first() {
            let detail = format!(
                "{}/{} may reach {} already: its secret {} says how.",
                app.name, environment.name, database.name, attachment.variable
            );
            return Err(ApiError::Refused(Code::Conflict, detail));
        }
        if newest(tx, environment, variable).await?.is_some() {
            let detail = format!(
                "{}/{} has a secret {variable} already. Remove it (`slipway secrets unset {variable}`), or give another name in `variable`.",
                app.name, environment.name
            );
            return Err(ApiError::Refused(Code::Conflict, detail));
        }
        let (now, by) = (self.now(), self.caller.name.to_string());
        tx.attach_database(database.id, environment.id, variable, (now, &by))
            .await?;
        let url = self.database_url(database)?;
        self.store_secret(tx, (app, environment), variable, &url).await?;
        let target = Target::new("database", database.id, &database.name);
        let change = json!({"app": app.name, "environment": environment.name, "variable": variable});
        self.audit(tx, Some(app.team), "database.attach", target, Some(change))
            .await
    }

    /// The passwords of a database's roles.
    pub(crate) fn passwords_of(&self, database: &Database) -> Result<DatabasePasswords> {
        let id = database.id.to_string();
        let context = DatabasePasswords::seal_context(database.team, &id);
        let opened = self.state.sealer.open(context, &database.sealed_passwords)?;
        DatabasePasswords::parse(&opened)
            .ok_or_else(|| ApiError::Internal(format!("the passwords of {id} are damaged")))
    }

    /// How an app logs in (libpq's connection URI).
    fn database_url(&self, database: &Database) -> Result<Secret> {
        let passwords = self.passwords_of(database)?;
        let (name, password) = (inner_name(&database.name), passwords.owner.expose());
        let host = host(&database.name);
        Ok(Secret::new(format!(
            "postgres://{name}:{password}@{host}:{PORT}/{name}"
        )))
    }
}
