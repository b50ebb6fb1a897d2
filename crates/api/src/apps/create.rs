//! `POST /v1/apps`: an app with its `production`. Nothing runs yet.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use slipway_domain::Timestamp;
use slipway_domain::ids::{AppId, EnvironmentId};
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_domain::quantity::Span;
use slipway_domain::spec::Spec;
use slipway_domain::{Generation, ReleaseNumber};
use slipway_store::{App, Desired, Environment, Team, Tx};
use slipway_wire::apps::NewApp;
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::Json;
use crate::view::located;

/// Make an app.
#[utoipa::path(post, path = "/v1/apps", tag = "apps", operation_id = "app_create",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = NewApp,
    responses(
        (status = 201, description = "Made.", body = slipway_wire::apps::App),
        (status = 404, description = "No such team, app or environment, or the token may not know of it.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn app_create(call: Call, Json(body): Json<NewApp>) -> Result<Response> {
    if !call.caller.reach.sees_app(&body.name) {
        return Err(ApiError::not_found("app", &body.name));
    }
    let mut tx = call.begin().await?;
    let team = call.team_or_own(&mut tx, body.team.as_ref()).await?;

    let app = call.insert_app(&mut tx, &body.name, &team).await?;
    call.insert_environment(&mut tx, &app, &EnvironmentName::production(), &Beginning::default())
        .await?;
    tx.commit().await?;

    let mut tx = call.begin().await?;
    let shown = call.app_shown(&mut tx, &app.name).await?;
    Ok((
        StatusCode::CREATED,
        located(&format!("/v1/apps/{}", app.name)),
        axum::Json(shown),
    )
        .into_response())
}

/// What a new environment begins with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beginning {
    /// The environment whose spec it takes.
    pub(crate) from: Option<EnvironmentName>,
    /// It is deleted so long after the last deploy.
    pub(crate) expires_in: Option<Span>,
}

impl Beginning {
    /// The bounds of a life.
    const LIFE_MS: std::ops::RangeInclusive<u64> = 600_000..=90 * 86_400_000;

    /// As asked for in a body or a query.
    pub(crate) fn parse(pointer: &str, from: Option<EnvironmentName>, expires_in: Option<Span>) -> Result<Self> {
        if expires_in.is_some_and(|span| !Self::LIFE_MS.contains(&span.as_millis())) {
            return Err(ApiError::given(pointer, "An environment can last 10m to 90d."));
        }
        Ok(Self { from, expires_in })
    }

    /// The command that makes such an environment.
    pub(crate) fn command(&self, app: &AppName, name: &EnvironmentName) -> String {
        let from = self.from.as_ref().map(|from| format!(" --from {from}"));
        let life = self.expires_in.map(|life| format!(" --expires-in {life}"));
        let (from, life) = (from.unwrap_or_default(), life.unwrap_or_default());
        format!("slipway environments create {name}{from}{life} -a {app}")
    }

    /// What was made to stay does not go away because somebody deploys to it.
    pub(crate) fn check_existing(&self, environment: &Environment) -> Result<()> {
        if self.expires_in.is_none() || environment.expiry.is_some() {
            return Ok(());
        }
        let detail = format!(
            "`{}` is there already and does not go away by itself. Leave `expires_in` out, or choose another name.",
            environment.name
        );
        Err(ApiError::Refused(Code::Conflict, detail))
    }
}

/// A new environment that runs nothing.
fn fresh(id: EnvironmentId, app: &App, name: &EnvironmentName, now: Timestamp, by: &str) -> Environment {
    Environment {
        id,
        team: app.team,
        app: app.id,
        app_name: app.name.clone(),
        name: name.clone(),
        created_at: now,
        created_by: by.into(),
        spec: Spec::default(),
        spec_generation: 1,
        staged: false,
        generation: Generation(0),
        desired: Desired::Running,
        release: None,
        subnet: None,
        last_release_number: ReleaseNumber(0),
        expiry: None,
        decided_at: now,
    }
}

impl Call {
    /// Writes a new app.
    pub(crate) async fn insert_app(&self, tx: &mut Tx, name: &AppName, team: &Team) -> Result<App> {
        let now = self.now();
        let app = App {
            id: AppId::mint(now, self.state.entropy.as_ref()),
            team: team.id,
            team_name: team.name.clone(),
            name: name.clone(),
            created_at: now,
            created_by: self.caller.name.to_string(),
        };
        tx.insert_app(&app).await?;
        self.audit(
            tx,
            Some(app.team),
            "app.create",
            Target::new("app", app.id, &app.name),
            None,
        )
        .await?;
        Ok(app)
    }

    /// Writes a new environment.
    pub(crate) async fn insert_environment(
        &self,
        tx: &mut Tx,
        app: &App,
        name: &EnvironmentName,
        beginning: &Beginning,
    ) -> Result<Environment> {
        let now = self.now();
        let id = EnvironmentId::mint(now, self.state.entropy.as_ref());
        let mut environment = fresh(id, app, name, now, self.caller.name.as_str());
        if let Some(from) = &beginning.from {
            environment.spec = self.environment(tx, app, Some(from)).await?.spec;
            // Two environments that do the same at the same time are hardly what anybody wants, nor is a preview that
            // goes on to production or waits for somebody's word.
            environment.spec.cron.clear();
            environment.spec.deploy.promote_to = None;
            environment.spec.deploy.approval = false;
        }
        if let Some(span) = beginning.expires_in {
            if *name == EnvironmentName::production() {
                let detail = "`production` cannot go away by itself. Leave `expires_in` out, or choose another name.";
                return Err(ApiError::member(Code::InvalidBody, "/expires_in", detail));
            }
            environment.expiry = Some((span, now + span.to_chrono()));
        }
        tx.insert_environment(&environment, &self.state.settings.base_domain)
            .await?;
        let target = Target::new("environment", id, format!("{}/{name}", app.name));
        self.audit(tx, Some(app.team), "environment.create", target, None)
            .await?;
        Ok(environment)
    }
}
