//! Long work: one-off commands, asked for or by the clock.

pub(crate) mod cancel;
pub(crate) mod cron;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod run;

use slipway_domain::ReleaseNumber;
use slipway_domain::ids::RunId;
use slipway_store::{App, Environment, Run, Tx};
use slipway_wire::operations::{Operation, OperationKind};

use crate::call::Call;
use crate::error::{ApiError, Result};

/// A run with the names of where it is.
pub(crate) struct Found {
    pub(crate) run: Run,
    pub(crate) app: App,
    pub(crate) environment: Environment,
}

impl Call {
    /// A run that this caller may know of.
    pub(crate) async fn found_run(&self, tx: &mut Tx, id: &str) -> Result<Found> {
        let missing = || ApiError::not_found("operation", &id);
        let parsed: RunId = id.parse().map_err(|_| missing())?;
        let run = tx.run(parsed).await?.ok_or_else(missing)?;
        let row = tx.environment_by_id(run.environment).await?.ok_or_else(missing)?;
        let Some(app) = self.find_app(tx, &row.app_name).await? else {
            return Err(missing());
        };
        let environment = self.find_environment(tx, &app, &row.name).await?.ok_or_else(missing)?;
        Ok(Found { run, app, environment })
    }

    /// The number of a run's release.
    async fn run_release(&self, tx: &mut Tx, run: &Run) -> Result<ReleaseNumber> {
        let release = tx.release(run.release).await?;
        Ok(release.map_or(ReleaseNumber(0), |r| r.number))
    }
}

/// A run as callers read it.
fn shown(run: Run, app: &App, environment: &Environment, release: ReleaseNumber) -> Operation {
    let (cron, scheduled_for) = run.cron.unzip();
    Operation {
        id: run.id.to_string(),
        kind: if cron.is_some() {
            OperationKind::Cron
        } else {
            OperationKind::Run
        },
        state: run.state,
        app: app.name.to_string(),
        environment: environment.name.to_string(),
        release: release.0,
        command: run.command,
        cron: cron.map(|name| name.to_string()),
        scheduled_for,
        exit_code: run.exit_code,
        oom_killed: run.oom_killed,
        reason: run.reason,
        output: run.output,
        created_at: run.created_at,
        created_by: run.created_by,
        started_at: run.started_at,
        finished_at: run.finished_at,
    }
}
