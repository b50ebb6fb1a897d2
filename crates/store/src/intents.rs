//! From an accepted release to a deployment: release, intent, deployment and first event, in the caller's transaction.
//!
//! Promises: an unfinished deployment of the environment is superseded in the same transaction. Who may do it, and
//! what is in the release, is decided before.

use std::collections::BTreeMap;

use slipway_domain::Timestamp;
use slipway_domain::deployment::DeploymentState;
use slipway_domain::ids::{DeploymentId, EnvironmentId, SecretId};
use slipway_domain::image::Pin;
use slipway_domain::name::VariableName;
use slipway_domain::release::{Alignment, Release};

use crate::{Deployment, Desired, Environment, NewDeployment, StoreError, Tx};

/// What is known of a deployment before it is one.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The deployment's identifier.
    pub deployment: DeploymentId,
    /// What the caller said of it.
    pub message: Option<String>,
    /// The trace of the request that began it.
    pub trace_context: Option<String>,
}

impl Tx {
    /// The newest version of each secret of the environment, by name.
    pub async fn newest_secrets(
        &mut self,
        environment: &Environment,
    ) -> Result<BTreeMap<VariableName, SecretId>, StoreError> {
        let all = self.current_secrets(environment.id).await?;
        Ok(all.into_iter().map(|s| (s.name, s.id)).collect())
    }

    /// Makes the release what should run. The environment is locked by the transaction, `newest` are its secrets, and the
    /// release gets its number here.
    #[tracing::instrument(name = "db.intend", level = "debug", skip_all)]
    pub async fn intend(
        &mut self,
        environment: &Environment,
        mut release: Release,
        intent: Intent,
        newest: &BTreeMap<VariableName, SecretId>,
        now: Timestamp,
    ) -> Result<Deployment, StoreError> {
        release.number = self.next_release_number(environment.id).await?;
        self.supersede_unfinished(environment.id, (intent.deployment, release.number), now)
            .await?;
        self.insert_release(environment.team, &release).await?;
        match release.align(&environment.spec, newest) {
            Alignment::Replace { staged } => drop(self.set_spec(environment.id, &release.spec, staged).await?),
            Alignment::Keep { staged } if staged != environment.staged => {
                self.set_staged(environment.id, staged).await?;
            }
            Alignment::Keep { .. } => {}
        }
        self.extend_environment(environment.id, now).await?;
        let waits = release.needs_approval() && !self.serves_image(environment.id, &release.pin).await?;
        let generation = self
            .set_intent(
                environment.id,
                environment.generation,
                if waits { environment.desired } else { Desired::Running },
                // What waits for a word is not meant to run: other changes go on from what is.
                Some(release.id).filter(|_| !waits),
                now,
            )
            .await?;
        let id = intent.deployment;
        self.insert_deployment(&NewDeployment {
            id,
            team: environment.team,
            app: environment.app,
            environment: environment.id,
            release: release.id,
            generation,
            state: if waits {
                DeploymentState::AwaitingApproval
            } else {
                DeploymentState::Pending
            },
            strategy: release.spec.deploy.strategy.as_str().into(),
            cause: release.cause,
            message: intent.message,
            trace_context: intent.trace_context,
            created_at: now,
            created_by: release.created_by.clone(),
        })
        .await?;
        let told = format!(
            "{} of {}/{} accepted: {}",
            release.number, environment.app_name, environment.name, release.image
        );
        self.append_event(id, "deployment.accepted", now, None, &told).await?;
        if waits {
            let told = "waits until another token approves";
            self.append_event(id, "deployment.awaiting_approval", now, None, told)
                .await?;
        }
        let written = self.deployment(id).await?;
        written.ok_or_else(|| StoreError::Internal(format!("deployment {id} was written and cannot be read")))
    }

    /// Whether the image has the traffic already: nobody is asked about it again.
    async fn serves_image(&mut self, environment: EnvironmentId, pin: &Pin) -> Result<bool, StoreError> {
        let serving = self.status(environment).await?.and_then(|s| s.serving);
        let serving = match serving {
            Some(id) => self.release(id).await?,
            None => None,
        };
        Ok(serving.is_some_and(|serving| serving.pin == *pin))
    }
}
