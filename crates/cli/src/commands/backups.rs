//! `slipway db backup`, `backups` and `recovery`: what is stored of a database, and what can be had back.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::name::DatabaseName;
use slipway_domain::quantity::Bytes;
use slipway_wire::backups::NewBackup;
use tokio::time::{Duration, Instant};

use super::apps::items;
use super::databases::why;
use crate::args::WaitArgs;
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell, table};

/// Between two looks while it is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Makes one, and waits until it is stored.
pub(super) async fn make(ctx: &mut Context, name: &DatabaseName, wait: WaitArgs) -> Result<(), CliError> {
    let call = Call::post(
        &["databases", name.as_str(), "backups"],
        Some(body(&NewBackup {})),
        ctx.key(),
    );
    let mut backup = ctx.send(call).await?.body;
    let id = cell(&backup, "id");
    ctx.note(format!("making backup {id} of {name}"));
    let Some(limit) = wait.limit() else {
        if ctx.globals.json {
            ctx.print_json(&backup)?;
        }
        ctx.note(format!("`slipway db backups {name}` shows how far it is"));
        return Ok(());
    };
    let deadline = Instant::now() + limit.to_std();
    let mut said = String::new();
    while matches!(cell(&backup, "state").as_str(), "waiting" | "running") && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        let found = ctx
            .send(Call::get(&["databases", name.as_str(), "backups"]))
            .await?
            .body;
        let ours = items(&found, "items").iter().find(|b| cell(b, "id") == id).cloned();
        backup = ours.unwrap_or(backup);
        let progress = progress(&backup);
        if !progress.is_empty() && progress != said {
            ctx.note(&progress);
            said = progress;
        }
    }
    if ctx.globals.json {
        ctx.print_json(&backup)?;
    }
    match cell(&backup, "state").as_str() {
        "stored" => {
            ctx.note(format!(
                "backup {id} is stored and was read back: {}",
                size(&backup, "stored_bytes")
            ));
            Ok(())
        }
        "failed" => Err(CliError::failed(format!("backup {id} failed: {}", why(&backup)))),
        state => Err(CliError::timed_out(
            format!("backup {id} is still {state}"),
            format!("it goes on by itself: `slipway db backups {name}`"),
        )),
    }
}

/// Lists them.
pub(super) async fn list(ctx: &mut Context, name: &DatabaseName) -> Result<(), CliError> {
    let listing = ctx
        .list_all(Call::get(&["databases", name.as_str(), "backups"]))
        .await?;
    let headings = ["ID", "KIND", "STATE", "REASON", "PROGRESS", "STORED", "BEGUN", "BY"];
    ctx.print_list(
        &listing,
        &headings,
        row,
        "no backups yet: the first one is made once the database is ready",
    )
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let mut row = ["id", "kind", "state", "reason.code"]
        .map(|path| cell(item, path))
        .to_vec();
    let running = cell(item, "state") == "running";
    row.push(if running { progress(item) } else { String::new() });
    row.push(size(item, "stored_bytes"));
    row.extend([age_cell(item, "started_at", now), cell(item, "requested_by")]);
    row
}

/// How much of how much was read.
pub(super) fn progress(backup: &Value) -> String {
    let of = |path: &str| backup.pointer(path).and_then(Value::as_u64);
    match (of("/progress/done_bytes"), of("/progress/total_bytes")) {
        (Some(done), Some(total)) if total > 0 => {
            let (done, total) = (Bytes(done.min(total)), Bytes(total));
            let percent = done.0.saturating_mul(100) / total.0;
            format!("{percent} % ({} of {})", done.rough(), total.rough())
        }
        _ => String::new(),
    }
}

fn size(item: &Value, member: &str) -> String {
    let bytes = item.get(member).and_then(Value::as_u64);
    bytes.map_or_else(String::new, |bytes| Bytes(bytes).rough().to_string())
}

/// Shows what can be restored.
pub(super) async fn recovery(ctx: &mut Context, name: &DatabaseName) -> Result<(), CliError> {
    let found = ctx
        .send(Call::get(&["databases", name.as_str(), "recovery"]))
        .await?
        .body;
    if ctx.globals.json {
        return ctx.print_json(&found);
    }
    let now = ctx.now();
    let stream = cell(&found, "stream");
    let shown = match stream.as_str() {
        "streaming" => ctx.out.good(&stream),
        "failing" => ctx.out.bad(&stream),
        _ => ctx.out.warn(&stream),
    };
    let since = age_cell(&found, "stream_since", now);
    let of = |member: &str| found.get(member).and_then(Value::as_u64);
    let loss = match (of("current_rpo_seconds"), of("declared_rpo_seconds")) {
        (Some(current), Some(declared)) => {
            format!("what was committed in the last {current} s at most; declared: {declared} s")
        }
        _ => "everything: no copy is stored yet".to_owned(),
    };
    let lines = [
        ("stream", format!("{shown}, since {since}")),
        ("", why(&found)),
        ("lost now", loss),
        ("last copy", age_cell(&found, "last_backup_at", now)),
    ];
    for (title, text) in lines {
        if !text.is_empty() {
            ctx.print(format!("{title:<12} {text}"))?;
        }
    }
    let windows = items(&found, "windows");
    let rows: Vec<_> = windows.iter().map(|w| vec![cell(w, "from"), cell(w, "to")]).collect();
    if !rows.is_empty() {
        ctx.print("")?;
        ctx.print(table(&["RESTORABLE FROM", "TO"], &rows).trim_end())?;
    }
    let gaps = items(&found, "gaps");
    let rows: Vec<_> = gaps
        .iter()
        .map(|g| vec![cell(g, "at"), cell(g, "reason.code"), cell(g, "reason.detail")])
        .collect();
    if !rows.is_empty() {
        ctx.print("")?;
        ctx.print(table(&["INTERRUPTED", "REASON", "WHAT HAPPENED"], &rows).trim_end())?;
    }
    Ok(())
}
