//! `slipway ps`, `scale`, `restart`, `stop`, `start`: what runs, and how much of it.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_wire::instances::{Scale, Target};

use super::watch;
use crate::args::WaitArgs;
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, bytes, cell, instance};

/// The headings of a table of instances.
pub(crate) const HEADINGS: [&str; 8] = [
    "INSTANCE", "RELEASE", "STATE", "HEALTH", "STARTED", "RESTARTS", "CPU", "MEMORY",
];

/// What can be done to all instances at once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// New ones in place of the old.
    Restart,
    /// None any more.
    Stop,
    /// Some again.
    Start,
}

/// The call that lists the instances.
pub(crate) fn call(ctx: &Context) -> Result<Call, CliError> {
    let (app, environment) = ctx.app_scope()?;
    Ok(Call::get(&["apps", app.as_str(), "instances"]).query("environment", environment))
}

/// Lists the instances.
pub(crate) async fn list(ctx: &mut Context) -> Result<(), CliError> {
    let listing = ctx.list_all(call(ctx)?).await?;
    ctx.print_list(&listing, &HEADINGS, row, "nothing runs")
}

/// One instance in a table.
pub(crate) fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let mut state = cell(item, "state");
    if item.get("oom_killed").and_then(Value::as_bool) == Some(true) {
        state.push_str(" (out of memory)");
    } else if let Some(code) = item.get("exit_code").and_then(Value::as_i64) {
        state = format!("{state} ({code})");
    }
    let cpu = item
        .get("cpu")
        .and_then(Value::as_f64)
        .map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}"));
    let memory = item
        .get("memory_bytes")
        .and_then(Value::as_u64)
        .map_or_else(|| "-".to_owned(), bytes);
    vec![
        instance(&cell(item, "id")),
        format!("v{}", cell(item, "release").trim_start_matches('v')),
        state,
        cell(item, "health"),
        age_cell(item, "started_at", now),
        cell(item, "restarts"),
        cpu,
        memory,
    ]
}

/// Sets how many.
pub(crate) async fn scale(ctx: &mut Context, count: u32, wait: WaitArgs) -> Result<(), CliError> {
    let request = Scale {
        count,
        environment: Some(ctx.environment()?),
    };
    change(ctx, "scale", body(&request), wait, &format!("scaled to {count}")).await
}

/// Does something to all of them.
pub(crate) async fn act(ctx: &mut Context, act: Act, wait: WaitArgs) -> Result<(), CliError> {
    let (path, done) = match act {
        Act::Restart => ("restart", "restarted"),
        Act::Stop => ("stop", "stopped; `slipway start` brings it back"),
        Act::Start => ("start", "started"),
    };
    let request = Target {
        environment: Some(ctx.environment()?),
    };
    change(ctx, path, body(&request), wait, done).await
}

async fn change(ctx: &mut Context, path: &str, body: Value, wait: WaitArgs, done: &str) -> Result<(), CliError> {
    let app = ctx.app()?;
    let answer = ctx
        .send(Call::post(&["apps", app.as_str(), path], Some(body), ctx.key()))
        .await?;
    watch::settle(ctx, answer, wait, &format!("{app}: {done}")).await
}
