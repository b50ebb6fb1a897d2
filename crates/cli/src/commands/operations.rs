//! `slipway run`, `slipway cron` and `slipway operations`: one-off commands, asked for or by the clock.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::quantity::Span;
use slipway_domain::run::RunState;
use slipway_wire::operations::{NewRun, Operation};

use crate::args::{CronCommand, OperationsCommand, RunArgs};
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell, release_cell};
use crate::style::clean;

/// Between two looks at what a command has written.
const LOOK_EVERY: Span = Span::from_secs(1);
const HEADINGS: [&str; 6] = ["ID", "KIND", "RELEASE", "STATE", "CREATED", "COMMAND"];

/// Runs a command, shows what it writes, and ends with its exit code.
pub(crate) async fn run(ctx: &mut Context, args: RunArgs) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    let request = NewRun {
        command: args.command,
        environment: Some(environment),
        timeout: args.timeout,
    };
    let call = Call::post(&["apps", app.as_str(), "run"], Some(body(&request)), ctx.key());
    let document = ctx.send(call).await?.body;
    let operation = read(&document)?;
    if args.no_wait {
        if ctx.globals.json {
            return ctx.print_json(&document);
        }
        ctx.print(clean(&operation.id))?;
        ctx.note(format!(
            "accepted; see it with `slipway operations show {}`",
            operation.id
        ));
        return Ok(());
    }
    ctx.note(format!(
        "running in {} v{} ({})",
        clean(&operation.app),
        operation.release,
        clean(&operation.id)
    ));
    follow(ctx, operation).await
}

/// Shows what a run writes until it has ended. An interruption calls it off.
async fn follow(ctx: &mut Context, mut operation: Operation) -> Result<(), CliError> {
    let id = operation.id.clone();
    let interrupt = ctx.env.interrupt.clone();
    let mut shown = Shown::default();
    let mut document = Value::Null;
    let mut noted = None;
    while !operation.state.is_final() {
        let call = Call::get(&["operations", &id]).waiting(Some(LOOK_EVERY));
        let answer = tokio::select! {
            answer = ctx.send(call) => answer?,
            () = interrupt.happened() => {
                ctx.send(Call::post(&["operations", &id, "cancel"], None, ctx.key())).await?;
                return Err(CliError::failed_with(
                    format!("{id} is called off"),
                    format!("what it wrote: `slipway operations show {id}`"),
                ));
            }
        };
        document = answer.body;
        operation = read(&document)?;
        if ctx.globals.json {
            continue;
        }
        for line in shown.new_lines(&operation.output) {
            ctx.print(clean(&line))?;
        }
        let waits_for = operation.reason.clone().filter(|_| !operation.state.is_final());
        if let Some(reason) = waits_for.as_ref().filter(|_| waits_for != noted) {
            ctx.note(clean(reason));
        }
        noted = waits_for;
    }
    if ctx.globals.json {
        ctx.print_json(&document)?;
    }
    conclude(ctx, &operation)
}

/// How many lines of a growing, bounded tail were shown.
#[derive(Default)]
struct Shown(Vec<String>);

impl Shown {
    /// Those of the tail that come after what was shown.
    fn new_lines(&mut self, tail: &[String]) -> Vec<String> {
        let overlap = (0..=self.0.len().min(tail.len()))
            .rev()
            .find(|n| self.0.ends_with(&tail[..*n]))
            .unwrap_or(0);
        let fresh = tail[overlap..].to_vec();
        if !tail.is_empty() {
            self.0 = tail.to_vec();
        }
        fresh
    }
}

fn conclude(ctx: &mut Context, operation: &Operation) -> Result<(), CliError> {
    if operation.state == RunState::Succeeded {
        return Ok(());
    }
    let why = operation.reason.as_deref().map(clean).unwrap_or_default();
    ctx.say(format!("{}: {why} ({})", operation.state.as_str(), operation.id));
    let code = operation.exit_code.and_then(|code| u8::try_from(code).ok());
    Err(CliError::Told(code.filter(|code| *code != 0).unwrap_or(1)))
}

fn read(document: &Value) -> Result<Operation, CliError> {
    serde_json::from_value(document.clone()).map_err(|error| {
        CliError::failed_with(
            format!("the server's answer is not an operation: {error}"),
            "is this client older than the server? compare `slipway --version` with the operator's",
        )
    })
}

/// `slipway cron`
pub(crate) async fn cron(ctx: &mut Context, command: CronCommand) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    match command {
        CronCommand::List => {
            let call = Call::get(&["apps", app.as_str(), "cron"]).query("environment", environment);
            let listing = ctx.list_all(call).await?;
            let headings = ["NAME", "SCHEDULE", "TIME ZONE", "NEXT", "LAST", "COMMAND"];
            ctx.print_list(
                &listing,
                &headings,
                cron_row,
                "no commands by the clock: `[[cron]]` in the spec",
            )
        }
        CronCommand::History { name, list } => {
            let call = match name {
                Some(name) => history(ctx)?.query("cron", name),
                None => history(ctx)?.query("kind", "cron"),
            };
            let listing = ctx.list(call, list.limit).await?;
            ctx.print_list(&listing, &HEADINGS, row, "the clock called for nothing yet")
        }
    }
}

/// `slipway operations`
pub(crate) async fn operations(ctx: &mut Context, command: OperationsCommand) -> Result<(), CliError> {
    match command {
        OperationsCommand::List(list) => {
            let listing = ctx.list(history(ctx)?, list.limit).await?;
            ctx.print_list(&listing, &HEADINGS, row, "no commands were run")
        }
        OperationsCommand::Show { id } => {
            let document = ctx.send(Call::get(&["operations", &id])).await?.body;
            if ctx.globals.json {
                return ctx.print_json(&document);
            }
            show(ctx, &read(&document)?)
        }
        OperationsCommand::Cancel { id } => {
            let answer = ctx
                .send(Call::post(&["operations", &id, "cancel"], None, ctx.key()))
                .await?;
            if ctx.globals.json {
                return ctx.print_json(&answer.body);
            }
            ctx.note(format!("{id} is called off"));
            Ok(())
        }
    }
}

fn history(ctx: &Context) -> Result<Call, CliError> {
    let (app, environment) = ctx.app_scope()?;
    Ok(Call::get(&["apps", app.as_str(), "operations"]).query("environment", environment))
}

fn show(ctx: &mut Context, operation: &Operation) -> Result<(), CliError> {
    ctx.print(format!("{:<10} {}", "operation", clean(&operation.id)))?;
    ctx.print(format!(
        "{:<10} {}/{} v{}",
        "app",
        clean(&operation.app),
        clean(&operation.environment),
        operation.release
    ))?;
    ctx.print(format!("{:<10} {}", "command", clean(&operation.command.join(" "))))?;
    if let (Some(name), Some(at)) = (&operation.cron, operation.scheduled_for) {
        ctx.print(format!("{:<10} {} of {at}", "cron", clean(name)))?;
    }
    ctx.print(format!("{:<10} {}", "state", operation.state.as_str()))?;
    if let Some(reason) = &operation.reason {
        ctx.print(format!("{:<10} {}", "", clean(reason)))?;
    }
    if !operation.output.is_empty() {
        ctx.print("")?;
    }
    for line in &operation.output {
        ctx.print(clean(line))?;
    }
    Ok(())
}

fn command_cell(item: &Value) -> String {
    let words = item.get("command").and_then(Value::as_array);
    let words = words.into_iter().flatten().filter_map(Value::as_str);
    clean(&words.collect::<Vec<_>>().join(" ")).into_owned()
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    vec![
        cell(item, "id"),
        item.get("cron")
            .and_then(Value::as_str)
            .map_or_else(|| "run".to_owned(), |name| clean(name).into_owned()),
        release_cell(item, "release"),
        cell(item, "state"),
        age_cell(item, "created_at", now),
        command_cell(item),
    ]
}

fn cron_row(item: &Value, _now: Timestamp) -> Vec<String> {
    let last = item.get("last").filter(|last| !last.is_null());
    vec![
        cell(item, "name"),
        cell(item, "schedule"),
        cell(item, "timezone"),
        cell(item, "next_at"),
        last.map_or_else(|| "never".to_owned(), |last| cell(last, "state")),
        command_cell(item),
    ]
}

#[cfg(test)]
mod tests {
    use super::Shown;

    #[test]
    fn each_line_of_a_growing_tail_is_shown_once() {
        let mut shown = Shown::default();
        let tail = |text: &str| text.chars().map(|c| c.to_string()).collect::<Vec<_>>();
        assert_eq!(shown.new_lines(&tail("")), tail(""));
        assert_eq!(shown.new_lines(&tail("ab")), tail("ab"));
        assert_eq!(shown.new_lines(&tail("abc")), tail("c"));
        assert_eq!(shown.new_lines(&tail("")), tail(""));
        assert_eq!(shown.new_lines(&tail("bcd")), tail("d"), "the tail has moved on");
        assert_eq!(shown.new_lines(&tail("xyz")), tail("xyz"));
    }
}
