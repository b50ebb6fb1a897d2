//! `slipway spec`: the spec of an environment as it is, and a new one in its place.

use std::path::Path;

use serde_json::Value;

use super::secrets::STAGED;
use super::watch;
use crate::args::{SpecCommand, StageArgs, WaitArgs};
use crate::client::Call;
use crate::context::Context;
use crate::error::CliError;
use crate::manifest;

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: SpecCommand) -> Result<(), CliError> {
    match command {
        SpecCommand::Show => show(ctx).await,
        SpecCommand::Set { file, stage, wait } => set(ctx, &file, stage, wait).await,
    }
}

/// The call for the spec.
pub(crate) fn call(ctx: &Context) -> Result<Call, CliError> {
    let (app, environment) = ctx.app_scope()?;
    Ok(Call::get(&["apps", app.as_str(), "spec"]).query("environment", environment))
}

async fn show(ctx: &mut Context) -> Result<(), CliError> {
    let body = ctx.send(call(ctx)?).await?.body;
    if ctx.globals.json {
        return ctx.print_json(&body);
    }
    let spec = body
        .get("spec")
        .ok_or_else(|| CliError::failed("the server's answer holds no spec"))?;
    let text = manifest::to_toml(spec)?;
    ctx.print(text.trim_end())
}

async fn set(ctx: &mut Context, file: &Path, stage: StageArgs, wait: WaitArgs) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    let text = if file == Path::new("-") {
        let text = ctx
            .io
            .read_value()
            .map_err(|e| CliError::failed(format!("cannot read the spec: {e}")))?;
        text.expose().to_owned()
    } else {
        manifest::read_text(&ctx.env.cwd.join(file))?
    };
    let spec: Value = manifest::spec_of(&text, &file.display().to_string())?.to_json();
    let call = Call::put(&["apps", app.as_str(), "spec"], spec).query("environment", environment);
    let answer = ctx.send(call.query("apply", !stage.stage)).await?;
    watch::settle(ctx, answer, wait, STAGED).await
}
