//! `slipway status`: one screen about an app in one environment.

use serde_json::{Value, json};
use slipway_domain::name::{AppName, EnvironmentName};

use super::apps::items;
use super::instances;
use super::watch::{environment_member, environment_of};
use crate::args::{AppArg, AppsCommand, ListArgs};
use crate::client::Call;
use crate::context::Context;
use crate::error::CliError;
use crate::model::Deployment;
use crate::show::{ago, table};
use crate::style::clean;

/// So many of the newest releases are looked at for the one that serves.
const RELEASES_LOOKED_AT: u32 = 100;

/// Shows it.
pub(crate) async fn run(ctx: &mut Context, app: AppArg) -> Result<(), CliError> {
    ctx.take_app(app);
    // Who names no app wants to see how all of them are.
    if ctx.is_about_all_apps()? {
        return super::apps::run(ctx, AppsCommand::List(ListArgs::default())).await;
    }
    let (name, environment) = ctx.app_scope()?;
    let app = ctx.send(Call::get(&["apps", name.as_str()])).await?.body;
    // What the database knows is shown without the engine too.
    let mut running = match ctx.list_all(instances::call(ctx)?.once()).await {
        Ok(listing) => Some(listing.items),
        Err(error) if error.code() == Some("engine_unavailable") => None,
        Err(error) => return Err(error),
    };
    let newest = Call::get(&["apps", name.as_str(), "deployments"]).query("environment", &environment);
    let newest = ctx.list(newest, 1).await?.items.into_iter().next();
    // A token that may not read domains sees the rest.
    let call = Call::get(&["apps", name.as_str(), "domains"]).query("environment", &environment);
    let domains = ctx.list_all(call).await.ok().map(|listing| listing.items);
    if ctx.globals.json {
        return ctx.print_json(&json!({
            "app": app, "domains": domains, "instances": running, "deployment": newest,
        }));
    }
    ctx.print(format!("{:<12} {name}", "app"))?;
    ctx.print(format!("{:<12} {environment}", "environment"))?;
    if let Some(url) = environment_member(&app, environment.as_str(), "url") {
        ctx.print(format!("{:<12} {}", "address", clean(&url)))?;
    }
    for domain in domains.iter().flatten() {
        ctx.print(format!("{:<12} {}", "domain", domain_text(ctx, domain)))?;
    }
    if let Some(state) = environment_member(&app, environment.as_str(), "state") {
        ctx.print(format!("{:<12} {}", "state", state_text(ctx, &state)))?;
        if is_bad(&state)
            && let Some(why) = why_not_ready(ctx, &name, &environment).await
        {
            ctx.print(format!("{:<12} {}", "", clean(&why)))?;
        }
    }
    if let Some(image) = serving_image(ctx, &app, &name, &environment, newest.as_ref()).await {
        ctx.print(format!("{:<12} {}", "image", clean(&image)))?;
    }
    last_deployment(ctx, newest)?;
    let staged = environment_of(&app, environment.as_str()).and_then(|e| e.get("staged"));
    if staged == Some(&Value::Bool(true)) {
        let text = "changes of variables, secrets or the spec wait for the next deploy";
        ctx.print(format!("{:<12} {}", "staged", ctx.out.warn(text)))?;
    }
    ctx.print("")?;
    let now = ctx.now();
    let Some(running) = &mut running else {
        return ctx.print("what runs is not known: the container engine does not answer");
    };
    instances::retain_current(running);
    if running.is_empty() {
        return ctx.print("nothing runs");
    }
    let rows: Vec<_> = running.iter().map(|item| instances::row(item, now)).collect();
    ctx.print(table(&instances::HEADINGS, &rows))
}

/// A domain with how it stands, and why where that is not well.
fn domain_text(ctx: &Context, domain: &Value) -> String {
    let of = |path: &str| clean(&crate::show::cell(domain, path)).into_owned();
    let state = of("state");
    let why = match of("reason.code") {
        none if none.is_empty() => String::new(),
        code => format!(": {code}"),
    };
    let shown = match state.as_str() {
        "active" => ctx.out.good(&state),
        "failing" => ctx.out.bad(&state),
        _ => ctx.out.warn(&state),
    };
    format!("https://{} ({shown}{why})", of("host"))
}

/// The image of the release that serves: of the newest deployment, if that is its, else of the release itself. Not
/// knowing it is no failure.
async fn serving_image(
    ctx: &mut Context,
    document: &Value,
    app: &AppName,
    environment: &EnvironmentName,
    newest: Option<&Value>,
) -> Option<String> {
    let serving = environment_of(document, environment.as_str())?
        .get("release")?
        .as_u64()?;
    let number = |item: &Value, member: &str| item.get(member).and_then(Value::as_u64) == Some(serving);
    let image = |item: &Value| item.get("image").and_then(Value::as_str).map(str::to_owned);
    if let Some(newest) = newest.filter(|n| number(n, "release")) {
        return image(newest);
    }
    let call = Call::get(&["apps", app.as_str(), "releases"]).query("environment", environment);
    let releases = ctx.list(call, RELEASES_LOOKED_AT).await.ok()?.items;
    releases.iter().find(|r| number(r, "release")).and_then(image)
}

/// Whether an environment in this state should serve and does not, or not in full.
fn is_bad(state: &str) -> bool {
    matches!(state, "degraded" | "crash_loop" | "failed")
}

/// What keeps the environment from being ready, as its condition says. Not knowing it is no failure.
async fn why_not_ready(ctx: &mut Context, app: &AppName, environment: &EnvironmentName) -> Option<String> {
    let call = Call::get(&["apps", app.as_str(), "environments"]);
    let environments = ctx.list_all(call).await.ok()?.items;
    let is = |item: &Value, member: &str, text: &str| item.get(member).and_then(Value::as_str) == Some(text);
    let found = environments
        .iter()
        .find(|item| is(item, "name", environment.as_str()))?;
    let ready = items(found, "conditions")
        .iter()
        .find(|condition| is(condition, "type", "Ready"))?;
    let message = ready.get("message").and_then(Value::as_str)?;
    (!message.is_empty()).then(|| message.to_owned())
}

/// The state in its colour, and what brings a stopped app back.
fn state_text(ctx: &Context, state: &str) -> String {
    match state {
        "running" => ctx.out.good(state),
        bad if is_bad(bad) => ctx.out.bad(bad),
        "stopped" => format!("{}: `slipway start` brings it back", ctx.out.warn(state)),
        "asleep" => format!("{}: the next request wakes it", ctx.out.warn(state)),
        other => ctx.out.warn(clean(other)),
    }
}

fn last_deployment(ctx: &mut Context, newest: Option<Value>) -> Result<(), CliError> {
    let Some(document) = newest else {
        return ctx.print(format!(
            "{:<12} nothing was deployed yet: `slipway deploy IMAGE`",
            "deployment"
        ));
    };
    let last = Deployment::read(document)?;
    let state = match (last.succeeded(), last.is_final()) {
        (true, _) => ctx.out.good(&last.state),
        (false, true) => ctx.out.bad(clean(&last.state)),
        (false, false) => ctx.out.warn(clean(&last.state)),
    };
    let age = last.created_at.map(|at| ago(at, ctx.now())).unwrap_or_default();
    ctx.print(format!(
        "{:<12} {} {state}, {age} ({})",
        "deployment",
        last.release_text(),
        clean(&last.id)
    ))?;
    if last.state == "awaiting_approval" {
        let hint = format!(
            "it waits until another token says `slipway deployments approve {}`",
            clean(&last.id)
        );
        ctx.print(format!("{:<12} {}", "", ctx.out.warn(hint)))?;
    }
    if let Some(reason) = &last.reason {
        ctx.print(format!("{:<12} {}", "", clean(&reason.detail)))?;
    }
    // Nobody asked for it: without a word it would look like any other.
    if last.cause == "automatic_rollback"
        && let Some(message) = &last.message
    {
        ctx.print(format!("{:<12} {}", "", ctx.out.warn(clean(message))))?;
    }
    Ok(())
}
