//! `slipway certs`: certificates, when they end, what is being tried, and what can be done with them.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_wire::domains::{NewCertificate, Revocation, RevocationReason as Reason};
use tokio::time::Instant;

use crate::args::{CertsCommand, RevocationReason};
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell, time_of, to_the_second};
use crate::style::clean;

/// A CA may take so long for a trial.
const TRIAL_MAX: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: CertsCommand) -> Result<(), CliError> {
    match command {
        CertsCommand::List => list(ctx).await,
        CertsCommand::Upload { cert, key, hosts } => upload(ctx, &cert, &key, &hosts).await,
        CertsCommand::GiveUp { host } => {
            let app = ctx.app()?;
            let call = Call::delete(&["apps", app.as_str(), "domains", &host, "certificate"]);
            done(
                ctx,
                call,
                &format!("{host}: one is ordered; the uploaded one serves until it is there"),
            )
            .await
        }
        CertsCommand::Renew { host } => {
            let call = Call::post(&["certificates", &host, "renew"], None, ctx.key());
            done(
                ctx,
                call,
                &format!(
                    "{host}: another one is asked for as soon as may be; `slipway certs` shows it, or what keeps it"
                ),
            )
            .await
        }
        CertsCommand::Revoke {
            host,
            reason,
            immediately,
            yes,
        } => {
            ctx.confirm_that(("revokes", "revoked"), "the certificate of", &host, yes)?;
            let request = Revocation {
                reason: match reason {
                    RevocationReason::Unspecified => Reason::Unspecified,
                    RevocationReason::KeyCompromise => Reason::KeyCompromise,
                    RevocationReason::Superseded => Reason::Superseded,
                    RevocationReason::CessationOfOperation => Reason::CessationOfOperation,
                },
                immediately,
            };
            let call = Call::post(&["certificates", &host, "revoke"], Some(body(&request)), ctx.key());
            let when = if immediately {
                "at once, or as soon as it answers"
            } else {
                "when another one is there, within an hour"
            };
            done(ctx, call, &format!("{host}: the CA is told {when}")).await
        }
        CertsCommand::Try { host } => try_out(ctx, &host).await,
        CertsCommand::Trust { print, remove } => super::trust::run(ctx, print, remove).await,
        CertsCommand::RollAccountKeys => {
            let call = Call::post(&["certificates", "roll-account-keys"], None, ctx.key());
            done(ctx, call, "the keys are replaced as soon as the CAs answer").await
        }
    }
}

fn post(ctx: &mut Context, host: &str, what: &str, body: Option<Value>) -> Result<Call, CliError> {
    let app = ctx.app()?;
    let key = ctx.key();
    Ok(Call::post(&["apps", app.as_str(), "domains", host, what], body, key))
}

async fn done(ctx: &mut Context, call: Call, said: &str) -> Result<(), CliError> {
    let answer = ctx.send(call).await?.body;
    if ctx.globals.json {
        return ctx.print_json(&answer);
    }
    ctx.note(said);
    Ok(())
}

async fn upload(ctx: &mut Context, cert: &Path, key: &Path, hosts: &[String]) -> Result<(), CliError> {
    let app = ctx.app()?;
    let read = |path: &Path| read_pem(path);
    let request = body(&NewCertificate {
        chain: read(cert)?,
        key: read(key)?,
    });
    for host in hosts {
        let call = Call::put(&["apps", app.as_str(), "domains", host, "certificate"], request.clone());
        let found = ctx.send(call).await?.body;
        if ctx.globals.json {
            ctx.print_json(&found)?;
        } else {
            let until = to_the_second(&cell(&found, "certificate.not_after"));
            ctx.note(format!(
                "{host}: in use until {until}; nothing renews it, upload the next one before"
            ));
        }
    }
    Ok(())
}

/// A file that should be PEM.
pub(crate) fn read_pem(path: &Path) -> Result<String, CliError> {
    let cannot = |why: &dyn std::fmt::Display| CliError::failed(format!("cannot read {}: {why}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| cannot(&e))?;
    String::from_utf8(bytes).map_err(|_| {
        CliError::usage(
            format!("{} is no text, so no PEM: is it DER?", path.display()),
            "convert it: `openssl x509 -inform der -in FILE` for a certificate, `openssl pkey -inform der -in FILE` for a key",
        )
    })
}

async fn try_out(ctx: &mut Context, host: &str) -> Result<(), CliError> {
    let app = ctx.app()?;
    let call = post(ctx, host, "trial", None)?;
    let mut trial = ctx.send(call).await?.body;
    let deadline = Instant::now() + TRIAL_MAX;
    ctx.note(format!("{host}: asking {}", clean(&cell(&trial, "ca"))));
    while cell(&trial, "state") == "running" && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        let call = Call::get(&["apps", app.as_str(), "domains", host, "trial"]);
        trial = ctx.send(call).await?.body;
    }
    if ctx.globals.json {
        ctx.print_json(&trial)?;
    }
    let of = |path: &str| clean(&cell(&trial, path)).into_owned();
    match of("state").as_str() {
        "succeeded" => {
            ctx.note(format!("{host}: a certificate could be got"));
            Ok(())
        }
        "failed" => {
            if !ctx.globals.json {
                ctx.print(format!("{} {}", of("reason.detail"), of("reason.hint")))?;
            }
            Err(CliError::Told(1))
        }
        _ => Err(CliError::timed_out(
            format!("{host}: the CA has not decided within five minutes"),
            "it goes on: ask again",
        )),
    }
}

/// Lists them.
async fn list(ctx: &mut Context) -> Result<(), CliError> {
    let mut listing = ctx.list_all(Call::get(&["certificates"])).await?;
    if let Some(app) = ctx.globals.app.clone() {
        // That there is no such app is worth more than an empty list.
        ctx.send(Call::get(&["apps", app.as_str()])).await?;
        listing.items.retain(|item| cell(item, "app") == app.as_str());
    }
    let headings = [
        "NAMES",
        "APP",
        "ISSUER",
        "VALID FOR",
        "RENEWAL DUE",
        "NEXT TRY",
        "REASON",
    ];
    ctx.print_list(&listing, &headings, row, "no certificates")
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    let names = item.get("names").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    vec![
        clean(&names.join(", ")).into_owned(),
        cell(item, "app"),
        match item.get("uploaded").and_then(Value::as_bool) {
            Some(true) => format!("{} (uploaded)", cell(item, "issuer")),
            _ => cell(item, "issuer"),
        },
        left(item, now),
        if item.get("uploaded").and_then(Value::as_bool) == Some(true) {
            "never".into()
        } else {
            age_cell(item, "renew_at", now)
        },
        age_cell(item, "next_try", now),
        // What a person asked for is told until it is done.
        match time_of(item, "revoke_at") {
            None if item.pointer("/revocation_error/code").is_some() => cell(item, "revocation_error.detail"),
            None => cell(item, "reason.code"),
            Some(_) => format!("revoked {} at the latest", age_cell(item, "revoke_at", now)),
        },
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
