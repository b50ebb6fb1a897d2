//! `slipway apps`: list, create, show, delete.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::name::{AppName, TeamName};
use slipway_wire::apps::NewApp;

use crate::args::AppsCommand;
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell, release_cell, table};

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: AppsCommand) -> Result<(), CliError> {
    match command {
        AppsCommand::List(list) => {
            let listing = ctx.list(Call::get(&["apps"]), list.limit).await?;
            let headings = ["NAME", "TEAM", "ENVIRONMENTS", "CREATED"];
            ctx.print_list(
                &listing,
                &headings,
                row,
                "no apps yet; deploy one: `slipway deploy IMAGE`",
            )
        }
        AppsCommand::Create { name, team } => create(ctx, &name, team.as_ref()).await,
        AppsCommand::Show { name } => {
            let name = match name {
                Some(name) => name,
                None => ctx.app()?,
            };
            show(ctx, &name).await
        }
        AppsCommand::Delete { name, force, yes } => delete(ctx, &name, force, yes).await,
    }
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let environments: Vec<String> = items(item, "environments").iter().map(environment).collect();
    let environments = if environments.is_empty() {
        "-".to_owned()
    } else {
        environments.join(", ")
    };
    vec![
        cell(item, "name"),
        cell(item, "team"),
        environments,
        age_cell(item, "created_at", now),
    ]
}

/// An environment in a line: its name, its release, what is wrong with it.
fn environment(item: &Value) -> String {
    if let Some(name) = item.as_str() {
        return name.to_owned();
    }
    let part = |path: &str, before: &str, after: &str| match cell(item, path) {
        text if text == "-" => String::new(),
        text => format!("{before}{text}{after}"),
    };
    format!(
        "{}{}{}",
        part("name", "", ""),
        part("release", " v", ""),
        part("state", " (", ")")
    )
}

/// The list in a member of a document.
pub(crate) fn items<'a>(document: &'a Value, name: &str) -> &'a [Value] {
    document
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

async fn create(ctx: &mut Context, name: &AppName, team: Option<&TeamName>) -> Result<(), CliError> {
    let body = body(&NewApp {
        name: name.clone(),
        team: team.cloned(),
    });
    let answer = ctx.send(Call::post(&["apps"], Some(body), ctx.key())).await?;
    if ctx.globals.json {
        return ctx.print_json(&answer.body);
    }
    ctx.note(format!("created {name}; next: `slipway deploy IMAGE -a {name}`"));
    Ok(())
}

async fn show(ctx: &mut Context, name: &AppName) -> Result<(), CliError> {
    let app = ctx.send(Call::get(&["apps", name.as_str()])).await?.body;
    if ctx.globals.json {
        return ctx.print_json(&app);
    }
    let now = ctx.now();
    for (title, text) in [
        ("name", cell(&app, "name")),
        ("team", cell(&app, "team")),
        ("created", age_cell(&app, "created_at", now)),
    ] {
        ctx.print(format!("{title:<12} {text}"))?;
    }
    let rows: Vec<_> = items(&app, "environments")
        .iter()
        .map(|e| {
            vec![
                cell(e, "name"),
                release_cell(e, "release"),
                cell(e, "state"),
                cell(e, "url"),
            ]
        })
        .collect();
    if !rows.is_empty() {
        ctx.print("")?;
        ctx.print(table(&["ENVIRONMENT", "RELEASE", "STATE", "URL"], &rows))?;
    }
    Ok(())
}

async fn delete(ctx: &mut Context, name: &AppName, force: bool, yes: bool) -> Result<(), CliError> {
    ctx.confirm("the app", name.as_str(), yes)?;
    let call = Call::delete(&["apps", name.as_str()]);
    ctx.send(if force { call.query("force", true) } else { call }).await?;
    ctx.note(format!("deleted {name}"));
    Ok(())
}
