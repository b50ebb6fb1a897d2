//! `GET /v1/alerts`: alerts of the apps that the token may see, newest first.

use serde::Deserialize;
use slipway_domain::alert::Notice;
use slipway_domain::ids::AlertId;
use slipway_store::AlertFilter;
use slipway_wire::Page;
use slipway_wire::alerts::{Alert, AlertState};

use crate::call::Call;
use crate::error::Result;
use crate::extract::Params;
use crate::paging::Paging;

/// Which alerts.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Only those that go on, or only those that are over.
    pub(crate) state: Option<AlertState>,
    /// Entries on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// List alerts, newest first. What is over is kept for 90 days.
#[utoipa::path(get, path = "/v1/alerts", tag = "alerts", operation_id = "alert_list", params(ListParams),
    responses((status = 200, description = "One page of alerts.", body = Page<Alert>)))]
pub(crate) async fn alert_list(call: Call, Params(params): Params<ListParams>) -> Result<axum::Json<Page<Alert>>> {
    let paging = Paging::<AlertId>::parse("alerts", params.limit, params.cursor.as_deref())?;
    let reach = &call.caller.reach;
    let filter = AlertFilter {
        team: (!call.caller.is_admin()).then_some(call.caller.team),
        apps: reach.apps.as_deref(),
        environments: reach.environments.as_deref(),
        firing: params.state.map(|state| state == AlertState::Firing),
    };
    let mut tx = call.begin().await?;
    let rows = tx.alerts(&filter, &paging.wanted()).await?;
    Ok(axum::Json(paging.page(rows, |row| row.id, shown)))
}

fn shown(row: Notice) -> Alert {
    let (team, app, environment) = match row.place {
        Some(place) => (Some(place.team), Some(place.app), Some(place.environment)),
        None => (None, None, None),
    };
    Alert {
        id: row.id.to_string(),
        state: if row.ended_at.is_some() {
            AlertState::Resolved
        } else {
            AlertState::Firing
        },
        kind: row.kind.as_str().into(),
        team,
        app,
        environment,
        message: row.message,
        started_at: row.started_at,
        ended_at: row.ended_at,
    }
}
