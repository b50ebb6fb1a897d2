//! `slipway ps`, `scale`, `restart`, `stop`, `start`: what runs, and how much of it.

use http::StatusCode;
use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::quantity::Span;
use slipway_wire::instances::{Scale, Target};

use super::watch;
use crate::args::{ActArgs, AppArg, WaitArgs};
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, bytes, cell, instance, release_cell};

/// The longest that the server waits in one call.
const WAIT_MAX: Span = Span::from_secs(600);

/// The headings of a table of instances.
pub(crate) const HEADINGS: [&str; 10] = [
    "INSTANCE", "NAME", "RELEASE", "STATE", "HEALTH", "TRAFFIC", "STARTED", "RESTARTS", "CPU", "MEMORY",
];

/// What can be done to all instances at once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// New ones in place of the old.
    Restart,
    /// Some again.
    Start,
}

/// The call that lists the instances.
pub(crate) fn call(ctx: &Context) -> Result<Call, CliError> {
    let (app, environment) = ctx.app_scope()?;
    Ok(Call::get(&["apps", app.as_str(), "instances"]).query("environment", environment))
}

/// Lists the instances.
pub(crate) async fn list(ctx: &mut Context, app: AppArg) -> Result<(), CliError> {
    ctx.take_app(app);
    let mut listing = ctx.list_all(call(ctx)?).await?;
    if !ctx.globals.json {
        retain_current(&mut listing.items);
    }
    ctx.print_list(&listing, &HEADINGS, row, "nothing runs")
}

/// Leaves out what has ended and is of an earlier release than what runs: it made room, as it should.
pub(crate) fn retain_current(items: &mut Vec<Value>) {
    let runs = |item: &Value| item.get("state").and_then(Value::as_str) == Some("running");
    let release = |item: &Value| item.get("release").and_then(Value::as_i64);
    let newest = items.iter().filter(|item| runs(item)).filter_map(release).max();
    items.retain(|item| runs(item) || release(item).is_none_or(|of| Some(of) >= newest));
}

/// One instance in a table.
pub(crate) fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let mut state = cell(item, "state");
    if state == "dead" {
        // Hardly ever beyond repair, which the word is for too.
        state = "being removed".into();
    }
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
        cell(item, "name"),
        release_cell(item, "release"),
        state,
        cell(item, "health"),
        match item.get("has_traffic").and_then(Value::as_bool) {
            Some(true) => "yes".into(),
            Some(false) => "no".into(),
            None => "-".into(),
        },
        age_cell(item, "started_at", now),
        restarts(item),
        cpu,
        memory,
    ]
}

/// How often it was started again, and how it had ended before the last time.
fn restarts(item: &Value) -> String {
    let count = cell(item, "restarts");
    // One that slept has ended too, and nobody has to be told.
    let Some(last) = item.get("last_exit").filter(|_| count != "0") else {
        return count;
    };
    if last.get("unresponsive").and_then(Value::as_bool) == Some(true) {
        return format!("{count} (last: did not answer)");
    }
    if last.get("oom_killed").and_then(Value::as_bool) == Some(true) {
        return format!("{count} (last: out of memory)");
    }
    match last.get("exit_code").and_then(Value::as_i64) {
        Some(code) => format!("{count} (last: exit {code})"),
        None => count,
    }
}

/// Sets how many.
pub(crate) async fn scale(ctx: &mut Context, count: u32, act: ActArgs) -> Result<(), CliError> {
    let ActArgs { app, wait } = act;
    ctx.take_app(app);
    let request = Scale {
        count: count.into(),
        environment: Some(ctx.environment()?),
    };
    let app = ctx.app()?;
    let call = Call::post(&["apps", app.as_str(), "scale"], Some(body(&request)), ctx.key());
    let answer = ctx.send(call).await?;
    let mut done = format!("{app}: scaled to {count}");
    if answer.status == StatusCode::NO_CONTENT && is_stopped(ctx).await.unwrap_or(false) {
        done.push_str("; it stays stopped until `slipway start`");
    }
    watch::settle(ctx, answer, wait, &done).await
}

/// Whether it is stopped. Who may not look learns what was done all the same.
async fn is_stopped(ctx: &mut Context) -> Result<bool, CliError> {
    let (app, environment) = ctx.app_scope()?;
    let document = ctx.send(Call::get(&["apps", app.as_str()])).await?.body;
    let state = watch::environment_member(&document, environment.as_str(), "state");
    Ok(state.is_some_and(|state| state == "stopped" || state == "stopping"))
}

/// Does something to all of them.
pub(crate) async fn act(ctx: &mut Context, act: Act, ActArgs { app, wait }: ActArgs) -> Result<(), CliError> {
    ctx.take_app(app);
    let (path, done) = match act {
        Act::Restart => ("restart", "restarted"),
        Act::Start => ("start", "started"),
    };
    let request = Target {
        environment: Some(ctx.environment()?),
    };
    change(ctx, path, body(&request), wait, done).await
}

/// Stops all of them, and says whether they have stopped already.
pub(crate) async fn stop(ctx: &mut Context, ActArgs { app, wait }: ActArgs) -> Result<(), CliError> {
    ctx.take_app(app);
    let (app, environment) = ctx.app_scope()?;
    let request = Target {
        environment: Some(environment),
    };
    let call = |ctx: &Context| Call::post(&["apps", app.as_str(), "stop"], Some(body(&request)), ctx.key());
    // Without waiting at first: what is refused, or had stopped before, is not told to be stopping.
    let mut answer = ctx.send(call(ctx)).await?;
    let mut stopped = cell(&answer.body, "state") == "stopped";
    if let (false, Some(limit)) = (stopped, wait.limit()) {
        ctx.note(format!("{app}: stopping, requests under way finish first"));
        answer = ctx.send(call(ctx).waiting(Some(limit.min(WAIT_MAX)))).await?;
        stopped = answer.status == StatusCode::OK;
    }
    if ctx.globals.json {
        return ctx.print_json(&answer.body);
    }
    ctx.note(if stopped {
        format!("{app}: stopped; `slipway start` brings it back")
    } else {
        format!("{app}: is stopping; `slipway status` shows when nothing runs any more")
    });
    Ok(())
}

async fn change(ctx: &mut Context, path: &str, body: Value, wait: WaitArgs, done: &str) -> Result<(), CliError> {
    let app = ctx.app()?;
    let answer = ctx
        .send(Call::post(&["apps", app.as_str(), path], Some(body), ctx.key()))
        .await?;
    watch::settle(ctx, answer, wait, &format!("{app}: {done}")).await
}
