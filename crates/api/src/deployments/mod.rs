//! Deployments: asking for one, watching it, calling it off.

pub(crate) mod abort;
pub(crate) mod approve;
pub(crate) mod create;
pub(crate) mod deploy;
pub(crate) mod events;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod promote;

use axum::response::Response;
use slipway_domain::access::{Permission, Resource, Verb};
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_domain::release::ReleaseCause;
use slipway_store::{App, Constraint, Deployment, Environment, StoreError, Tx};
use slipway_wire::Code;

use crate::accept::Change;
use crate::apps::create::Beginning;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::image::DeployRequest;
use crate::release::Place;
use crate::wait::Wait;

impl Call {
    /// Whether the token may make an app of this name on the way to a deploy.
    fn may_create_app(&self, name: &AppName) -> bool {
        let reach = &self.caller.reach;
        let writes = reach.grants(Permission::new(Verb::Write, Resource::App)) && reach.sees_app(name);
        let deploys = reach.grants(Permission::new(Verb::Deploy, Resource::App)) && reach.apps.is_none();
        writes || deploys
    }

    /// Whether the token may make an environment of this name on the way to a deploy.
    pub(crate) fn may_create_environment(&self, app: &AppName, name: &EnvironmentName) -> bool {
        self.caller.reach.sees_environment(name) && self.may_create_app(app)
    }

    /// The environment, made if it is missing and the token may; and whether it was.
    async fn environment_or_new(
        &self,
        tx: &mut Tx,
        app: &App,
        name: &EnvironmentName,
        beginning: &Beginning,
    ) -> Result<(Environment, bool)> {
        if let Some(found) = self.find_environment(tx, app, name).await? {
            beginning.check_existing(&found)?;
            if let Some(life) = beginning.expires_in {
                tx.set_environment_life(found.id, life, self.now()).await?;
            }
            return Ok((found, false));
        }
        if self.may_create_environment(&app.name, name) {
            let made = self.insert_environment(tx, app, name, beginning).await?;
            return Ok((made, true));
        }
        Err(ApiError::not_found("environment", &format!("{}/{name}", app.name)))
    }

    async fn app_or_new(&self, tx: &mut Tx, name: &AppName, beginning: &Beginning) -> Result<App> {
        if let Some(found) = self.find_app(tx, name).await? {
            return Ok(found);
        }
        // There is no other environment to begin with: the name is mistyped.
        if beginning.from.is_some() {
            return Err(ApiError::not_found("app", name));
        }
        if !self.may_create_app(name) {
            return Err(ApiError::not_found("app", name));
        }
        let team = self.team_or_own(tx, None).await?;
        let app = self.insert_app(tx, name, &team).await?;
        // `production` exists from the start, unless the token may not even know of it.
        if self.caller.reach.sees_environment(&EnvironmentName::production()) {
            self.insert_environment(tx, &app, &EnvironmentName::production(), &Beginning::default())
                .await?;
        }
        Ok(app)
    }

    /// Looks, without writing, whether a deploy would be let in, and whose pull credentials it uses.
    async fn deploy_team(&self, request: &DeployRequest) -> Result<slipway_domain::ids::TeamId> {
        let mut tx = self.begin().await?;
        let environment = &request.environment;
        let Some(app) = self.find_app(&mut tx, &request.app).await? else {
            let missing = || {
                let app = &request.app;
                ApiError::Refused(
                    Code::NotFound,
                    format!(
                        "There is no app `{app}`, or this token may not see it. A token for certain apps cannot make one: make it first (`slipway apps create {app}`), or check the name."
                    ),
                )
            };
            let may = self.may_create_app(&request.app) && self.caller.reach.sees_environment(environment);
            return if may { Ok(self.caller.team) } else { Err(missing()) };
        };
        let exists = self.find_environment(&mut tx, &app, environment).await?.is_some();
        if exists || self.may_create_environment(&app.name, environment) {
            Ok(app.team)
        } else {
            let first = request.beginning.command(&app.name, environment);
            let detail = format!(
                "There is no environment `{}/{environment}`, or this token may not see it. A token for certain apps makes none on the way to a deploy: make it first (`{first}`), or check the name.",
                app.name
            );
            Err(ApiError::Refused(Code::NotFound, detail))
        }
    }

    /// Brings an image into service: resolve, then one transaction, then the scheduler.
    pub(crate) async fn deploy(&self, request: DeployRequest, wait: Wait) -> Result<Response> {
        let team = self.deploy_team(&request).await?;
        let pin = self.resolve(team, &request.image, request.pull).await?;

        let image = request.image.as_given().to_owned();
        let change = Change::Image {
            image,
            pin,
            cause: ReleaseCause::Deploy,
            strategy: request.strategy,
        };
        let deployment = match self.deploy_once(&request, change.clone()).await {
            // Two first deploys at the same moment both want to make the app: the second finds it made.
            Err(ApiError::Store(StoreError::Duplicate(
                Constraint::AppName | Constraint::EnvironmentName | Constraint::Domain,
            ))) => self.deploy_once(&request, change).await?,
            other => other?,
        };
        self.wake();
        self.answer(deployment, wait).await
    }

    async fn deploy_once(&self, request: &DeployRequest, change: Change) -> Result<Deployment> {
        let mut tx = self.begin().await?;
        let app = self.app_or_new(&mut tx, &request.app, &request.beginning).await?;
        let (seen, is_new) = self
            .environment_or_new(&mut tx, &app, &request.environment, &request.beginning)
            .await?;
        let environment = self.lock(&mut tx, &app, &seen).await?;
        let place = Place {
            app: &app,
            environment: &environment,
        };
        let released = self.release(&mut tx, &place, change, request.message.clone()).await;
        let deployment = match released {
            // Secrets can be set only where there is an environment, and this one goes with the refusal.
            Err(ApiError::Invalid(code @ Code::MissingSecrets, detail, errors)) if is_new => {
                let first = request.beginning.command(&app.name, &request.environment);
                let detail = format!("The environment is not there yet: make it (`{first}`). {detail}");
                return Err(ApiError::Invalid(code, detail, errors));
            }
            other => other?,
        };
        tx.commit().await?;
        Ok(deployment)
    }
}
