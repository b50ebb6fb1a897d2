//! From an accepted change to a deployment, in one transaction: release, intent, deployment, first event, audit row.
//!
//! Promises: either all of it is written or nothing; an unfinished deployment of the environment is superseded in the
//! same transaction; the scheduler is told after the commit. Nothing here waits for anything but the database.

use serde_json::json;
use slipway_domain::ReleaseNumber;
use slipway_domain::ids::{DeploymentId, ReleaseId};
use slipway_domain::release::Release;
use slipway_store::{App, Deployment, Desired, Environment, Intent, Tx};
use slipway_wire::{Code, FieldProblem};

use crate::accept::{Change, Draft, Present, Refusal, SecretVersions, accept};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result, sentence};
use crate::idempotency::Key;

/// Where a release goes: the environment is locked by the transaction.
pub(crate) struct Place<'a> {
    pub(crate) app: &'a App,
    pub(crate) environment: &'a Environment,
}

/// The release that should run.
pub(crate) async fn current_release(tx: &mut Tx, environment: &Environment) -> Result<Option<Release>> {
    match environment.release {
        Some(id) => Ok(tx.release(id).await?),
        None => Ok(None),
    }
}

/// The release that changes go on from: the one that should run; or, where that was tried and did not come into service,
/// the one that serves.
pub(crate) async fn base_release(tx: &mut Tx, environment: &Environment) -> Result<Option<Release>> {
    let Some(wanted) = current_release(tx, environment).await? else {
        return Ok(None);
    };
    if wanted.good || tx.unfinished(environment.id).await?.is_some() {
        return Ok(Some(wanted));
    }
    Ok(Some(serving_release(tx, environment).await?.unwrap_or(wanted)))
}

/// The release that serves.
pub(crate) async fn serving_release(tx: &mut Tx, environment: &Environment) -> Result<Option<Release>> {
    match tx.status(environment.id).await?.and_then(|s| s.serving) {
        Some(id) => Ok(tx.release(id).await?),
        None => Ok(None),
    }
}

impl Refusal {
    /// In words, with what to do.
    pub(crate) fn explain(self, place: &Place<'_>) -> ApiError {
        let (app, environment) = (&place.app.name, &place.environment.name);
        match self {
            Self::NothingDeployed => ApiError::Refused(
                Code::NothingDeployed,
                format!("Nothing was deployed to {environment} of {app} yet. Deploy an image first."),
            ),
            Self::Stopped => ApiError::Refused(
                Code::Stopped,
                format!("{environment} of {app} is stopped. Start it: `slipway start -a {app} -e {environment}`."),
            ),
            Self::NotStopped => ApiError::Refused(
                Code::NotStopped,
                format!(
                    "{environment} of {app} is not stopped. For new containers: `slipway restart -a {app} -e {environment}`."
                ),
            ),
            Self::MissingSecrets(names) => {
                let command = |names: &str| format!("slipway secrets set {names} -a {app} -e {environment}");
                let listed: Vec<_> = names.iter().map(ToString::to_string).collect();
                let all = command(&listed.join(" "));
                let errors = names
                    .iter()
                    .map(|n| FieldProblem {
                        pointer: "/secrets/required".into(),
                        detail: format!("`{n}` is not set; set it with `{}`", command(n.as_str())),
                    })
                    .collect();
                let detail = format!(
                    "The spec requires secrets that are not set: {}. Set them first (`{all}`), then repeat the call.",
                    listed.join(", ")
                );
                ApiError::Invalid(Code::MissingSecrets, detail, errors)
            }
        }
    }
}

impl Call {
    /// Accepts a change of a locked environment and writes all that follows from it.
    pub(crate) async fn release(
        &self,
        tx: &mut Tx,
        place: &Place<'_>,
        change: Change,
        message: Option<String>,
    ) -> Result<Deployment> {
        let secrets = tx.newest_secrets(place.environment).await?;
        let current = base_release(tx, place.environment).await?;
        let present = Present {
            stopped: place.environment.desired == Desired::Stopped,
            spec: &place.environment.spec,
            secrets: &secrets,
            current: current.as_ref(),
        };
        let draft = accept(&change, present).map_err(|refusal| refusal.explain(place))?;
        self.write(tx, place, draft, &secrets, message).await
    }

    /// Writes an accepted draft.
    pub(crate) async fn write(
        &self,
        tx: &mut Tx,
        place: &Place<'_>,
        draft: Draft,
        newest: &SecretVersions,
        message: Option<String>,
    ) -> Result<Deployment> {
        let Place { app, environment } = place;
        // The way back is never barred.
        if !draft.cause.is_rollback()
            && let Some(why) = tx.over_limit(environment, &draft.spec).await?
        {
            let detail = format!(
                "{}. Lower `scale` or `resources` in the spec, stop something else, or have an administrator raise it (`slipway teams limits`).",
                sentence(&why).trim_end_matches('.')
            );
            return Err(ApiError::Refused(Code::TeamLimit, detail));
        }
        let now = self.now();
        let release = Release {
            id: ReleaseId::mint(now, self.state.entropy.as_ref()),
            environment: environment.id,
            number: ReleaseNumber(0),
            image: draft.image,
            pin: draft.pin,
            spec: draft.spec,
            secrets: draft.secrets,
            cause: draft.cause,
            same_as: draft.same_as,
            created_at: now,
            created_by: self.caller.name.to_string(),
            good: false,
        };
        let id = DeploymentId::mint(now, self.state.entropy.as_ref());
        let intent = Intent {
            deployment: id,
            message,
            trace_context: self.info.trace.clone(),
        };
        let written = tx.intend(environment, release, intent, newest, now).await?;
        if let Some(Key(key)) = &self.key {
            tx.note_keyed_deployment(self.caller.token, key, id).await?;
        }
        let change = json!({
            "release": written.release_number.0, "image": written.image, "digest": written.digest, "cause": draft.cause.as_str(),
        });
        let target = Target::deployment(&written);
        self.audit(tx, Some(app.team), "deployment.create", target, Some(change))
            .await?;
        Ok(written)
    }
}
