//! Instances: what runs, and starting, stopping, restarting and counting it.

pub(crate) mod list;
pub(crate) mod restart;
pub(crate) mod scale;
pub(crate) mod start;
pub(crate) mod stop;

use axum::response::Response;
use serde::Deserialize;
use slipway_domain::name::EnvironmentName;
use slipway_wire::Code;
use slipway_wire::instances::Target;

use crate::accept::Change;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::release::Place;
use crate::wait::Wait;

/// Which environment, and how long to wait.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ActParams {
    /// The environment, if the body does not name it; else `production`.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<EnvironmentName>,
    /// How long to wait for the end, such as `120s`, at most `10m`.
    pub(crate) wait: Option<String>,
}

/// The environment of body or query; both may name it only if they agree.
pub(crate) fn named(body: Option<EnvironmentName>, query: Option<EnvironmentName>) -> Result<Option<EnvironmentName>> {
    match (body, query) {
        (Some(a), Some(b)) if a != b => Err(ApiError::member(
            Code::InvalidParameter,
            "?environment",
            "The body and the query name different environments. Name one.",
        )),
        (a, b) => Ok(a.or(b)),
    }
}

/// A release of the same contents, and its answer.
async fn renew(call: &Call, app: &str, params: ActParams, body: Target, change: Change) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let environment = named(body.environment, params.environment)?;
    let mut tx = call.begin().await?;
    let (app, environment) = call.locked(&mut tx, app, environment.as_ref()).await?;

    let place = Place {
        app: &app,
        environment: &environment,
    };
    let deployment = call.release(&mut tx, &place, change, None).await?;
    tx.commit().await?;
    call.wake();
    call.answer(deployment, wait).await
}
