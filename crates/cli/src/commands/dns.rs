//! `slipway dns`: zones that the platform may change. Credentials only ever go in.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use slipway_domain::domains::{PROVIDERS, Provider};
use slipway_wire::dns::NewDnsZone;

use crate::args::{DnsCommand, ZoneOwnerArgs};
use crate::client::{Call, SLOW_CALL_TIMEOUT, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell, table};
use crate::style::clean;
use crate::values::Setting;

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: DnsCommand) -> Result<(), CliError> {
    match command {
        DnsCommand::List { owner } => list(ctx, owner).await,
        DnsCommand::Providers => providers(ctx),
        DnsCommand::Set {
            zone,
            provider,
            settings,
            files,
            delegation,
            owner,
        } => {
            let settings = given(ctx, provider, settings, files)?;
            let request = NewDnsZone {
                provider: provider.name.into(),
                settings,
                delegation,
            };
            let place = match (&owner.team, owner.platform) {
                (Some(team), _) => format!(" --team {team}"),
                (None, true) => " --platform".to_owned(),
                (None, false) => String::new(),
            };
            let call = of(Call::put(&["dns", &zone], body(&request)), owner);
            let stored = ctx.send(call).await?.body;
            if ctx.globals.json {
                return ctx.print_json(&stored);
            }
            ctx.note(format!("stored; `slipway dns check {zone}{place}` tries it"));
            Ok(())
        }
        DnsCommand::Check { zone, owner } => check(ctx, &zone, owner).await,
        DnsCommand::Delete { zone, owner, yes } => {
            ctx.confirm("the way into zone", &zone, yes)?;
            ctx.send(of(Call::delete(&["dns", &zone]), owner)).await?;
            ctx.note(format!("forgot how {zone} is changed"));
            Ok(())
        }
    }
}

/// Of these zones.
fn of(call: Call, owner: ZoneOwnerArgs) -> Call {
    call.query_opt("team", owner.team)
        .query_opt("platform", owner.platform.then_some("true"))
}

async fn list(ctx: &mut Context, owner: ZoneOwnerArgs) -> Result<(), CliError> {
    let listing = ctx.list_all(of(Call::get(&["dns"]), owner)).await?;
    let row = |item: &Value, now| {
        let mut row = ["zone", "provider"].map(|path| cell(item, path)).to_vec();
        let flag = |name: &str| item.get(name).and_then(Value::as_bool) == Some(true);
        row.push(if flag("delegation") { "yes" } else { "" }.to_owned());
        row.push(cell(item, "updated_by"));
        row.push(age_cell(item, "updated_at", now));
        row.push(cell(item, "error"));
        row
    };
    let headings = ["ZONE", "PROVIDER", "DELEGATION", "SET BY", "SET", "ERROR"];
    ctx.print_list(
        &listing,
        &headings,
        row,
        "no zones; `slipway dns set ZONE --provider NAME` adds one",
    )
}

fn providers(ctx: &mut Context) -> Result<(), CliError> {
    if ctx.globals.json {
        let one = |p: &Provider| json!({"name": p.name, "required": p.required, "optional": p.optional});
        let all: Vec<Value> = PROVIDERS.iter().map(one).collect();
        return ctx.print_json(&json!({"items": all}));
    }
    let row = |p: &Provider| {
        let for_whom = if p.has_own_address { "operators" } else { "everybody" };
        vec![
            p.name.to_owned(),
            p.required.join(" "),
            p.optional.join(" "),
            for_whom.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = PROVIDERS.iter().map(row).collect();
    ctx.print(table(&["PROVIDER", "NEEDS", "TAKES", "FOR"], &rows).trim_end())
}

/// What was given, and what is still to be asked for.
fn given(
    ctx: &mut Context,
    provider: &Provider,
    settings: Vec<Setting>,
    files: Vec<Setting>,
) -> Result<BTreeMap<String, String>, CliError> {
    let mut all: BTreeMap<String, String> = settings.into_iter().map(|s| (s.key, s.value)).collect();
    for Setting { key, value: path } in files {
        let text = std::fs::read_to_string(&path).map_err(|e| CliError::failed(format!("cannot read {path}: {e}")))?;
        all.insert(key, text);
    }
    if let Some(unknown) = all.keys().find(|key| !provider.knows(key)) {
        return Err(CliError::usage(
            format!("the provider {} has no setting `{unknown}`", provider.name),
            format!(
                "it knows {}",
                [provider.required, provider.optional].concat().join(", ")
            ),
        ));
    }
    let missing: Vec<&str> = provider
        .required
        .iter()
        .copied()
        .filter(|key| !all.contains_key(*key))
        .collect();
    match missing.as_slice() {
        [] => {}
        [key] => {
            let value = ctx.secret_value(key)?;
            all.insert((*key).to_owned(), value.expose().to_owned());
        }
        several if ctx.io.stdin_terminal => {
            for key in several {
                let value = ctx.secret_value(key)?;
                all.insert((*key).to_owned(), value.expose().to_owned());
            }
        }
        several => {
            let text = ctx.secret_value(&format!("lines {}=…", several.join("=…, ")))?;
            let lines = text.expose().lines().filter(|line| !line.trim().is_empty());
            for line in lines {
                let setting: Setting = line.parse().map_err(|e: String| {
                    CliError::usage(
                        format!("standard input: {e} in each line"),
                        format!("the provider {} still needs {}", provider.name, several.join(", ")),
                    )
                })?;
                all.insert(setting.key, setting.value);
            }
        }
    }
    Ok(all)
}

async fn check(ctx: &mut Context, zone: &str, owner: ZoneOwnerArgs) -> Result<(), CliError> {
    let call = of(Call::post(&["dns", zone, "check"], None, ctx.key()), owner).timeout(SLOW_CALL_TIMEOUT);
    let found = ctx.send(call).await?.body;
    let ok = found.get("ok").and_then(Value::as_bool) == Some(true);
    if ctx.globals.json {
        ctx.print_json(&found)?;
    } else {
        ctx.print(clean(&cell(&found, "detail")))?;
    }
    if ok { Ok(()) } else { Err(CliError::Told(1)) }
}
