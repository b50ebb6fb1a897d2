//! From an accepted change to a deployment, in one transaction: release, intent, deployment, first event, audit row.
//!
//! Promises: either all of it is written or nothing; an unfinished deployment of the environment is superseded in the
//! same transaction; the scheduler is told after the commit. Nothing here waits for anything but the database.

use serde_json::json;
use slipway_domain::ids::{DeploymentId, ReleaseId};
use slipway_domain::release::Release;
use slipway_store::{App, Deployment, Desired, Environment, NewDeployment, Tx};
use slipway_wire::events::ACCEPTED;
use slipway_wire::{Code, FieldProblem};

use crate::accept::{Change, Draft, Present, Refusal, SecretVersions, accept};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::idempotency::Key;

/// Where a release goes: the environment is locked by the transaction.
pub(crate) struct Place<'a> {
    pub(crate) app: &'a App,
    pub(crate) environment: &'a Environment,
}

/// The newest version of each secret of the environment.
pub(crate) async fn newest_secrets(tx: &mut Tx, environment: &Environment) -> Result<SecretVersions> {
    Ok(tx
        .current_secrets(environment.id)
        .await?
        .into_iter()
        .map(|s| (s.name, s.id))
        .collect())
}

/// The release that should run.
pub(crate) async fn current_release(tx: &mut Tx, environment: &Environment) -> Result<Option<Release>> {
    match environment.release {
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
                let command = |name| format!("slipway secrets set {name} -a {app} -e {environment}");
                let listed: Vec<_> = names.iter().map(ToString::to_string).collect();
                let first = names.first().map(command).unwrap_or_default();
                let errors = names
                    .iter()
                    .map(|n| FieldProblem {
                        pointer: "/secrets/required".into(),
                        detail: format!("`{n}` is not set; set it with `{}`", command(n)),
                    })
                    .collect();
                let detail = format!(
                    "The spec requires secrets that are not set: {}. Set them first (`{first}`), then repeat the call.",
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
        let secrets = newest_secrets(tx, place.environment).await?;
        let current = current_release(tx, place.environment).await?;
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
        let now = self.now();
        tx.supersede_unfinished(environment.id, now).await?;
        let number = tx.next_release_number(environment.id).await?;
        let created_by = self.caller.name.to_string();
        let release = Release {
            id: ReleaseId::mint(now, self.state.entropy.as_ref()),
            environment: environment.id,
            number,
            image: draft.image,
            pin: draft.pin,
            spec: draft.spec,
            secrets: draft.secrets,
            cause: draft.cause,
            created_at: now,
            created_by: created_by.clone(),
            good: false,
        };
        tx.insert_release(app.team, &release).await?;
        self.align_spec(tx, environment, &release, newest).await?;
        let generation = tx
            .set_intent(
                environment.id,
                environment.generation,
                Desired::Running,
                Some(release.id),
            )
            .await?;
        let id = DeploymentId::mint(now, self.state.entropy.as_ref());
        let deployment = NewDeployment {
            id,
            team: app.team,
            app: app.id,
            environment: environment.id,
            release: release.id,
            generation,
            strategy: draft.strategy.as_str().into(),
            cause: draft.cause,
            message,
            trace_context: self.info.trace.clone(),
            created_at: now,
            created_by,
        };
        tx.insert_deployment(&deployment).await?;
        if let Some(Key(key)) = &self.key {
            tx.note_keyed_deployment(self.caller.token, key, id).await?;
        }
        let told = format!(
            "{number} of {}/{} accepted: {}",
            app.name, environment.name, release.image
        );
        tx.append_event(id, ACCEPTED, now, None, &told).await?;
        let change = json!({
            "release": number.0, "image": release.image, "digest": release.pin.digest(), "cause": draft.cause.as_str(),
        });
        let target = Target::new("deployment", id, format!("{}/{}", app.name, environment.name));
        self.audit(tx, Some(app.team), "deployment.create", target, Some(change))
            .await?;
        let written = tx.deployment(id).await?;
        written.ok_or_else(|| ApiError::Internal(format!("deployment {id} was written and cannot be read")))
    }

    /// What the environment's settings are after a release: a rollback brings the target's spec back, so that what is
    /// shown is what runs; what then differs waits for the next release.
    async fn align_spec(
        &self,
        tx: &mut Tx,
        environment: &Environment,
        release: &Release,
        newest: &SecretVersions,
    ) -> Result<()> {
        use slipway_domain::release::ReleaseCause;
        let rollback = release.cause == ReleaseCause::Rollback;
        let staged = release.secrets != *newest || (!rollback && release.spec != environment.spec);
        if rollback && release.spec != environment.spec {
            tx.set_spec(environment.id, &release.spec, staged).await?;
        } else if staged != environment.staged {
            tx.set_staged(environment.id, staged).await?;
        }
        Ok(())
    }
}
