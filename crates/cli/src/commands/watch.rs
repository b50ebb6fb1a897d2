//! What every command does that starts a deployment: wait for it, show it, end with its verdict.

use serde_json::Value;
use slipway_domain::quantity::Span;
use slipway_domain::release::ReleaseCause;

use crate::args::WaitArgs;
use crate::client::{Answer, Call};
use crate::context::Context;
use crate::error::{CliError, INTERRUPTED};
use crate::follow::{Followed, follow};
use crate::model::Deployment;
use crate::progress::Progress;
use crate::style::clean;
use crate::verdict::{self, View};

/// Ends a command whose answer may be a deployment; `done` is said when there is none.
pub(crate) async fn settle(ctx: &mut Context, answer: Answer, wait: WaitArgs, done: &str) -> Result<(), CliError> {
    if Deployment::is_one(&answer.body) {
        return watch(ctx, Deployment::read(answer.body)?, wait.limit()).await;
    }
    if ctx.globals.json {
        return ctx.print_json(&answer.body);
    }
    ctx.note(done);
    Ok(())
}

/// The same for a change of variables, secrets or the spec, after which nothing may have changed.
pub(crate) async fn settle_change(
    ctx: &mut Context,
    answer: Answer,
    wait: WaitArgs,
    done: &str,
) -> Result<(), CliError> {
    let is_told = ctx.globals.json || Deployment::is_one(&answer.body);
    let environment = if is_told { None } else { serving_environment(ctx).await };
    let is_unchanged = environment.is_some_and(|e| e["staged"] == false);
    let done = if is_unchanged {
        "nothing changed: it was so already"
    } else {
        done
    };
    settle(ctx, answer, wait, done).await
}

/// The environment in its app's document, if something serves in it and the token may look.
async fn serving_environment(ctx: &mut Context) -> Option<Value> {
    let (app, environment) = ctx.app_scope().ok()?;
    let document = ctx.send(Call::get(&["apps", app.as_str()])).await.ok()?.body;
    let found = environment_of(&document, environment.as_str())?;
    found.get("release")?.as_u64()?;
    Some(found.clone())
}

/// Says of settings that were just listed that what runs does not have all of them, if that is so.
pub(crate) async fn note_staged(ctx: &mut Context) {
    let Some(environment) = serving_environment(ctx).await else {
        return;
    };
    if environment["staged"] == true {
        ctx.note("some changes are staged: what runs does not have them, the next deploy brings them");
    } else if environment["last_deployment"] == "failed" {
        ctx.note("the last deployment failed: what runs does not have the changes it was to bring");
    }
}

/// Watches a deployment up to the limit, or only names it if there is none.
pub(crate) async fn watch(ctx: &mut Context, deployment: Deployment, limit: Option<Span>) -> Result<(), CliError> {
    let warning = ctx.err.warn("warning:");
    let warnings = deployment.warnings.iter().map(|w| format!("  {warning} {}", clean(w)));
    let Some(limit) = limit else {
        if ctx.globals.json {
            return ctx.print_json(&deployment.document);
        }
        warnings.for_each(|line| ctx.note(line));
        ctx.print(clean(&deployment.id))?;
        ctx.note(format!(
            "accepted; watch it with `slipway deployments follow {}`",
            clean(&deployment.id)
        ));
        return Ok(());
    };
    let client = ctx.client()?;
    let mut progress = Progress::new(&ctx.io, ctx.err, ctx.globals.quiet);
    // Beforehand: somebody may want to call it off.
    for line in heading(&deployment, ctx).into_iter().chain(warnings) {
        progress.line(&line);
    }
    let id = clean(&deployment.id).into_owned();
    let interrupt = ctx.env.interrupt.clone();
    let followed = follow(&client, deployment, &mut progress, limit.to_std(), &interrupt).await;
    progress.end();
    let again = format!("slipway deployments follow {id}");
    match followed? {
        Followed::Ended(deployment) => conclude(ctx, &deployment).await,
        Followed::TimedOut => Err(CliError::timed_out(
            format!("{id} has not ended after {limit}; it goes on without us"),
            format!("watch on with `{again}`, or call it off with `slipway deployments abort {id}`"),
        )),
        Followed::Interrupted => {
            ctx.say(format!("the deployment goes on; watch it with `{again}`"));
            Err(CliError::Told(INTERRUPTED))
        }
    }
}

/// What is being done, and in a second line with what, or to which end.
fn heading(deployment: &Deployment, ctx: &Context) -> [String; 2] {
    let (app, environment) = (clean(&deployment.app), clean(&deployment.environment));
    let release = deployment.release_text();
    let text = match deployment.cause() {
        Some(cause) if cause.is_rollback() => format!("Rolling {app} back to {environment} as {release}"),
        Some(ReleaseCause::Restart) => format!("Restarting {app} in {environment} as {release}"),
        Some(ReleaseCause::Scale) => format!("Scaling {app} in {environment} as {release}"),
        _ => format!("Deploying {app} {release} to {environment}"),
    };
    let message = deployment.message.as_deref().filter(|_| deployment.is_rollback());
    let what = message.or(deployment.image.as_deref()).map(clean).unwrap_or_default();
    let more = format!("{what} {}", clean(&deployment.id));
    [ctx.err.strong(text), format!("  {}", ctx.err.dim(more.trim_start()))]
}

/// Prints how a deployment ended; anything but success is exit code 1.
pub(crate) async fn conclude(ctx: &mut Context, deployment: &Deployment) -> Result<(), CliError> {
    let now = ctx.now();
    if ctx.globals.json {
        ctx.print_json(&deployment.document)?;
    }
    if !deployment.succeeded() {
        let serves = serves(ctx, deployment).await;
        for line in verdict::failure(deployment, serves, View::Watch, ctx.err, now) {
            ctx.say(line);
        }
        return Err(CliError::Told(1));
    }
    if !ctx.globals.json {
        let url = address(ctx, deployment).await;
        for line in verdict::success(deployment, url.as_deref(), ctx.out, now) {
            ctx.print(line)?;
        }
    }
    Ok(())
}

/// Whether the environment serves anything, if this token may know.
pub(crate) async fn serves(ctx: &mut Context, deployment: &Deployment) -> Option<bool> {
    let app = ctx.send(Call::get(&["apps", &deployment.app])).await.ok()?.body;
    let found = environment_of(&app, &deployment.environment)?;
    Some(found.get("release")?.is_number())
}

/// Where the environment answers, as the deployment or the app says. Not knowing it is no failure.
async fn address(ctx: &mut Context, deployment: &Deployment) -> Option<String> {
    if let Some(url) = &deployment.url {
        return Some(url.clone());
    }
    let app = ctx.send(Call::get(&["apps", &deployment.app])).await.ok()?.body;
    environment_member(&app, &deployment.environment, "url")
}

/// A member of an environment in an app's document.
pub(crate) fn environment_member(app: &Value, environment: &str, member: &str) -> Option<String> {
    let found = environment_of(app, environment)?;
    found.get(member).and_then(Value::as_str).map(str::to_owned)
}

/// An environment in an app's document.
pub(crate) fn environment_of<'a>(app: &'a Value, environment: &str) -> Option<&'a Value> {
    let environments = app.get("environments")?.as_array()?;
    environments
        .iter()
        .find(|e| e.get("name").and_then(Value::as_str) == Some(environment))
}
