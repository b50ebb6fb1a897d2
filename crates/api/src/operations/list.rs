//! `GET /v1/apps/{app}/operations`: one-off commands of an environment, newest first.

use std::collections::HashMap;

use serde::Deserialize;
use slipway_domain::ReleaseNumber;
use slipway_domain::ids::RunId;
use slipway_domain::name::{CronName, EnvironmentName};
use slipway_store::RunsWanted;
use slipway_wire::Page;
use slipway_wire::operations::{Operation, OperationKind};

use super::shown;
use crate::call::Call;
use crate::error::Result;
use crate::extract::{Names, Params};
use crate::paging::Paging;

/// Which operations.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// The environment; `production` if not given.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<EnvironmentName>,
    /// Only those of this kind.
    pub(crate) kind: Option<OperationKind>,
    /// Only those of this command by the clock.
    #[param(value_type = Option<String>)]
    pub(crate) cron: Option<CronName>,
    /// Entries on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// List the one-off commands of an environment, newest first. What they wrote is told of each by itself.
#[utoipa::path(get, path = "/v1/apps/{app}/operations", tag = "operations", operation_id = "operation_list",
    params(("app" = String, Path, description = "The app's name."), ListParams),
    responses((status = 200, description = "One page of operations.", body = Page<Operation>)))]
pub(crate) async fn operation_list(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Operation>>> {
    let paging = Paging::<RunId>::parse("operations", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let environment = call.environment(&mut tx, &app, params.environment.as_ref()).await?;
    let which = match (&params.cron, params.kind) {
        (Some(name), _) => RunsWanted::Of(name),
        (None, Some(OperationKind::Cron)) => RunsWanted::ByClock,
        (None, Some(OperationKind::Run)) => RunsWanted::Asked,
        (None, None) => RunsWanted::All,
    };
    let rows = tx.runs(environment.id, which, &paging.wanted()).await?;
    if let Some(name) = params.cron.as_ref().filter(|_| rows.is_empty() && paging.is_first()) {
        call.cron_exists(&mut tx, &environment, name).await?;
    }
    let mut numbers = HashMap::new();
    for run in &rows {
        if let std::collections::hash_map::Entry::Vacant(entry) = numbers.entry(run.release) {
            let release = tx.release(run.release).await?;
            entry.insert(release.map_or(ReleaseNumber(0), |r| r.number));
        }
    }
    Ok(axum::Json(paging.page(
        rows,
        |run| run.id,
        |mut run| {
            run.output.clear();
            let number = numbers.get(&run.release).copied().unwrap_or(ReleaseNumber(0));
            shown(run, &app, &environment, number)
        },
    )))
}
