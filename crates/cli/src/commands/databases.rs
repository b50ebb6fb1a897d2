//! `slipway db`: managed databases. Passwords never come out: apps are told theirs in a secret.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::name::{DatabaseName, VariableName};
use slipway_domain::quantity::{Bytes, Span};
use slipway_wire::backups::NewRestore;
use slipway_wire::databases::{NewAttachment, NewDatabase};
use tokio::time::{Duration, Instant};

use super::apps::items;
use super::secrets::{REMOVED, STAGED};
use super::{backups, watch};
use crate::args::{DatabaseArgs, DbCommand, WaitArgs};
use crate::client::{Call, SLOW_CALL_TIMEOUT, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell, table};
use crate::style::clean;

/// Between two looks while it is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: DbCommand) -> Result<(), CliError> {
    match command {
        DbCommand::List => list(ctx).await,
        DbCommand::Create {
            name,
            database,
            attach,
            wait,
        } => create(ctx, &name, database, attach, wait).await,
        DbCommand::Show { name } => {
            let found = ctx.send(Call::get(&["databases", name.as_str()])).await?.body;
            show(ctx, &found)
        }
        DbCommand::Attach {
            name,
            variable,
            stage,
            wait,
        } => attach(ctx, &name, Some(variable), stage.stage, wait).await,
        DbCommand::Detach { name, stage, wait } => {
            let (app, environment) = ctx.app_scope()?;
            let call = Call::delete(&["databases", name.as_str(), "attach"])
                .query("app", app)
                .query("environment", environment)
                .query("apply", !stage.stage);
            let answer = ctx.send(call).await?;
            watch::settle_change(ctx, answer, wait, REMOVED).await
        }
        DbCommand::Restore {
            name,
            into,
            to,
            backup,
            wait,
        } => {
            let request = NewRestore {
                into: into.clone(),
                to_time: to,
                backup,
            };
            let call = Call::post(
                &["databases", name.as_str(), "restore"],
                Some(body(&request)),
                ctx.key(),
            );
            let made = ctx.send(call).await?.body;
            ctx.note(format!("restoring {name} into {into}"));
            settled(ctx, &into, made, wait).await
        }
        DbCommand::Backup { name, wait } => backups::make(ctx, &name, wait).await,
        DbCommand::Backups { name } => backups::list(ctx, &name).await,
        DbCommand::Recovery { name } => backups::recovery(ctx, &name).await,
        DbCommand::Delete { name, force, yes } => {
            ctx.confirm("the database", name.as_str(), yes)?;
            let call = Call::delete(&["databases", name.as_str()]);
            ctx.send(if force { call.query("force", true) } else { call }).await?;
            ctx.note(format!("deleted {name} with its data"));
            Ok(())
        }
    }
}

async fn attach(
    ctx: &mut Context,
    name: &DatabaseName,
    variable: Option<VariableName>,
    stage: bool,
    wait: WaitArgs,
) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    let request = NewAttachment {
        app,
        environment: Some(environment),
        variable,
    };
    let call =
        Call::post(&["databases", name.as_str(), "attach"], Some(body(&request)), ctx.key()).query("apply", !stage);
    let answer = ctx.send(call).await?;
    watch::settle_change(ctx, answer, wait, STAGED).await
}

async fn list(ctx: &mut Context) -> Result<(), CliError> {
    let listing = ctx.list_all(Call::get(&["databases"])).await?;
    let headings = ["NAME", "VERSION", "STATE", "REASON", "SIZE", "APPS", "CREATED", "BY"];
    ctx.print_list(
        &listing,
        &headings,
        row,
        "no databases; `slipway db create NAME` makes one",
    )
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let mut row = ["name", "version", "state", "reason.code"]
        .map(|path| cell(item, path))
        .to_vec();
    row.push(size(item));
    let place = |attached: &Value| format!("{}/{}", cell(attached, "app"), cell(attached, "environment"));
    row.push(items(item, "attached").iter().map(place).collect::<Vec<_>>().join(", "));
    row.extend([age_cell(item, "created_at", now), cell(item, "created_by")]);
    row
}

fn size(item: &Value) -> String {
    let bytes = item.get("size_bytes").and_then(Value::as_u64);
    bytes.map_or_else(String::new, |bytes| Bytes(bytes).rough().to_string())
}

async fn create(
    ctx: &mut Context,
    name: &DatabaseName,
    database: DatabaseArgs,
    attaches: bool,
    wait: WaitArgs,
) -> Result<(), CliError> {
    let limit = wait.limit();
    if attaches {
        ctx.app()?;
        if limit.is_none() {
            return Err(CliError::usage(
                "--attach waits until the database is ready",
                "leave --no-wait out",
            ));
        }
    }
    let request = NewDatabase {
        name: name.clone(),
        engine: None,
        version: database.postgres,
        app: None,
        environment: None,
        team: database.team,
        memory: database.memory,
        cpu: database.cpu,
        connections: database.connections,
    };
    let call = Call::post(&["databases"], Some(body(&request)), ctx.key()).timeout(SLOW_CALL_TIMEOUT);
    let mut made = ctx.send(call).await?.body;
    ctx.note(format!("making {name}"));
    if let Some(limit) = limit {
        made = until_ready(ctx, name, made, limit).await?;
    }
    let state = cell(&made, "state");
    if attaches && state == "ready" {
        ctx.note(format!("{name} is ready"));
        return attach(ctx, name, None, false, wait).await;
    }
    told(ctx, name, &made, limit)
}

/// Waits until a database that is made is ready, and says what became of it.
async fn settled(ctx: &mut Context, name: &DatabaseName, mut made: Value, wait: WaitArgs) -> Result<(), CliError> {
    let limit = wait.limit();
    if let Some(limit) = limit {
        made = until_ready(ctx, name, made, limit).await?;
    }
    told(ctx, name, &made, limit)
}

fn told(ctx: &mut Context, name: &DatabaseName, made: &Value, limit: Option<Span>) -> Result<(), CliError> {
    if ctx.globals.json {
        ctx.print_json(made)?;
    }
    match cell(made, "state").as_str() {
        "ready" => {
            ctx.note(format!("{name} is ready; next: `slipway db attach {name} -a APP`"));
            Ok(())
        }
        _ if limit.is_none() => {
            ctx.note(format!("`slipway db show {name}` says when it is ready"));
            Ok(())
        }
        "failed" => Err(CliError::failed(format!("{name} cannot be made: {}", why(made)))),
        _ if is_given_up(made) => Err(CliError::failed(format!("{name} cannot be restored: {}", why(made)))),
        state => Err(CliError::timed_out(
            format!("{name} is still {state}: {}", why(made)),
            format!("it goes on by itself: `slipway db show {name}`"),
        )),
    }
}

/// Whether it was to be restored and nothing came of it.
fn is_given_up(database: &Value) -> bool {
    cell(database, "restore.phase") == "failed"
}

/// What it was made from, and how far that is.
fn restored(database: &Value) -> String {
    let of = |member: &str| cell(database, &format!("restore.{member}"));
    let source = of("source");
    if database.get("restore").is_none_or(Value::is_null) {
        return String::new();
    }
    match of("phase").as_str() {
        "done" => {
            let last = database.pointer("/restore/restored_to").and_then(Value::as_str);
            let last = last.map_or_else(|| "nothing was committed yet".into(), |at| format!("last commit {at}"));
            format!("from {source}, {last}")
        }
        "failed" => format!("from {source}: given up"),
        _ => format!("from {source}: {}", restoring(database)),
    }
}

/// How far a restore is.
fn restoring(database: &Value) -> String {
    if cell(database, "state") != "restoring" {
        return String::new();
    }
    let phase = cell(database, "restore.phase");
    let progress = database.get("restore").map(backups::progress).unwrap_or_default();
    format!("{phase} {progress}").trim_end().to_owned()
}

/// Why it is not as it should be, in a line.
pub(super) fn why(database: &Value) -> String {
    let of = |path: &str| database.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let text = format!("{} {}", of("/reason/detail"), of("/reason/hint"));
    clean(text.trim()).into_owned()
}

async fn until_ready(ctx: &mut Context, name: &DatabaseName, mut found: Value, limit: Span) -> Result<Value, CliError> {
    let deadline = Instant::now() + limit.to_std();
    let mut said = String::new();
    let ended = |found: &Value| matches!(cell(found, "state").as_str(), "ready" | "failed") || is_given_up(found);
    while !ended(&found) && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        found = ctx.send(Call::get(&["databases", name.as_str()])).await?.body;
        let now = match why(&found) {
            none if none.is_empty() => restoring(&found),
            why => why,
        };
        if !now.is_empty() && now != said {
            ctx.note(&now);
            said = now;
        }
    }
    Ok(found)
}

fn show(ctx: &mut Context, found: &Value) -> Result<(), CliError> {
    if ctx.globals.json {
        return ctx.print_json(found);
    }
    for (title, text) in described(ctx, found) {
        if !text.is_empty() {
            ctx.print(format!("{title:<12} {text}"))?;
        }
    }
    let rows: Vec<_> = items(found, "attached")
        .iter()
        .map(|a| {
            vec![
                cell(a, "app"),
                cell(a, "environment"),
                cell(a, "variable"),
                cell(a, "created_by"),
            ]
        })
        .collect();
    if !rows.is_empty() {
        ctx.print("")?;
        ctx.print(table(&["APP", "ENVIRONMENT", "SECRET", "ATTACHED BY"], &rows).trim_end())?;
    }
    Ok(())
}

/// What there is to know of one.
fn described(ctx: &Context, found: &Value) -> [(&'static str, String); 11] {
    let now = ctx.now();
    let of = |path: &str| cell(found, path);
    let state = of("state");
    let shown = match state.as_str() {
        "ready" => ctx.out.good(&state),
        "failed" | "unavailable" => ctx.out.bad(&state),
        _ => ctx.out.warn(&state),
    };
    let limits = format!(
        "{} memory, {} CPU, {} connections",
        of("memory"),
        of("cpu"),
        of("connections")
    );
    [
        ("name", of("name")),
        ("state", format!("{shown}, since {}", age_cell(found, "since", now))),
        ("", why(found)),
        ("restored", restored(found)),
        (
            "version",
            format!("PostgreSQL {} ({})", of("version"), of("server_version")),
        ),
        ("size", size(found)),
        ("limits", limits),
        (
            "address",
            format!("{}:{}, from attached apps only", of("host"), of("port")),
        ),
        (
            "roles",
            format!("{} (apps), {} (only reads)", of("database"), of("reader")),
        ),
        ("team", of("team")),
        (
            "created",
            format!("{} by {}", age_cell(found, "created_at", now), of("created_by")),
        ),
    ]
}
