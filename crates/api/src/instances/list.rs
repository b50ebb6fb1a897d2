//! `GET /v1/apps/{app}/instances`: what the engine has right now, with what it uses.

use std::collections::BTreeMap;
use std::time::Duration;

use slipway_domain::observed::{Instance as Observed, InstanceState as Seen};
use slipway_domain::ports::Usage;
use slipway_domain::rest::Rest;
use slipway_store::InstanceRecord;
use slipway_wire::instances::{Instance, InstanceHealth, InstanceState, LastExit};
use slipway_wire::{Code, Page};

use crate::call::Call;
use crate::error::{ApiError, ENGINE_AWAY, Result};
use crate::extract::{Names, Params};
use crate::paging::whole;

/// How long the engine may take.
const ENGINE_MAX: Duration = Duration::from_secs(10);

/// Which environment. The list is always whole.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// The environment; `production` if not given.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<slipway_domain::name::EnvironmentName>,
    /// Taken as in other lists; there are never more instances than fit on a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// Taken as in other lists.
    pub(crate) cursor: Option<String>,
}

/// List the instances of an environment.
#[utoipa::path(get, path = "/v1/apps/{app}/instances", tag = "instances", operation_id = "instance_list",
    params(("app" = String, Path, description = "The app's name."), ListParams),
    responses((status = 200, description = "The instances.", body = Page<Instance>)))]
pub(crate) async fn instance_list(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Instance>>> {
    crate::paging::Paging::<String>::parse("instances", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let environment = call.environment(&mut tx, &app, params.environment.as_ref()).await?;
    let status = tx.status(environment.id).await?;
    let routed = tx.routed_instances(environment.id).await?;
    drop(tx);

    let reader = &call.state.instances;
    let looked = tokio::time::timeout(ENGINE_MAX, async {
        let seen = match reader.instances(environment.id).await {
            slipway_domain::observed::Observed::Known(seen) => seen,
            slipway_domain::observed::Observed::Unknown { reason } => return Err(unavailable(&reason)),
        };
        let running: Vec<String> = seen.iter().filter(|i| i.is_running()).map(|i| i.id.clone()).collect();
        let usage: BTreeMap<String, Usage> = reader.usage(&running).await.into_iter().collect();
        Ok((seen, usage))
    });
    let (mut seen, usage) = looked.await.unwrap_or_else(|_| Err(unavailable("it took too long")))?;
    seen.sort_by_key(|i| (i.release_number, i.slot));

    let asleep = status
        .as_ref()
        .filter(|s| s.rest == Rest::Asleep)
        .and_then(|s| s.serving);
    let record = |id: &str| status.iter().flat_map(|s| &s.instances).find(|r| r.instance == id);
    let items = seen
        .into_iter()
        .map(|i| {
            let name = format!("{}-{}-{}", app.name, i.release_number, i.slot);
            // One taken over from an earlier release of the same contents sleeps like the release's own.
            let sleeps = asleep.is_some_and(|serving| serving == i.release || record(&i.id).is_some());
            let mut instance = shown(name, &i, record(&i.id), usage.get(&i.id), sleeps);
            instance.has_traffic = routed.contains(&i.id);
            instance
        })
        .collect();
    Ok(axum::Json(whole(items)))
}

pub(crate) fn unavailable(reason: &str) -> ApiError {
    tracing::warn!(reason, "engine.unavailable");
    ApiError::Refused(Code::EngineUnavailable, ENGINE_AWAY.into())
}

fn health_of(word: &str) -> InstanceHealth {
    match word {
        "healthy" => InstanceHealth::Healthy,
        "unhealthy" => InstanceHealth::Unhealthy,
        "starting" => InstanceHealth::Starting,
        _ => InstanceHealth::Unknown,
    }
}

fn shown(
    name: String,
    row: &Observed,
    record: Option<&InstanceRecord>,
    usage: Option<&Usage>,
    asleep: bool,
) -> Instance {
    let health = record.map_or(InstanceHealth::Unknown, |r| health_of(&r.health));
    let last_exit = record.and_then(|r| r.last_exit).map(|e| LastExit {
        at: e.at,
        exit_code: e.exit_code,
        oom_killed: e.oom_killed,
        unresponsive: e.unresponsive,
    });
    let mut instance = Instance {
        id: row.id.clone(),
        name,
        release: row.release_number.0,
        state: InstanceState::Created,
        health: if row.is_running() {
            health
        } else {
            InstanceHealth::Unknown
        },
        has_traffic: false,
        started_at: None,
        restarts: record.map_or(0, |r| r.restarts),
        last_exit,
        exit_code: None,
        oom_killed: None,
        cpu: usage.map(|u| u.cpu_cores),
        memory_bytes: usage.map(|u| u.memory_bytes),
    };
    match &row.state {
        Seen::Created => {}
        Seen::Running { started_at } => {
            instance.state = InstanceState::Running;
            instance.started_at = Some(*started_at);
        }
        Seen::Paused => instance.state = InstanceState::Paused,
        Seen::Restarting => instance.state = InstanceState::Restarting,
        // How it ended is of no interest: it was told to.
        Seen::Exited { .. } if asleep => instance.state = InstanceState::Asleep,
        Seen::Exited {
            exit_code, oom_killed, ..
        } => {
            instance.state = InstanceState::Exited;
            instance.exit_code = Some(*exit_code);
            instance.oom_killed = Some(*oom_killed);
        }
        Seen::Dead => instance.state = InstanceState::Dead,
    }
    instance
}
