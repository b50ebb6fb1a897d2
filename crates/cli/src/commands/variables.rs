//! `slipway env`: plain variables.

use std::collections::BTreeMap;

use serde_json::Value;
use slipway_domain::name::VariableName;
use slipway_wire::env::EnvChange;

use super::secrets::{REMOVED, STAGED};
use super::watch;
use crate::args::{EnvCommand, StageArgs, WaitArgs};
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::style::clean;

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: EnvCommand) -> Result<(), CliError> {
    match command {
        EnvCommand::List => list(ctx).await,
        EnvCommand::Set { variables, stage, wait } => {
            let changes = variables.into_iter().map(|v| (v.name, Some(v.value))).collect();
            change(ctx, changes, (stage, wait), STAGED).await
        }
        EnvCommand::Unset { names, stage, wait } => {
            let names = only_set(ctx, names).await?;
            if names.is_empty() {
                return Ok(());
            }
            let changes = names.into_iter().map(|name| (name, None)).collect();
            change(ctx, changes, (stage, wait), REMOVED).await
        }
    }
}

/// Those of the names that are set; of the others it is said that they are not.
async fn only_set(ctx: &mut Context, names: Vec<VariableName>) -> Result<Vec<VariableName>, CliError> {
    let (app, environment) = ctx.app_scope()?;
    let call = Call::get(&["apps", app.as_str(), "env"]).query("environment", environment);
    let document = ctx.send(call).await?.body;
    let is_set = |name: &VariableName| document.get("env").and_then(|env| env.get(name.as_str())).is_some();
    let (set, unset): (Vec<_>, Vec<_>) = names.into_iter().partition(is_set);
    for name in unset {
        ctx.note(format!("{name} was not set"));
    }
    Ok(set)
}

async fn list(ctx: &mut Context) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    let call = Call::get(&["apps", app.as_str(), "env"]).query("environment", environment);
    let body = ctx.send(call).await?.body;
    if ctx.globals.json {
        return ctx.print_json(&body);
    }
    let variables = body.get("env").and_then(Value::as_object);
    let Some(variables) = variables.filter(|v| !v.is_empty()) else {
        ctx.note("no variables");
        watch::note_staged(ctx).await;
        return Ok(());
    };
    let terminal = ctx.io.stdout_terminal;
    for (name, value) in variables {
        let value = value.as_str().unwrap_or_default();
        ctx.print(format!("{name}={}", if terminal { clean(value) } else { value.into() }))?;
    }
    watch::note_staged(ctx).await;
    Ok(())
}

async fn change(
    ctx: &mut Context,
    changes: BTreeMap<VariableName, Option<String>>,
    (stage, wait): (StageArgs, WaitArgs),
    done: &str,
) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    let body = body(&EnvChange { env: changes });
    let call = Call::patch(&["apps", app.as_str(), "env"], body).query("environment", environment);
    let answer = ctx.send(call.query("apply", !stage.stage)).await?;
    watch::settle_change(ctx, answer, wait, done).await
}
