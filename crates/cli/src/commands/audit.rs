//! `slipway audit`: who did what, and whether the record is whole.

use serde_json::Value;
use slipway_domain::Timestamp;

use crate::args::ListArgs;
use crate::client::{Call, SLOW_CALL_TIMEOUT};
use crate::context::Context;
use crate::error::CliError;
use crate::show::cell;

/// Lists the rows, or has the chain checked.
pub(crate) async fn run(ctx: &mut Context, verify: bool, list: ListArgs) -> Result<(), CliError> {
    if verify {
        return check(ctx).await;
    }
    let listing = ctx.list(Call::get(&["audit"]), list.limit).await?;
    ctx.print_list(
        &listing,
        &["SEQ", "TIME", "WHO", "ACTION", "TARGET", "OUTCOME"],
        row,
        "the log is empty",
    )
}

fn row(item: &Value, _now: Timestamp) -> Vec<String> {
    let target = match (cell(item, "target.type"), cell(item, "target.name")) {
        (kind, name) if name == "-" => kind,
        (kind, name) => format!("{kind} {name}"),
    };
    let of = |path| cell(item, path);
    vec![
        of("seq"),
        of("time"),
        of("actor.name"),
        of("action"),
        target,
        of("outcome"),
    ]
}

async fn check(ctx: &mut Context) -> Result<(), CliError> {
    let body = ctx
        .send(Call::get(&["audit", "verify"]).timeout(SLOW_CALL_TIMEOUT))
        .await?
        .body;
    let whole = body.get("ok").and_then(Value::as_bool);
    if ctx.globals.json {
        ctx.print_json(&body)?;
    }
    match whole {
        Some(true) => {
            if !ctx.globals.json {
                ctx.print(format!("the chain is whole: {} rows", cell(&body, "rows")))?;
            }
            Ok(())
        }
        Some(false) => Err(CliError::failed_with(
            format!(
                "the chain is broken at row {}: {}",
                cell(&body, "broken_at"),
                cell(&body, "detail")
            ),
            "rows were changed or removed behind the platform's back: keep the database and its backups for an inquiry",
        )),
        None => Err(CliError::failed(
            "the server's answer does not say whether the chain is whole",
        )),
    }
}
