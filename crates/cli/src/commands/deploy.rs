//! `slipway deploy`, `rollback`, `promote`: three ways to a new release.

use slipway_domain::ReleaseNumber;
use slipway_domain::name::EnvironmentName;
use slipway_domain::ports::PullPolicy;
use slipway_wire::deployments::{DeployOptions, NewDeployment};
use slipway_wire::releases::{Promotion, Rollback};

use super::watch;
use crate::args::{DeployArgs, WaitArgs};
use crate::client::{Call, SLOW_CALL_TIMEOUT, body};
use crate::context::{Context, MANIFEST};
use crate::error::CliError;
use crate::manifest;

/// Deploys an image.
pub(crate) async fn deploy(ctx: &mut Context, args: DeployArgs) -> Result<(), CliError> {
    let image = match &args.image {
        Some(image) => image.as_given().to_owned(),
        None => image_of_manifest(ctx)?,
    };
    let key = args.idempotency_key.clone().unwrap_or_else(|| ctx.key());
    let call = call(ctx, &args, &image, key)?.timeout(SLOW_CALL_TIMEOUT);
    let answer = ctx.send(call).await?;
    watch::settle(ctx, answer, args.wait, "accepted").await
}

fn image_of_manifest(ctx: &Context) -> Result<String, CliError> {
    let path = ctx.env.cwd.join(MANIFEST);
    if !path.exists() {
        return Err(CliError::usage(
            "which image?",
            format!("`slipway deploy registry.example.com/app:tag`, or name it in {MANIFEST}"),
        ));
    }
    manifest::read(&path)?
        .image
        .map(|image| image.as_given().to_owned())
        .ok_or_else(|| {
            CliError::usage(
                format!("{MANIFEST} names no image"),
                "add `image = \"…\"` to it, or give one: `slipway deploy IMAGE`",
            )
        })
}

/// With a known app the call of that app; without one the call that finds the app by token or image.
fn call(ctx: &Context, args: &DeployArgs, image: &str, key: String) -> Result<Call, CliError> {
    let environment = ctx.environment_if_named()?;
    let (message, pull) = (args.message.clone(), args.local.then_some(PullPolicy::Local));
    let strategy = args.strategy.map(|strategy| strategy.as_str().to_owned());
    let Some(app) = ctx.app_if_known()? else {
        let options = DeployOptions {
            strategy,
            message,
            pull,
            ..DeployOptions::default()
        };
        let is_plain = options.strategy.is_none() && options.message.is_none() && options.pull.is_none();
        let body = (!is_plain).then(|| body(&options));
        return Ok(Call::post(&["deploy"], body, key)
            .query("image", image)
            .query_opt("environment", environment)
            .query_opt("from", args.beginning.from.as_ref())
            .query_opt("expires_in", args.beginning.expires_in));
    };
    let image = image.to_owned();
    let request = NewDeployment {
        image,
        environment,
        strategy,
        from: args.beginning.from.clone(),
        expires_in: args.beginning.expires_in,
        message,
        pull,
        sbom: None,
    };
    Ok(Call::post(
        &["apps", app.as_str(), "deployments"],
        Some(body(&request)),
        key,
    ))
}

/// Goes back to an earlier release.
pub(crate) async fn rollback(
    ctx: &mut Context,
    release: Option<ReleaseNumber>,
    wait: WaitArgs,
) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    let request = Rollback {
        release,
        environment: Some(environment),
    };
    let call = Call::post(&["apps", app.as_str(), "rollback"], Some(body(&request)), ctx.key());
    let answer = ctx.send(call.timeout(SLOW_CALL_TIMEOUT)).await?;
    watch::settle(ctx, answer, wait, "accepted").await
}

/// Brings the image of one environment to another.
pub(crate) async fn promote(
    ctx: &mut Context,
    from: &EnvironmentName,
    to: &EnvironmentName,
    wait: WaitArgs,
) -> Result<(), CliError> {
    if from == to {
        return Err(CliError::usage(
            format!("`{from}` is already `{to}`"),
            "give two different environments",
        ));
    }
    let app = ctx.app()?;
    let request = Promotion {
        from: from.clone(),
        to: to.clone(),
    };
    let call = Call::post(&["apps", app.as_str(), "promote"], Some(body(&request)), ctx.key());
    let answer = ctx.send(call.timeout(SLOW_CALL_TIMEOUT)).await?;
    watch::settle(ctx, answer, wait, "accepted").await
}
