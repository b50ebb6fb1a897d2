//! `slipway domains`: names that people bring along, from the records to make to the padlock.

use std::time::Duration;

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::name::HostName;
use slipway_wire::domains::{ClientCa, DomainChange, HstsChange, NewDomain};
use tokio::time::Instant;

use super::certs::{left, read_pem};
use crate::args::{DomainWatchArgs, DomainsCommand, Switch};
use crate::client::{Call, SLOW_CALL_TIMEOUT, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell, table, to_the_second};
use crate::style::clean;

/// Between two looks while it is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two times that the platform is told to ask DNS again.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// A domain whose records are right needs no more than that to be told of, without being asked to wait.
const SHORTLY: Duration = Duration::from_mins(1);

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: DomainsCommand) -> Result<(), CliError> {
    match command {
        DomainsCommand::List => list(ctx).await,
        DomainsCommand::Add {
            host,
            redirect_to,
            watch,
        } => add(ctx, host, redirect_to, watch).await,
        DomainsCommand::Set { host, redirect_to, .. } => set(ctx, &host, redirect_to).await,
        DomainsCommand::Hsts {
            host,
            switch,
            include_subdomains,
            preload,
            confirm,
        } => {
            let change = switch.map(|switch| HstsChange {
                enabled: switch == Switch::On,
                include_subdomains,
                preload,
                confirm,
            });
            hsts(ctx, &host, change).await
        }
        DomainsCommand::ClientCa { host, file, .. } => client_ca(ctx, &host, file.as_deref()).await,
        DomainsCommand::Check { host, watch } => check(ctx, &host, watch).await,
        DomainsCommand::Remove { host, yes } => remove(ctx, &host, yes).await,
    }
}

async fn list(ctx: &mut Context) -> Result<(), CliError> {
    let call = if ctx.is_about_all_apps()? {
        Call::get(&["domains"])
    } else {
        let app = ctx.app()?;
        let environment = ctx.environment_if_named()?;
        Call::get(&["apps", app.as_str(), "domains"]).query_opt("environment", environment)
    };
    let listing = ctx.list_all(call).await?;
    let row = |item: &Value, now: Timestamp| {
        let mut row = ["host", "app", "environment", "state"]
            .map(|path| cell(item, path))
            .to_vec();
        row.push(cell(item, "reason.code"));
        row.push(until(item, now));
        row.push(cell(item, "redirect_to"));
        row.push(cell(item, "created_by"));
        row
    };
    let headings = [
        "HOST",
        "APP",
        "ENVIRONMENT",
        "STATE",
        "REASON",
        "CERTIFICATE",
        "REDIRECTS TO",
        "ADDED BY",
    ];
    ctx.print_list(
        &listing,
        &headings,
        row,
        "no domains; `slipway domains add HOST` adds one",
    )
}

/// How long the certificate is still valid.
fn until(item: &Value, now: Timestamp) -> String {
    left(item.get("certificate").unwrap_or(&Value::Null), now)
}

async fn add(
    ctx: &mut Context,
    host: String,
    redirect_to: Option<String>,
    watch: DomainWatchArgs,
) -> Result<(), CliError> {
    let (app, environment) = ctx.app_scope()?;
    let request = NewDomain {
        host,
        environment: Some(environment),
        redirect_to,
    };
    let call =
        Call::post(&["apps", app.as_str(), "domains"], Some(body(&request)), ctx.key()).timeout(SLOW_CALL_TIMEOUT);
    let made = ctx.send(call).await?.body;
    ctx.note(format!("{app}: added {}", clean(&cell(&made, "host"))));
    follow(ctx, made, watch).await
}

async fn set(ctx: &mut Context, host: &str, redirect_to: Option<String>) -> Result<(), CliError> {
    let app = ctx.app()?;
    let environment = ctx.environment_if_named()?;
    let done = redirect_to.as_ref().map_or_else(
        || format!("{host}: the app answers here itself"),
        |to| format!("{host}: visitors are sent on to {to}"),
    );
    let call = Call::patch(
        &["apps", app.as_str(), "domains", host],
        body(&DomainChange {
            redirect_to: Some(redirect_to),
            hsts: None,
        }),
    )
    .query_opt("environment", environment);
    let changed = ctx.send(call).await?.body;
    if ctx.globals.json {
        return ctx.print_json(&changed);
    }
    ctx.note(done);
    Ok(())
}

/// Shows or changes what browsers are told to remember.
async fn hsts(ctx: &mut Context, host: &str, change: Option<HstsChange>) -> Result<(), CliError> {
    let app = ctx.app()?;
    let environment = ctx.environment_if_named()?;
    let path = ["apps", app.as_str(), "domains", host];
    let call = match change {
        Some(hsts) => Call::patch(
            &path,
            body(&DomainChange {
                redirect_to: None,
                hsts: Some(hsts),
            }),
        ),
        None => Call::get(&path),
    };
    let found = ctx.send(call.query_opt("environment", environment)).await?.body;
    if ctx.globals.json {
        return ctx.print_json(&found);
    }
    for line in remembered(&found) {
        ctx.print(line)?;
    }
    Ok(())
}

/// Has visitors show a certificate, or lets anybody in.
async fn client_ca(ctx: &mut Context, host: &str, file: Option<&std::path::Path>) -> Result<(), CliError> {
    let app = ctx.app()?;
    let path = ["apps", app.as_str(), "domains", host, "client-ca"];
    let call = match file {
        Some(file) => {
            let certificates = read_pem(file)?;
            Call::put(&path, body(&ClientCa { certificates }))
        }
        None => Call::delete(&path),
    };
    let found = ctx.send(call).await?.body;
    if ctx.globals.json {
        return ctx.print_json(&found);
    }
    ctx.note(match file {
        Some(_) => format!(
            "{host}: who shows no certificate of these CAs is not let in; the app is told who came in Client-Cert"
        ),
        None => format!("{host}: anybody is let in"),
    });
    Ok(())
}

/// What browsers remember, in lines.
fn remembered(domain: &Value) -> Vec<String> {
    let of = |name: &str| {
        let value = domain.get("hsts")?.get(name).filter(|value| !value.is_null())?;
        Some(clean(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)).into_owned())
    };
    let mut lines = vec![of("header").map_or_else(
        || "off: browsers are told nothing".to_owned(),
        |header| format!("Strict-Transport-Security: {header}"),
    )];
    if let (Some(next), Some(not_before)) = (of("next_max_age_seconds"), of("next_not_before")) {
        lines.push(format!(
            "next: max-age={next}, not before {} and after a renewal without a failure",
            to_the_second(&not_before)
        ));
    }
    if let Some(until) = of("remembered_until").map(|until| to_the_second(&until)) {
        let off = of("max_age_seconds").is_some_and(|seconds| seconds == "0");
        lines.push(if off {
            format!("browsers that come by forget it; one that does not may insist on HTTPS until {until}")
        } else {
            format!(
                "if it were taken back now, a browser that does not come by again would insist on HTTPS until {until}"
            )
        });
    }
    if domain.pointer("/hsts/preload").and_then(Value::as_bool) == Some(true) {
        lines.push(
            "what is built into browsers is taken out at https://hstspreload.org/removal/ only, within months".into(),
        );
    }
    lines
}

async fn check(ctx: &mut Context, host: &str, watch: DomainWatchArgs) -> Result<(), CliError> {
    let app = ctx.app()?;
    let environment = ctx.environment_if_named()?;
    let call = Call::get(&["apps", app.as_str(), "domains", host, "check"])
        .query_opt("environment", environment)
        .timeout(SLOW_CALL_TIMEOUT);
    let found = ctx.send(call).await?.body;
    recheck(ctx, host).await;
    follow(ctx, found, watch).await
}

/// Has the platform act on what DNS says now. Who may not do that has to wait for it to look by itself.
async fn recheck(ctx: &mut Context, host: &str) {
    if let Ok(app) = ctx.app() {
        let call = Call::post(&["apps", app.as_str(), "domains", host, "check"], None, ctx.key());
        let _ = ctx.send(call).await;
    }
}

async fn remove(ctx: &mut Context, host: &str, yes: bool) -> Result<(), CliError> {
    let app = ctx.app()?;
    ctx.confirm("domain", host, yes)?;
    let environment = ctx.environment_if_named()?;
    let path = ["apps", app.as_str(), "domains", host];
    let before = ctx.send(Call::get(&path)).await?.body;
    ctx.send(Call::delete(&path).query_opt("environment", environment))
        .await?;
    if let Some(until) = before.pointer("/hsts/remembered_until").and_then(Value::as_str) {
        let until = to_the_second(until);
        ctx.note(format!(
            "browsers that were here may insist on HTTPS until {until}: wherever {host} goes needs a certificate"
        ));
    }
    ctx.note(format!(
        "removed {host}; now take its records out of DNS, and its address out of whatever logs people in (OAuth)"
    ));
    Ok(())
}

/// Whether nobody has to do anything in DNS.
fn is_on_its_way(domain: &Value) -> bool {
    let code = domain.pointer("/reason/code").and_then(Value::as_str);
    match cell(domain, "state").as_str() {
        "issuing" => true,
        "pending_dns" => matches!(code, Some("not_checked_yet" | "not_proven")) && !lacks_records(domain),
        _ => false,
    }
}

/// Whether a record that it cannot do without is missing.
fn lacks_records(domain: &Value) -> bool {
    let records = domain.get("records").and_then(Value::as_array).into_iter().flatten();
    let flag = |record: &Value, name: &str| record.get(name).and_then(Value::as_bool) == Some(true);
    records.filter(|r| !flag(r, "optional")).any(|r| !flag(r, "ok"))
}

/// Shows where it stands, and waits for the padlock if that comes by itself or is asked for.
async fn follow(ctx: &mut Context, mut domain: Value, watch: DomainWatchArgs) -> Result<(), CliError> {
    let host = cell(&domain, "host");
    let limit = match (watch.wait, is_on_its_way(&domain) && !watch.no_wait) {
        (true, _) => Some(watch.timeout.to_std()),
        (false, true) => Some(SHORTLY),
        (false, false) => None,
    };
    if !ctx.globals.json {
        report(ctx, &domain)?;
    }
    if let Some(limit) = limit
        && cell(&domain, "state") != "active"
    {
        domain = until_active(ctx, &host, domain, watch.wait, limit).await?;
    }
    if ctx.globals.json {
        ctx.print_json(&domain)?;
    }
    let state = cell(&domain, "state");
    if state == "active" {
        let url = domain
            .get("url")
            .and_then(Value::as_str)
            .map_or(host.as_str(), |url| url);
        ctx.note(format!("{} has its certificate", clean(url)));
        reminders(ctx, &domain);
        return Ok(());
    }
    if watch.wait {
        let hint = domain.pointer("/reason/hint").and_then(Value::as_str);
        return Err(CliError::timed_out(
            format!("{host} is still {}", told(&domain)),
            hint.map_or_else(
                || format!("`{}` shows how it goes on", check_command(&domain)),
                |hint| clean(hint).into_owned(),
            ),
        ));
    }
    if state == "failing" {
        return Err(CliError::Told(1));
    }
    ctx.note(format!("when DNS says so: {} --wait", check_command(&domain)));
    Ok(())
}

/// What to type to look again.
fn check_command(domain: &Value) -> String {
    let of = |path| clean(&cell(domain, path)).into_owned();
    let environment = match of("environment") {
        production if production == "production" => String::new(),
        other => format!(" -e {other}"),
    };
    let host = match of("host") {
        wildcard if wildcard.contains('*') => format!("'{wildcard}'"),
        host => host,
    };
    format!("slipway domains check {host} -a {}{environment}", of("app"))
}

/// What people forget when a name changes.
fn reminders(ctx: &mut Context, domain: &Value) {
    if domain.get("redirect_to").is_none_or(Value::is_null) {
        let Some(url) = domain.get("url").and_then(Value::as_str).map(clean) else {
            return;
        };
        ctx.note(format!(
            "if people log in with another service (OAuth), allow {url} there as a redirect address"
        ));
    }
}

async fn until_active(
    ctx: &mut Context,
    host: &str,
    mut domain: Value,
    asks: bool,
    limit: Duration,
) -> Result<Value, CliError> {
    let app = ctx.app()?;
    let deadline = Instant::now() + limit;
    let mut said = told(&domain);
    let mut checked = Instant::now();
    while Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        if asks && checked.elapsed() >= CHECK_EVERY {
            recheck(ctx, host).await;
            checked = Instant::now();
        }
        domain = ctx
            .send(Call::get(&["apps", app.as_str(), "domains", host]))
            .await?
            .body;
        let now = told(&domain);
        if now != said {
            ctx.note(&now);
            said = now;
        }
        let state = cell(&domain, "state");
        if state == "active" || !asks && state == "failing" {
            break;
        }
    }
    Ok(domain)
}

/// Where it stands, in a line.
fn told(domain: &Value) -> String {
    let state = cell(domain, "state");
    match domain.pointer("/reason/detail").and_then(Value::as_str) {
        Some(detail) => format!("{state}: {}", clean(detail)),
        None => state,
    }
}

/// Where it stands, with the records to make.
fn report(ctx: &mut Context, domain: &Value) -> Result<(), CliError> {
    let style = ctx.out;
    let state = cell(domain, "state");
    let shown = match state.as_str() {
        "active" => style.good(&state),
        "failing" => style.bad(&state),
        _ => style.warn(&state),
    };
    ctx.print(format!("{}  {shown}", style.strong(clean(&cell(domain, "host")))))?;
    let texts = |item: &Value| ["detail", "hint"].map(|key| clean(&cell(item, key)).into_owned());
    if let Some(reason) = domain.get("reason").filter(|r| !r.is_null()) {
        let [detail, hint] = texts(reason);
        ctx.print(format!("  {detail}"))?;
        ctx.print(format!("  {hint}"))?;
    }
    let records = domain
        .get("records")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if !records.is_empty() && state != "active" {
        ctx.print("")?;
        ctx.print(records_title(clean(&cell(domain, "host")).as_ref(), &records))?;
        let code = domain.pointer("/reason/code").and_then(Value::as_str);
        let is_known = !matches!(code, Some("dns_unavailable" | "dnssec_bogus" | "not_checked_yet"));
        let rows: Vec<Vec<String>> = records.iter().map(|r| record_row(r, is_known)).collect();
        let lines = table(&["TYPE", "NAME", "VALUE", "NOW", ""], &rows);
        ctx.print(lines.trim_end())?;
    }
    for item in domain.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        let [detail, hint] = texts(item);
        ctx.print(format!("  {} {detail} {hint}", style.warn("note:")))?;
    }
    if let Some(dnssec @ ("secure" | "insecure")) = domain.get("dnssec").and_then(Value::as_str) {
        ctx.print(format!("  DNSSEC: {dnssec}"))?;
    }
    if domain.get("client_ca").and_then(Value::as_bool) == Some(true) {
        ctx.print("  visitors must show a certificate (`slipway domains client-ca`)")?;
    }
    if let Some(header) = domain.pointer("/hsts/header").and_then(Value::as_str) {
        ctx.print(format!("  Strict-Transport-Security: {}", clean(header)))?;
    }
    let next = domain.pointer("/certificate/next_try").and_then(Value::as_str);
    if let Some(next) = next.filter(|_| state == "failing" || state == "active") {
        let age = age_cell(domain.get("certificate").unwrap_or(&Value::Null), "next_try", ctx.now());
        ctx.print(format!(
            "  the next attempt to get a certificate is at {} ({age})",
            to_the_second(next)
        ))?;
    }
    Ok(())
}

/// What the table means: an alias stands in for the addresses.
fn records_title(host: &str, records: &[Value]) -> String {
    let bare = host.strip_prefix("*.").unwrap_or(host);
    let parsed = bare.parse::<HostName>().ok();
    let zone = parsed.as_ref().and_then(HostName::registered).unwrap_or(bare);
    let has = |group: &str| records.iter().any(|r| cell(r, "group") == group);
    let either = has("alias") && has("addresses");
    let either = if either { "; the CNAME, or the addresses" } else { "" };
    format!(
        "Records to make where {zone} is managed, with a TTL of 300 or less (some want names without `.{zone}`, and `@` for {zone} itself{either}):"
    )
}

fn record_row(record: &Value, is_known: bool) -> Vec<String> {
    let flag = |name: &str| record.get(name).and_then(Value::as_bool) == Some(true);
    let found = record.get("found").and_then(Value::as_array).into_iter().flatten();
    let found: Vec<&str> = found.filter_map(Value::as_str).collect();
    let goes = record.get("value").and_then(Value::as_str) == Some("");
    let verdict = match (flag("ok"), flag("optional")) {
        (true, _) => "ok",
        _ if goes => "remove",
        (false, true) => "optional",
        (false, false) if !is_known && found.is_empty() => "to be made",
        (false, false) if found.is_empty() => "missing",
        (false, false) => "wrong",
    };
    let mut row = ["type", "name", "value"]
        .map(|path| clean(&cell(record, path)).into_owned())
        .to_vec();
    if goes {
        row[2] = "none".into();
    }
    // Where nothing was answered, nothing is known of what is there.
    row.push(if found.is_empty() && !is_known {
        "unknown".into()
    } else if found.is_empty() {
        "nothing".into()
    } else {
        clean(&found.join(", ")).into_owned()
    });
    // What it is for, where it may be left out.
    let is_proof = verdict == "optional" && record.get("group").and_then(Value::as_str) == Some("proof");
    row.push(if is_proof {
        "optional: proves whose it is by itself".into()
    } else {
        verdict.into()
    });
    row
}
