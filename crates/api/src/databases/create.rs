//! `POST /v1/databases`: a database with a server of its own. The scheduler makes it; `?wait=` answers when it is ready.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use slipway_domain::database::{DatabasePasswords, DatabaseSize, DatabaseState, PostgresVersion, is_reserved};
use slipway_domain::ids::{DatabaseId, TeamId};
use slipway_domain::image::Pin;
use slipway_domain::name::DatabaseName;
use slipway_domain::ports::PullPolicy;
use slipway_store::{Database, DatabaseStatus, Tx};
use slipway_wire::databases::{self as wire, NewDatabase};
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Params};
use crate::image::parse_image;
use crate::view::located;
use crate::wait::Wait;

use super::attach::default_variable;

/// The most databases of one team.
pub(crate) const DATABASES_MAX: i64 = 200;

/// Whether to wait.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CreateParams {
    /// How long to wait until it is ready, such as `60s`, at most `10m`.
    pub(crate) wait: Option<String>,
}

/// Make a database.
#[utoipa::path(post, path = "/v1/databases", tag = "databases", operation_id = "database_create",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call."), CreateParams),
    request_body = NewDatabase,
    responses(
        (status = 201, description = "Made; `state` says whether it is ready.", body = wire::Database),
        (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn database_create(
    call: Call,
    Params(params): Params<CreateParams>,
    Json(body): Json<NewDatabase>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    call.demand_whole_team("make databases")?;
    let (version, size) = wanted(&body)?;
    let mut tx = call.begin().await?;
    let team = match &body.app {
        Some(app) => call.app(&mut tx, app.as_str()).await?.team,
        None => call.team_or_own(&mut tx, body.team.as_ref()).await?.id,
    };
    if tx.count_databases(team).await? >= DATABASES_MAX {
        let detail = format!("The team has {DATABASES_MAX} databases already. Remove one first.");
        return Err(ApiError::Refused(Code::InvalidBody, detail));
    }
    drop(tx);
    let (image, pin) = call.postgres_image(team, version).await?;

    let mut tx = call.begin().await?;
    let row = call
        .drawn(&mut tx, &body.name, team, (version, size, image, pin))
        .await?;
    let id = row.id;
    tx.insert_database(&row).await?;
    let change =
        json!({"version": version.major(), "memory": size.memory, "cpu": size.cpu, "connections": size.connections});
    let target = Target::new("database", id, &row.name);
    call.audit(&mut tx, Some(team), "database.create", target, Some(change))
        .await?;
    if let Some(app) = &body.app {
        let (app, environment) = call.locked(&mut tx, app.as_str(), body.environment.as_ref()).await?;
        let variable = default_variable()?;
        call.let_reach(&mut tx, &row, (&app, &environment), &variable).await?;
        // Until the database is ready nothing could come of a release.
        if environment.release.is_some() {
            tx.set_staged(environment.id, true).await?;
        }
    }
    tx.commit().await?;
    call.wake();
    call.until_database_ready(id, wait).await?;
    let mut tx = call.begin().await?;
    let row = call.database(&mut tx, row.name.as_str()).await?;
    let path = format!("/v1/databases/{}", row.name);
    let shown = call.database_shown(&mut tx, row).await?;
    Ok((StatusCode::CREATED, located(&path), axum::Json(shown)).into_response())
}

fn fresh(now: slipway_domain::Timestamp) -> DatabaseStatus {
    DatabaseStatus {
        state: DatabaseState::Creating,
        since: now,
        reason: None,
        subnet: None,
        ready_at: None,
        server_version: None,
        size_bytes: None,
    }
}

/// What is asked for, if a server can be run with it.
fn wanted(body: &NewDatabase) -> Result<(PostgresVersion, DatabaseSize)> {
    let wrong = |pointer: &str, detail: String| ApiError::member(Code::InvalidBody, pointer, detail);
    if is_reserved(&body.name) {
        let detail = format!(
            "`{}` is a name that Postgres or the platform keeps for itself. Choose another.",
            body.name
        );
        return Err(ApiError::member(Code::InvalidName, "/name", detail));
    }
    if body.environment.is_some() && body.app.is_none() {
        return Err(wrong(
            "/environment",
            "Name the app whose environment it is in `app`.".into(),
        ));
    }
    if body.team.is_some() && body.app.is_some() {
        return Err(wrong(
            "/team",
            "With `app` it is the app's team's: leave `team` out.".into(),
        ));
    }
    let version = match body.version.as_deref() {
        Some(text) => text.parse().map_err(|e: String| wrong("/version", format!("{e}.")))?,
        None => PostgresVersion::DEFAULT,
    };
    let size = DatabaseSize::asked(body.memory, body.cpu, body.connections);
    size.check()
        .map_err(|(member, detail)| wrong(&format!("/{member}"), detail))?;
    Ok((version, size))
}

impl Call {
    /// A new one, with passwords of its own.
    async fn drawn(
        &self,
        tx: &mut Tx,
        name: &DatabaseName,
        team: TeamId,
        (version, size, image, pin): (PostgresVersion, DatabaseSize, String, Pin),
    ) -> Result<Database> {
        let (now, entropy) = (self.now(), self.state.entropy.as_ref());
        let id = DatabaseId::mint(now, entropy);
        let text = id.to_string();
        let context = DatabasePasswords::seal_context(team, &text);
        let passwords = DatabasePasswords::draw(entropy).to_secret();
        let found = tx.team(team).await?;
        Ok(Database {
            id,
            name: name.clone(),
            team,
            team_name: found.ok_or_else(|| ApiError::not_found("team", &team))?.name,
            version,
            image,
            pin,
            size,
            sealed_passwords: self.state.sealer.seal(context, &passwords)?,
            generation: 1,
            deleted_at: None,
            created_at: now,
            created_by: self.caller.name.to_string(),
            status: fresh(now),
        })
    }

    /// The very image of a version: the registry's, or where that does not have it or is away, the engine's own.
    async fn postgres_image(&self, team: TeamId, version: PostgresVersion) -> Result<(String, Pin)> {
        let template = &self.state.settings.postgres_image;
        let text = template.replace("{version}", &version.to_string());
        let image = parse_image("/version", &text)?;
        let refused = match self.resolve(team, &image, PullPolicy::Registry).await {
            Ok(pin) => return Ok((text, pin)),
            Err(refused) => refused,
        };
        let local = self.resolve(team, &image, PullPolicy::Local).await;
        local.map(|pin| (text, pin)).map_err(|_| refused)
    }
}
