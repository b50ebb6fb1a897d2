//! `slipway secrets`: set, list, unset. Values only ever go in.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::name::VariableName;
use slipway_domain::secret::Secret;
use slipway_wire::secrets::NewSecret;

use super::watch;
use crate::args::{SecretsCommand, WaitArgs};
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::model::Deployment;
use crate::show::{age_cell, cell};
use crate::values::MaybeAssignment;

/// What is said when no deployment follows.
pub(crate) const STAGED: &str = "kept; the next release has it";
/// What is said when something was taken away and no deployment follows.
pub(crate) const REMOVED: &str = "removed; the next release does not have it";

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: SecretsCommand) -> Result<(), CliError> {
    match command {
        SecretsCommand::Set { secrets, stage, wait } => set(ctx, secrets, stage.stage, wait).await,
        SecretsCommand::List => {
            let (app, environment) = ctx.app_scope()?;
            let call = Call::get(&["apps", app.as_str(), "secrets"]).query("environment", environment);
            let listing = ctx.list_all(call).await?;
            let headings = ["NAME", "VERSION", "FINGERPRINT", "SET", "BY"];
            ctx.print_list(&listing, &headings, row, "no secrets")?;
            if !ctx.globals.json {
                watch::note_staged(ctx).await;
            }
            Ok(())
        }
        SecretsCommand::Unset { names, stage, wait } => unset(ctx, &names, stage.stage, wait).await,
    }
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let mut row = ["name", "version", "fingerprint"].map(|path| cell(item, path)).to_vec();
    row.extend([age_cell(item, "created_at", now), cell(item, "created_by")]);
    row
}

async fn set(ctx: &mut Context, secrets: Vec<MaybeAssignment>, stage: bool, wait: WaitArgs) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    let secrets = values(ctx, secrets)?;
    let mut rest = secrets.len();
    for (name, value) in secrets {
        rest -= 1;
        let call = Call::put(
            &["apps", app.as_str(), "secrets", name.as_str()],
            body(&NewSecret {
                value: value.expose().to_owned(),
            }),
        )
        .query("environment", &environment)
        // Several secrets make one release: only the last one starts it.
        .query("apply", !stage && rest == 0);
        let answer = ctx.send(call).await?;
        if rest == 0 {
            let waits = !stage && !Deployment::is_one(&answer.body);
            let missing = if waits { missing(ctx).await } else { Vec::new() };
            let done = if missing.is_empty() {
                STAGED.to_owned()
            } else {
                format!("kept; the next release comes when {} is set too", missing.join(", "))
            };
            watch::settle_change(ctx, answer, wait, &done).await?;
        }
    }
    Ok(())
}

/// Required secrets that are not set yet; none where the token may not look.
async fn missing(ctx: &mut Context) -> Vec<String> {
    look_for_missing(ctx).await.unwrap_or_default()
}

async fn look_for_missing(ctx: &mut Context) -> Result<Vec<String>, CliError> {
    let (app, environment) = ctx.app_scope()?;
    let of = |what| Call::get(&["apps", app.as_str(), what]).query("environment", &environment);
    let spec = ctx.send(of("spec")).await?.body;
    let set = ctx.list_all(of("secrets")).await?;
    let required = spec.pointer("/spec/secrets/required").and_then(Value::as_array);
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    let is_set = |name: &str| set.items.iter().any(|item| cell(item, "name") == name);
    Ok(required.filter(|name| !is_set(name)).map(str::to_owned).collect())
}

/// Every value, before anything is sent: from the command line, standard input or a person.
fn values(ctx: &mut Context, secrets: Vec<MaybeAssignment>) -> Result<Vec<(VariableName, Secret)>, CliError> {
    let missing = secrets.iter().filter(|s| s.value.is_none()).count();
    if missing > 1 && !ctx.io.stdin_terminal {
        return Err(CliError::usage(
            "standard input can give the value of one secret only",
            "set them one by one with --stage, the last one without",
        ));
    }
    secrets
        .into_iter()
        .map(|secret| {
            let value = match secret.value {
                Some(value) => Secret::new(value),
                None => ctx.secret_value(&format!("value of {}", secret.name))?,
            };
            Ok((secret.name, value))
        })
        .collect()
}

async fn unset(ctx: &mut Context, names: &[VariableName], stage: bool, wait: WaitArgs) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    for (i, name) in names.iter().enumerate() {
        let last = i + 1 == names.len();
        let call = Call::delete(&["apps", app.as_str(), "secrets", name.as_str()])
            .query("environment", &environment)
            .query("apply", !stage && last);
        let answer = ctx.send(call).await?;
        if last {
            watch::settle_change(ctx, answer, wait, REMOVED).await?;
        }
    }
    Ok(())
}
