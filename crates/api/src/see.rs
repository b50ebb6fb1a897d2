//! What a caller may know of: apps and environments by name, deployments by id.
//!
//! Promises: what lies outside the token's team, apps or environments answers exactly as what does not exist; trying to
//! reach it is audited.

use slipway_domain::ids::{DeploymentId, TeamId};
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_domain::nearest::nearest;
use slipway_store::{App, Deployment, Desired, Environment, Tx};
use slipway_wire::Code;

use crate::audit::Denied;
use crate::call::Call;
use crate::error::{ApiError, Result};

/// Among so many names the nearest to a mistyped one is looked for.
const NAMES_MAX: i64 = 1_000;

impl Call {
    fn reaches(&self, team: TeamId, app: &AppName) -> bool {
        (self.caller.is_admin() || self.caller.team == team) && self.caller.reach.sees_app(app)
    }

    /// Remembers an attempt to reach what lies outside; the guard writes it down once the handler has let go of its
    /// transaction.
    fn denied(&self, what: &str, name: &str) {
        self.denials.push(Denied {
            action: format!("{what} {name}"),
            reason: format!("the {what} is outside the token's reach"),
        });
    }

    /// The app, if there is one that the caller may know of.
    pub(crate) async fn find_app(&self, tx: &mut Tx, name: &AppName) -> Result<Option<App>> {
        match tx.app_by_name(name).await? {
            Some(app) if self.reaches(app.team, &app.name) => Ok(Some(app)),
            Some(app) => {
                self.denied("app", app.name.as_str());
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// The app by the name in a path.
    pub(crate) async fn app(&self, tx: &mut Tx, name: &str) -> Result<App> {
        let found = match name.parse::<AppName>() {
            Ok(name) => self.find_app(tx, &name).await?,
            Err(_) => None,
        };
        if let Some(app) = found {
            return Ok(app);
        }
        let team = (!self.caller.is_admin()).then_some(self.caller.team);
        let names = tx.app_names(team, NAMES_MAX).await?;
        let seen = names
            .iter()
            .filter(|n| n.parse().is_ok_and(|n| self.caller.reach.sees_app(&n)));
        let nearest = nearest(name, seen.map(String::as_str));
        Err(ApiError::not_found_near("app", &name, nearest))
    }

    /// The environment that is meant when none is named: the token's only one, else `production`.
    pub(crate) fn default_environment(&self) -> EnvironmentName {
        match self.caller.reach.environments.as_deref() {
            Some([only]) => only.clone(),
            _ => EnvironmentName::production(),
        }
    }

    /// The environment, if there is one that the caller may know of.
    pub(crate) async fn find_environment(
        &self,
        tx: &mut Tx,
        app: &App,
        name: &EnvironmentName,
    ) -> Result<Option<Environment>> {
        if !self.caller.reach.sees_environment(name) {
            self.denied("environment", &format!("{}/{name}", app.name));
            return Ok(None);
        }
        Ok(tx
            .environment(app.id, name)
            .await?
            .filter(|e| e.desired != Desired::Deleted))
    }

    /// The environment by name, or the default one.
    pub(crate) async fn environment(
        &self,
        tx: &mut Tx,
        app: &App,
        name: Option<&EnvironmentName>,
    ) -> Result<Environment> {
        let default = self.default_environment();
        let name = name.unwrap_or(&default);
        if let Some(found) = self.find_environment(tx, app, name).await? {
            return Ok(found);
        }
        let all = tx.environments(app.id).await?;
        let seen = all
            .iter()
            .filter(|e| e.desired != Desired::Deleted && self.caller.reach.sees_environment(&e.name));
        let nearest = nearest(name.as_str(), seen.map(|e| e.name.as_str()));
        Err(ApiError::not_found_near(
            "environment",
            &format!("{}/{name}", app.name),
            nearest,
        ))
    }

    /// App and environment by name, locked for a change.
    pub(crate) async fn locked(
        &self,
        tx: &mut Tx,
        app: &str,
        environment: Option<&EnvironmentName>,
    ) -> Result<(App, Environment)> {
        let app = self.app(tx, app).await?;
        let seen = self.environment(tx, &app, environment).await?;
        let environment = self.lock(tx, &app, &seen).await?;
        Ok((app, environment))
    }

    /// The environment locked until the transaction ends, unless it went away meanwhile.
    pub(crate) async fn lock(&self, tx: &mut Tx, app: &App, seen: &Environment) -> Result<Environment> {
        let locked = tx
            .lock_environment(seen.id)
            .await?
            .filter(|e| e.desired != Desired::Deleted);
        locked.ok_or_else(|| ApiError::not_found("environment", &format!("{}/{}", app.name, seen.name)))
    }

    /// The deployment by the id in a path.
    pub(crate) async fn deployment(&self, tx: &mut Tx, id: &str) -> Result<Deployment> {
        let missing = || ApiError::not_found("deployment", &id);
        let parsed: DeploymentId = id.parse().map_err(|_| missing())?;
        let found = tx.deployment(parsed).await?.ok_or_else(missing)?;
        let reach = &self.caller.reach;
        if self.reaches(found.team, &found.app_name) && reach.sees_environment(&found.environment_name) {
            return Ok(found);
        }
        self.denied("deployment", id);
        Err(missing())
    }

    /// The team whose things a new thing belongs to: the token's own, or a named one for an administrator.
    pub(crate) async fn team_or_own(
        &self,
        tx: &mut Tx,
        name: Option<&slipway_domain::name::TeamName>,
    ) -> Result<slipway_store::Team> {
        let own = tx
            .team(self.caller.team)
            .await?
            .ok_or_else(|| ApiError::Internal(format!("the token's team {} does not exist", self.caller.team)))?;
        let Some(name) = name.filter(|n| **n != own.name) else {
            return Ok(own);
        };
        if !self.caller.is_admin() {
            self.denied("team", name.as_str());
            return Err(ApiError::not_found("team", name));
        }
        tx.team_by_name(name)
            .await?
            .ok_or_else(|| ApiError::not_found("team", name))
    }

    /// Only administrators pass.
    pub(crate) fn demand_admin(&self, what: &str) -> Result<()> {
        if self.caller.is_admin() {
            return Ok(());
        }
        self.denied("platform", what);
        Err(ApiError::Refused(
            Code::Forbidden,
            format!("Only a token with the scope `admin` may {what}. Ask the platform's operator."),
        ))
    }

    /// Only tokens that reach the whole team pass: what follows touches every app of it.
    pub(crate) fn demand_whole_team(&self, what: &str) -> Result<()> {
        if self.caller.reach.apps.is_none() && self.caller.reach.environments.is_none() {
            return Ok(());
        }
        self.denied("team", what);
        Err(ApiError::Refused(
            Code::Forbidden,
            format!(
                "This token is narrowed to some apps or environments and may not {what}. Use one of the whole team."
            ),
        ))
    }
}
