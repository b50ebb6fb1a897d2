//! `slipway certs`: certificates, when they end, and what is being tried.

use serde_json::Value;
use slipway_domain::Timestamp;

use crate::client::Call;
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell, time_of};
use crate::style::clean;

/// Lists them.
pub(crate) async fn list(ctx: &mut Context) -> Result<(), CliError> {
    let listing = ctx.list_all(Call::get(&["certificates"])).await?;
    let headings = ["NAMES", "APP", "ISSUER", "VALID FOR", "RENEWED", "NEXT TRY", "REASON"];
    ctx.print_list(&listing, &headings, row, "no certificates")
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let names = item.get("names").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    vec![
        clean(&names.join(", ")).into_owned(),
        cell(item, "app"),
        cell(item, "issuer"),
        left(item, now),
        age_cell(item, "renew_at", now),
        age_cell(item, "next_try", now),
        cell(item, "reason.code"),
    ]
}

/// How long it is still valid.
pub(crate) fn left(certificate: &Value, now: Timestamp) -> String {
    time_of(certificate, "not_after").map_or_else(String::new, |at| match at - now {
        over if over.num_seconds() <= 0 => "over".into(),
        short if short.num_days() < 2 => format!("{} h", short.num_hours()),
        long => format!("{} d", long.num_days()),
    })
}
