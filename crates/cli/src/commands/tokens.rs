//! `slipway tokens`: list, create, revoke.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::ids::TokenId;
use slipway_wire::tokens::NewToken;

use crate::args::TokensCommand;
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell, time_of};
use crate::style::clean;

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: TokensCommand) -> Result<(), CliError> {
    match command {
        TokensCommand::List => {
            let listing = ctx.list_all(Call::get(&["tokens"])).await?;
            let headings = [
                "ID",
                "NAME",
                "TEAM",
                "SCOPES",
                "APPS",
                "ENVIRONMENTS",
                "EXPIRES",
                "LAST USED",
                "STATE",
            ];
            ctx.print_list(&listing, &headings, row, "no tokens")
        }
        TokensCommand::Create {
            name,
            scopes,
            apps,
            environments,
            expires_in,
            team,
        } => {
            let (apps, environments) = (some_of(apps), some_of(environments));
            let request = NewToken {
                name,
                scopes,
                apps,
                environments,
                expires_in,
                kind: None,
                team,
            };
            let answer = ctx
                .send(Call::post(&["tokens"], Some(body(&request)), ctx.key()))
                .await?
                .body;
            if ctx.globals.json {
                return ctx.print_json(&answer);
            }
            let token = answer.get("token").and_then(Value::as_str);
            let token = token
                .ok_or_else(|| CliError::failed("the server's answer holds no token"))?
                .to_owned();
            let warnings = answer.get("warnings").and_then(Value::as_array);
            for warning in warnings.into_iter().flatten().filter_map(Value::as_str) {
                ctx.note(format!("{} {}", ctx.err.warn("warning:"), clean(warning)));
            }
            // The token alone goes to standard output, so that `$(slipway tokens create …)` is the token.
            ctx.print(token)?;
            let now = ctx.now();
            let (id, end) = (cell(&answer, "id"), age_cell(&answer, "expires_at", now));
            ctx.note(format!("{id}, expires {end}; this is the only time the token is shown"));
            Ok(())
        }
        TokensCommand::Revoke { which } => {
            let id = match which.parse::<TokenId>() {
                Ok(id) => id.to_string(),
                Err(_) => id_of(ctx, &which).await?,
            };
            ctx.send(Call::delete(&["tokens", &id])).await?;
            ctx.note(format!("{id} is revoked"));
            Ok(())
        }
    }
}

/// The identifier of the one valid token of this name.
async fn id_of(ctx: &mut Context, name: &str) -> Result<String, CliError> {
    let listing = ctx.list_all(Call::get(&["tokens"])).await?;
    let now = ctx.now();
    let named = |item: &&Value| cell(item, "name") == name && state(item, now) == "valid";
    let ids: Vec<String> = listing
        .items
        .iter()
        .filter(named)
        .map(|item| cell(item, "id"))
        .collect();
    match ids.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(CliError::usage(
            format!("no valid token is called `{name}`"),
            "`slipway tokens list` shows their names and identifiers",
        )),
        several => Err(CliError::usage(
            format!(
                "{} valid tokens are called `{name}`: {}",
                several.len(),
                several.join(", ")
            ),
            "give the identifier of the one to revoke",
        )),
    }
}

/// A narrowing that was given; none means all.
fn some_of<T>(names: Vec<T>) -> Option<Vec<T>> {
    if names.is_empty() { None } else { Some(names) }
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let mut row = ["id", "name", "team", "scopes", "apps", "environments"]
        .map(|path| cell(item, path))
        .to_vec();
    row.extend([age_cell(item, "expires_at", now), age_cell(item, "last_used_at", now)]);
    row.push(state(item, now).into());
    row
}

/// Whether it can still be used.
fn state(item: &Value, now: Timestamp) -> &'static str {
    let is_revoked = item.get("revoked_at").is_some_and(|at| !at.is_null());
    let is_expired = time_of(item, "expires_at").is_some_and(|at| at <= now);
    match (is_revoked, is_expired) {
        (true, _) => "revoked",
        (false, true) => "expired",
        (false, false) => "valid",
    }
}
