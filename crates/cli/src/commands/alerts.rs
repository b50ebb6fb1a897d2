//! `slipway alerts`: what is wrong now, and what was.

use serde_json::Value;
use slipway_domain::Timestamp;

use crate::args::ListArgs;
use crate::client::Call;
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell};

/// Lists alerts that go on; with `all` those that are over too.
pub(crate) async fn run(ctx: &mut Context, all: bool, list: ListArgs) -> Result<(), CliError> {
    let call = Call::get(&["alerts"]);
    let call = if all { call } else { call.query("state", "firing") };
    let listing = ctx.list(call, list.limit).await?;
    let empty = if all {
        "there was never anything to tell"
    } else {
        "nothing is wrong; `--all` shows what was"
    };
    ctx.print_list(
        &listing,
        &["STATE", "KIND", "APP", "ENVIRONMENT", "SINCE", "ENDED", "WHAT HAPPENED"],
        row,
        empty,
    )
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let of = |path| cell(item, path);
    vec![
        of("state"),
        of("kind"),
        of("app"),
        of("environment"),
        age_cell(item, "started_at", now),
        age_cell(item, "ended_at", now),
        of("message"),
    ]
}
