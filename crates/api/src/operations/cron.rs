//! `GET /v1/apps/{app}/cron`: the commands by the clock of what serves, with the next time and the last run of each.

use serde::Deserialize;
use slipway_domain::name::{CronName, EnvironmentName};
use slipway_domain::nearest::nearest;
use slipway_store::{Desired, Environment, Page as Wanted, RunsWanted, Tx};
use slipway_wire::Page;
use slipway_wire::operations::Cron;

use super::shown;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};
use crate::paging::whole;
use crate::release::serving_release;

/// Where.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CronParams {
    /// The environment; `production` if not given.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<EnvironmentName>,
}

/// List the commands by the clock of the release that serves.
#[utoipa::path(get, path = "/v1/apps/{app}/cron", tag = "operations", operation_id = "cron_list",
    params(("app" = String, Path, description = "The app's name."), CronParams),
    responses((status = 200, description = "All of them.", body = Page<Cron>)))]
pub(crate) async fn cron_list(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<CronParams>,
) -> Result<axum::Json<Page<Cron>>> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let environment = call.environment(&mut tx, &app, params.environment.as_ref()).await?;
    let release = serving_release(&mut tx, &environment).await?;
    let newest = Wanted { limit: 1, after: None };
    let now = call.now();
    let mut items = Vec::new();
    for job in release.iter().flat_map(|r| &r.spec.cron) {
        let last = tx.runs(environment.id, RunsWanted::Of(&job.name), &newest).await?.pop();
        let last = match last {
            None => None,
            Some(mut run) => {
                let number = call.run_release(&mut tx, &run).await?;
                run.output.clear();
                Some(shown(run, &app, &environment, number))
            }
        };
        let runs = environment.desired == Desired::Running;
        items.push(Cron {
            name: job.name.to_string(),
            schedule: job.schedule.to_string(),
            timezone: job.schedule.zone().to_owned(),
            command: job.command.clone(),
            concurrency: job.concurrency.as_str().to_owned(),
            timeout: job.timeout.to_string(),
            next_at: job.schedule.after(now).filter(|_| runs),
            last,
        });
    }
    Ok(axum::Json(whole(items)))
}

impl Call {
    /// Refuses the name of a command by the clock that what serves does not have.
    pub(super) async fn cron_exists(&self, tx: &mut Tx, environment: &Environment, name: &CronName) -> Result<()> {
        let release = serving_release(tx, environment).await?;
        let jobs = release.map(|r| r.spec.cron).unwrap_or_default();
        if jobs.iter().any(|job| job.name == *name) {
            return Ok(());
        }
        let nearest = nearest(name.as_str(), jobs.iter().map(|job| job.name.as_str()));
        Err(ApiError::not_found_near("command by the clock", name, nearest))
    }
}
