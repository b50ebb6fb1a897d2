//! `slipway deployments` and `slipway releases`: what was tried, what came of it, and a word to what is under way.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::quantity::Span;

use super::watch;
use crate::args::{DeploymentsCommand, ListArgs};
use crate::client::Call;
use crate::context::Context;
use crate::error::CliError;
use crate::model::Deployment;
use crate::show::{age_cell, cell, elapsed, release_cell, table};
use crate::style::clean;
use crate::verdict::{self, View};

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: DeploymentsCommand) -> Result<(), CliError> {
    match command {
        DeploymentsCommand::List(list) => {
            let listing = ctx.list(of_app(ctx, "deployments")?, list.limit).await?;
            let headings = [
                "ID",
                "RELEASE",
                "ENVIRONMENT",
                "STATE",
                "IMAGE",
                "CREATED",
                "BY",
                "MESSAGE",
            ];
            ctx.print_list(&listing, &headings, row, "no deployments yet")
        }
        DeploymentsCommand::Show { id } => show(ctx, &id).await,
        DeploymentsCommand::Abort { id } => {
            let done = format!("{id} is called off; what served before goes on serving");
            tell(ctx, &id, "abort", &done).await
        }
        DeploymentsCommand::Approve { id } => {
            let done = format!("{id} is approved and begins");
            tell(ctx, &id, "approve", &done).await
        }
        DeploymentsCommand::Promote { id } => {
            let done = format!("{id} gets all traffic as soon as its instances are healthy");
            tell(ctx, &id, "promote", &done).await
        }
        DeploymentsCommand::Follow { id, timeout } => follow(ctx, id, timeout).await,
    }
}

/// Lists the releases of an app.
pub(crate) async fn releases(ctx: &mut Context, list: ListArgs) -> Result<(), CliError> {
    let listing = ctx.list(of_app(ctx, "releases")?, list.limit).await?;
    let headings = [
        "RELEASE",
        "ENVIRONMENT",
        "CAUSE",
        "IMAGE",
        "CURRENT",
        "GOOD",
        "CREATED",
        "BY",
    ];
    ctx.print_list(&listing, &headings, release_row, "no releases yet")
}

/// A list of the app, narrowed to an environment only if one was named.
fn of_app(ctx: &Context, what: &str) -> Result<Call, CliError> {
    let app = ctx.app()?;
    Ok(Call::get(&["apps", app.as_str(), what]).query_opt("environment", ctx.environment_if_named()?))
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let created = age_cell(item, "created_at", now);
    let of = |path| cell(item, path);
    vec![
        of("id"),
        release_cell(item, "release"),
        of("environment"),
        of("state"),
        of("image"),
        created,
        of("created_by"),
        of("message"),
    ]
}

fn release_row(item: &Value, now: Timestamp) -> Vec<String> {
    let of = |path| cell(item, path);
    vec![
        release_cell(item, "release"),
        of("environment"),
        of("cause"),
        of("image"),
        of("current"),
        of("good"),
        age_cell(item, "created_at", now),
        of("created_by"),
    ]
}

async fn show(ctx: &mut Context, id: &str) -> Result<(), CliError> {
    let body = ctx.send(Call::get(&["deployments", id])).await?.body;
    if ctx.globals.json {
        return ctx.print_json(&body);
    }
    let deployment = Deployment::read(body)?;
    let now = ctx.now();
    let mut facts = vec![
        ("id", deployment.id.clone()),
        ("app", deployment.app.clone()),
        ("environment", deployment.environment.clone()),
        ("release", deployment.release_text()),
        ("image", deployment.image.clone().unwrap_or_default()),
        ("digest", deployment.digest.clone().unwrap_or_default()),
        ("state", deployment.state.clone()),
        ("took", elapsed(deployment.took_ms(now))),
        ("by", deployment.created_by.clone().unwrap_or_default()),
        ("message", deployment.message.clone().unwrap_or_default()),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    for (name, value) in facts {
        ctx.print(format!("{name:<12} {}", clean(&value)))?;
    }
    for warning in &deployment.warnings {
        ctx.print(format!("{:<12} {}", "warning", ctx.out.warn(clean(warning))))?;
    }
    if !deployment.steps.is_empty() {
        let rows: Vec<_> = deployment
            .steps
            .iter()
            .map(|step| {
                let took = step.took_ms().map(elapsed).unwrap_or_default();
                let detail = step.detail.as_deref().map(clean).unwrap_or_default();
                vec![step.title(), clean(&step.state).into_owned(), took, detail.into_owned()]
            })
            .collect();
        ctx.print("")?;
        ctx.print(table(&["STEP", "STATE", "TOOK", "DETAIL"], &rows))?;
    }
    if deployment.is_final() && !deployment.succeeded() {
        ctx.print("")?;
        let serves = watch::serves(ctx, &deployment).await;
        for line in verdict::failure(&deployment, serves, View::Record, ctx.out, now) {
            ctx.print(line)?;
        }
    }
    Ok(())
}

/// Tells a deployment under way what to do; `done` is said when it has heard it.
async fn tell(ctx: &mut Context, id: &str, word: &str, done: &str) -> Result<(), CliError> {
    let answer = ctx
        .send(Call::post(&["deployments", id, word], None, ctx.key()))
        .await?;
    if ctx.globals.json {
        return ctx.print_json(&answer.body);
    }
    ctx.note(done);
    Ok(())
}

async fn follow(ctx: &mut Context, id: Option<String>, timeout: Span) -> Result<(), CliError> {
    let id = match id {
        Some(id) => id,
        None => newest(ctx).await?,
    };
    let body = ctx.send(Call::get(&["deployments", &id])).await?.body;
    watch::watch(ctx, Deployment::read(body)?, Some(timeout)).await
}

async fn newest(ctx: &mut Context) -> Result<String, CliError> {
    let listing = ctx.list(of_app(ctx, "deployments")?, 1).await?;
    let id = listing.items.first().and_then(|d| d.get("id")).and_then(Value::as_str);
    id.map(str::to_owned)
        .ok_or_else(|| CliError::failed_with("there is no deployment yet", "start one: `slipway deploy IMAGE`"))
}
