//! `slipway spec`: the spec of an environment as it is, and a new one in its place.

use std::path::Path;

use serde_json::{Map, Value};
use slipway_domain::spec::Spec;

use super::secrets::STAGED;
use super::watch;
use crate::args::{SpecCommand, StageArgs, WaitArgs};
use crate::client::Call;
use crate::context::Context;
use crate::diff::{diff, line};
use crate::error::CliError;
use crate::manifest;
use crate::values::{SpecKey, SpecPart};

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: SpecCommand) -> Result<(), CliError> {
    match command {
        SpecCommand::Show => show(ctx).await,
        SpecCommand::Set { what, stage, wait } => set(ctx, &what, stage, wait).await,
        SpecCommand::Unset { keys, stage, wait } => {
            let taken_out = |key: SpecKey| SpecPart::Key {
                path: key.0,
                value: Value::Null,
            };
            let what: Vec<SpecPart> = keys.into_iter().map(taken_out).collect();
            set(ctx, &what, stage, wait).await
        }
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
    ctx.print(text.trim_end())?;
    watch::note_staged(ctx).await;
    Ok(())
}

async fn set(ctx: &mut Context, what: &[SpecPart], stage: StageArgs, wait: WaitArgs) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    let wanted = wanted(ctx, what)?;
    let present = ctx.send(call(ctx)?).await;
    let (old, etag) = match (&present, &wanted) {
        (Ok(answer), _) => (answer.body.get("spec").cloned(), answer.etag.clone()),
        // Who may write and not read can still replace the whole.
        (Err(_), Wanted::Whole(_)) => (None, None),
        (Err(_), Wanted::Keys(_)) => return present.map(|_| ()),
    };
    let spec = match wanted {
        Wanted::Whole(spec) => *spec,
        Wanted::Keys(keys) => {
            let mut spec = old.clone().unwrap_or_default();
            for (path, value) in keys {
                put(&mut spec, path, value)?;
            }
            manifest::spec_of(&spec.to_string(), "the spec")?
        }
    }
    .to_json();
    let changes: Vec<_> = old.iter().flat_map(|old| diff(&manifest::normal(old), &spec)).collect();
    for change in &changes {
        ctx.note(line(change, ctx.err));
    }
    let call = Call::put(&["apps", app.as_str(), "spec"], spec)
        .query("environment", environment)
        .if_match(etag);
    let answer = ctx.send(call.query("apply", !stage.stage)).await?;
    watch::settle_change(ctx, answer, wait, STAGED).await
}

/// What was typed, read.
enum Wanted<'a> {
    Whole(Box<Spec>),
    Keys(Vec<(&'a [String], &'a Value)>),
}

fn wanted<'a>(ctx: &mut Context, what: &'a [SpecPart]) -> Result<Wanted<'a>, CliError> {
    if let [SpecPart::File(file)] = what {
        let text = if file == Path::new("-") {
            let text = ctx.io.read_value();
            let text = text.map_err(|e| CliError::failed(format!("cannot read the spec: {e}")))?;
            text.expose().to_owned()
        } else {
            manifest::read_text(&ctx.env.cwd.join(file))?
        };
        return manifest::spec_of(&text, &file.display().to_string()).map(|spec| Wanted::Whole(Box::new(spec)));
    }
    let keys = what.iter().map(|part| match part {
        SpecPart::Key { path, value } => Ok((path.as_slice(), value)),
        SpecPart::File(file) => Err(CliError::usage(
            format!("`{}` is neither the only file nor a key with a value", file.display()),
            "give one file, or keys such as `scale.min=2`",
        )),
    });
    keys.collect::<Result<_, _>>().map(Wanted::Keys)
}

/// Sets one key of a spec, with the tables above it; nothing as its value takes it out.
fn put(spec: &mut Value, path: &[String], value: &Value) -> Result<(), CliError> {
    let Some((last, tables)) = path.split_last() else {
        return Ok(());
    };
    let no_table = || {
        CliError::usage(
            format!("`{}` leads through something that is no table", path.join(".")),
            "`slipway spec show` prints the keys there are",
        )
    };
    let mut place = spec;
    for key in tables {
        let table = place.as_object_mut().ok_or_else(no_table)?;
        place = table.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new()));
    }
    let table = place.as_object_mut().ok_or_else(no_table)?;
    if !value.is_null() {
        table.insert(last.clone(), as_text(path, value));
    } else if table.remove(last).is_none() {
        return Err(CliError::usage(
            format!("`{}` is not set", path.join(".")),
            "`slipway spec show` prints the keys there are",
        ));
    }
    Ok(())
}

/// `0.5` where the spec has the text `"0.5"`, as of cores: a person need not know which of the two it is.
fn as_text(path: &[String], value: &Value) -> Value {
    let place = format!("/{}", path.join("/"));
    let is_text = Spec::default().to_json().pointer(&place).is_some_and(Value::is_string);
    match value {
        Value::Number(number) if is_text => Value::String(number.to_string()),
        other => other.clone(),
    }
}
