//! A change of settings (variables, secrets, spec, number of instances): a release at once, or staged for the next one.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use slipway_domain::release::ReleaseCause;
use slipway_domain::spec::Spec;
use slipway_store::{Deployment, Desired, Environment, Tx};

use crate::accept::{Present, Settled, settle};
use crate::call::Call;
use crate::error::Result;
use crate::release::{Place, base_release};
use crate::wait::Wait;

/// Which environment, and whether the change takes effect at once.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangeParams {
    /// The environment; `production` if not given.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<slipway_domain::name::EnvironmentName>,
    /// `false` stages the change for the next release.
    #[param(default = true)]
    pub(crate) apply: Option<bool>,
    /// How long to wait for the deployment to end, such as `120s`, at most `10m`.
    pub(crate) wait: Option<String>,
}

/// Whether a change takes effect at once.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ApplyParams {
    /// `false` stages the change for the next release.
    #[param(default = true)]
    pub(crate) apply: Option<bool>,
    /// How long to wait for the deployment to end, such as `120s`, at most `10m`.
    pub(crate) wait: Option<String>,
}

impl Call {
    /// Finishes a change of settings whose rows are written, if `changed`: makes a release or stages it. Nothing happens
    /// when nothing changed and nothing was staged before, unless a release runs that the database does not know.
    pub(crate) async fn settle(
        &self,
        tx: &mut Tx,
        place: &Place<'_>,
        spec: &Spec,
        (cause, changed, apply): (ReleaseCause, bool, bool),
    ) -> Result<Option<Deployment>> {
        // Where the database was put back, what it has already is not what runs.
        let stands_still = tx.stands_still(place.environment.id).await?;
        if !changed && !place.environment.staged && !stands_still {
            return Ok(None);
        }
        let secrets = tx.newest_secrets(place.environment).await?;
        let current = base_release(tx, place.environment).await?;
        let present = Present {
            stopped: place.environment.desired == Desired::Stopped && !stands_still,
            spec,
            secrets: &secrets,
            current: current.as_ref(),
        };
        match settle(cause, apply, present).map_err(|refusal| refusal.explain(place))? {
            Settled::Staged => {
                if current.is_some() && !place.environment.staged {
                    tx.set_staged(place.environment.id, true).await?;
                }
                Ok(None)
            }
            Settled::Release(draft) => {
                let environment = Environment {
                    spec: spec.clone(),
                    staged: true,
                    ..place.environment.clone()
                };
                let place = Place {
                    app: place.app,
                    environment: &environment,
                };
                self.write(tx, &place, *draft, &secrets, None).await.map(Some)
            }
        }
    }

    /// The answer to a change of settings: 204 if it is staged, else that of its deployment.
    pub(crate) async fn answer_change(&self, deployment: Option<Deployment>, wait: Wait) -> Result<Response> {
        match deployment {
            Some(deployment) => self.answer(deployment, wait).await,
            None => Ok(StatusCode::NO_CONTENT.into_response()),
        }
    }
}
