//! `slipway plan` and `slipway apply`: the difference between `slipway.toml` and what is, and making it none.

use serde_json::{Value, json};
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_domain::spec::Spec;
use slipway_wire::Code;
use slipway_wire::apps::{NewApp, NewEnvironment};
use slipway_wire::deployments::NewDeployment;

use super::watch;
use crate::args::{ManifestArgs, WaitArgs};
use crate::client::{Answer, Call, SLOW_CALL_TIMEOUT, body};
use crate::context::Context;
use crate::diff::{Change, diff, line};
use crate::error::CliError;
use crate::manifest;
use crate::model::Deployment;
use crate::style::clean;

/// What is there, what is wanted, and the way between.
struct Plan {
    app: AppName,
    environment: EnvironmentName,
    /// The app or environment that does not exist yet.
    missing: Option<Missing>,
    etag: Option<String>,
    spec: Spec,
    changes: Vec<Change>,
    image: Image,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    App,
    Environment,
}

/// Which image the newest release runs and which is wanted.
struct Image {
    old: Option<String>,
    new: Option<String>,
}

impl Image {
    /// The image to deploy, if that changes anything.
    fn to_deploy(&self) -> Option<&str> {
        self.new.as_deref().filter(|new| self.old.as_deref() != Some(*new))
    }
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.missing.is_none() && self.changes.is_empty() && self.image.to_deploy().is_none()
    }

    fn to_json(&self) -> Value {
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|c| json!({ "path": c.path, "old": c.old, "new": c.new }))
            .collect();
        json!({
            "app": self.app, "environment": self.environment,
            "creates": self.missing.map(|m| match m {
                Missing::App => "app",
                Missing::Environment => "environment",
            }),
            "changes": changes,
            "image": { "old": self.image.old, "new": self.image.to_deploy() },
        })
    }
}

/// Shows what `apply` would change; having looked is success, whatever was seen.
pub(crate) async fn plan(ctx: &mut Context, args: ManifestArgs) -> Result<(), CliError> {
    let plan = look(ctx, &args).await?;
    if ctx.globals.json {
        return ctx.print_json(&plan.to_json());
    }
    let style = ctx.out;
    for text in describe(&plan, style) {
        ctx.print(text)?;
    }
    for warning in plan.spec.warnings() {
        ctx.note(format!("{} {warning}", ctx.err.warn("warning:")));
    }
    Ok(())
}

fn describe(plan: &Plan, style: crate::style::Style) -> Vec<String> {
    let (app, environment) = (&plan.app, &plan.environment);
    if plan.is_empty() {
        return vec![format!(
            "{app} in {environment} is as the manifest says: nothing to change"
        )];
    }
    let mut lines = vec![style.strong(format!("{app} in {environment}"))];
    match plan.missing {
        Some(Missing::App) => lines.push(style.good(format!("  + the app {app} is created"))),
        Some(Missing::Environment) => lines.push(style.good(format!("  + the environment {environment} is created"))),
        None => {}
    }
    lines.extend(plan.changes.iter().map(|change| line(change, style)));
    if let Some(new) = plan.image.to_deploy() {
        lines.push(match &plan.image.old {
            Some(old) => style.warn(format!("  ~ image = {} -> {}", clean(old), clean(new))),
            None => style.good(format!("  + image = {}", clean(new))),
        });
    }
    lines.push("`slipway apply` makes it so".to_owned());
    lines
}

/// Makes it so: creates what is missing, sets the spec if nobody changed it meanwhile, deploys the image.
pub(crate) async fn apply(ctx: &mut Context, args: ManifestArgs, wait: WaitArgs) -> Result<(), CliError> {
    let plan = look(ctx, &args).await?;
    if plan.is_empty() {
        if ctx.globals.json {
            return ctx.print_json(&plan.to_json());
        }
        ctx.note(format!(
            "{} in {} is as the manifest says: nothing to do",
            plan.app, plan.environment
        ));
        return Ok(());
    }
    let style = ctx.err;
    let shown = describe(&plan, style);
    for text in &shown[..shown.len() - 1] {
        ctx.note(text);
    }
    let etag = match plan.missing {
        Some(missing) => create(ctx, &plan, missing).await?,
        None => plan.etag.clone(),
    };
    let answer = carry_out(ctx, &plan, etag).await;
    if answer.is_err() && plan.missing.is_some() {
        let (app, environment) = (&plan.app, &plan.environment);
        ctx.say(format!(
            "{app} in {environment} was made and stays; mend what follows, then `slipway apply` goes on from there"
        ));
    }
    match answer? {
        Some(answer) => {
            watch::settle(
                ctx,
                answer,
                wait,
                "done; nothing was deployed yet: `slipway deploy IMAGE`",
            )
            .await
        }
        None => Ok(()),
    }
}

/// Sets the spec and deploys the image, as far as they differ; the answer is that of the last call.
async fn carry_out(ctx: &mut Context, plan: &Plan, etag: Option<String>) -> Result<Option<Answer>, CliError> {
    let image = plan.image.to_deploy();
    let mut answer = None;
    if !plan.changes.is_empty() {
        answer = Some(put_spec(ctx, plan, etag, image.is_none()).await?);
    }
    if let Some(image) = image {
        let request = deployment_of(image, &plan.environment);
        let body = body(&request);
        let call = Call::post(&["apps", plan.app.as_str(), "deployments"], Some(body), ctx.key());
        answer = Some(ctx.send(call.timeout(SLOW_CALL_TIMEOUT)).await?);
    }
    Ok(answer)
}

/// With an image to follow the spec is only staged, so that both make one release.
async fn put_spec(ctx: &mut Context, plan: &Plan, etag: Option<String>, start: bool) -> Result<Answer, CliError> {
    let call = Call::put(&["apps", plan.app.as_str(), "spec"], plan.spec.to_json())
        .query("environment", &plan.environment)
        .query("apply", start)
        .if_match(etag);
    ctx.send(call).await
}

/// Creates what is missing and gives the tag of its spec.
async fn create(ctx: &mut Context, plan: &Plan, missing: Missing) -> Result<Option<String>, CliError> {
    let (app, environment) = (&plan.app, &plan.environment);
    if missing == Missing::App {
        ctx.send(Call::post(
            &["apps"],
            Some(body(&NewApp {
                name: app.clone(),
                team: None,
            })),
            ctx.key(),
        ))
        .await?;
    }
    if !environment.is_production() {
        let body = body(&NewEnvironment {
            name: environment.clone(),
            from: None,
            expires_in: None,
        });
        let call = Call::post(&["apps", app.as_str(), "environments"], Some(body), ctx.key());
        match ctx.send(call).await {
            Ok(_) => {}
            Err(error) if error.code() == Some(Code::AlreadyExists.as_str()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ctx.send(spec_call(app, environment)).await?.etag)
}

fn deployment_of(image: &str, environment: &EnvironmentName) -> NewDeployment {
    NewDeployment {
        from: None,
        expires_in: None,
        image: image.to_owned(),
        environment: Some(environment.clone()),
        strategy: None,
        message: None,
        pull: None,
        sbom: None,
    }
}

fn spec_call(app: &AppName, environment: &EnvironmentName) -> Call {
    Call::get(&["apps", app.as_str(), "spec"]).query("environment", environment)
}

async fn look(ctx: &mut Context, args: &ManifestArgs) -> Result<Plan, CliError> {
    let wanted = manifest::read(&ctx.env.cwd.join(&args.file))?;
    let app = ctx.globals.app.clone().unwrap_or(wanted.app);
    let environment = ctx.environment()?;
    let new_image = args
        .image
        .clone()
        .or(wanted.image)
        .map(|image| image.as_given().to_owned());
    let mut plan = Plan {
        app,
        environment,
        missing: None,
        etag: None,
        spec: wanted.spec,
        changes: Vec::new(),
        image: Image {
            old: None,
            new: new_image,
        },
    };
    let old = match ctx.send(spec_call(&plan.app, &plan.environment)).await {
        Ok(answer) => {
            plan.etag = answer.etag;
            plan.image.old = newest_image(ctx, &plan).await?;
            manifest::normal(answer.body.get("spec").unwrap_or(&Value::Null))
        }
        Err(error) if error.status() == Some(404) => {
            plan.missing = Some(what_is_missing(ctx, &plan.app).await?);
            Spec::default().to_json()
        }
        Err(error) => return Err(error),
    };
    plan.changes = diff(&old, &plan.spec.to_json());
    Ok(plan)
}

async fn what_is_missing(ctx: &mut Context, app: &AppName) -> Result<Missing, CliError> {
    match ctx.send(Call::get(&["apps", app.as_str()])).await {
        Ok(_) => Ok(Missing::Environment),
        Err(error) if error.status() == Some(404) => Ok(Missing::App),
        Err(error) => Err(error),
    }
}

/// The image of the newest deployment, unless that one did not succeed: then it is worth another try.
async fn newest_image(ctx: &mut Context, plan: &Plan) -> Result<Option<String>, CliError> {
    let call = Call::get(&["apps", plan.app.as_str(), "deployments"]).query("environment", &plan.environment);
    let Some(document) = ctx.list(call, 1).await?.items.into_iter().next() else {
        return Ok(None);
    };
    let newest = Deployment::read(document)?;
    Ok(newest
        .image
        .clone()
        .filter(|_| newest.succeeded() || !newest.is_final()))
}
