//! `slipway login` and `logout`: which server later commands talk to, and as whom.

use slipway_domain::secret::Secret;
use slipway_domain::token::Token;

use crate::client::{Call, Client};
use crate::config::{Config, Server};
use crate::context::Context;
use crate::error::CliError;
use crate::retry::Patience;
use crate::target::{Source, Target, is_loopback, key_of, parse_url};

/// Stores an address and a token that the server accepts.
pub(crate) async fn login(ctx: &mut Context, address: Option<String>, token_stdin: bool) -> Result<(), CliError> {
    if address.is_some() {
        ctx.globals.url = address;
    }
    let mut config = Config::load(&ctx.env)?;
    let mut target = Target::resolve(&ctx.globals, &ctx.env)?;
    if target.source == Source::ThisMachine && ctx.globals.url.is_none() && target.token.is_none() {
        return Err(CliError::usage(
            "which server?",
            "give its address: `slipway login https://console.example.com`",
        ));
    }
    if target.url.scheme() == "http" && !is_loopback(&target.url) {
        ctx.say(format!(
            "{} the token travels unencrypted to {}",
            ctx.err.warn("warning:"),
            key_of(&target.url)
        ));
    }
    // A token that is already known for this address, and still good, is not asked for again.
    let given = !token_stdin && (ctx.globals.token.is_some() || ctx.env.var("SLIPWAY_TOKEN").is_some());
    let known = if token_stdin { None } else { target.token.take() };
    let token = match known {
        Some(token) if accepted(&target, &token, ctx.patience()).await? => token,
        _ => {
            if given {
                return Err(not_accepted(&target));
            }
            let token = ask(ctx, token_stdin)?;
            if !accepted(&target, &token, ctx.patience()).await? {
                return Err(not_accepted(&target));
            }
            token
        }
    };
    let key = key_of(&target.url);
    let server = Server {
        token: token.expose().to_owned(),
        cacert: target.cacert.clone(),
    };
    config.servers.insert(key.clone(), server);
    config.current = Some(key.clone());
    let path = config.save(&ctx.env)?;
    ctx.note(format!("logged in to {key}; stored in {}", path.display()));
    Ok(())
}

fn not_accepted(target: &Target) -> CliError {
    CliError::failed_with(
        format!("{} does not accept this token", key_of(&target.url)),
        "it may have expired or been revoked: have a new one made with `slipway tokens create`",
    )
}

fn ask(ctx: &mut Context, token_stdin: bool) -> Result<Secret, CliError> {
    let text = if token_stdin {
        ctx.io
            .read_value()
            .map_err(|e| CliError::failed(format!("cannot read the token: {e}")))?
    } else {
        ctx.secret_value("token")?
    };
    let token = text.expose().trim();
    token
        .parse::<Token>()
        .map_err(|e| CliError::usage(e.to_string(), "copy it again, as a whole"))?;
    Ok(Secret::new(token.to_owned()))
}

/// Whether the server knows the token; what it may do with it is another matter.
async fn accepted(target: &Target, token: &Secret, patience: Patience) -> Result<bool, CliError> {
    let target = Target {
        token: Some(token.clone()),
        ..target.clone()
    };
    let client = Client::new(target, patience)?;
    match client.send(Call::get(&["apps"]).query("limit", 1)).await {
        Ok(_) => Ok(true),
        Err(error) if error.status() == Some(401) => Ok(false),
        Err(error) if error.status() == Some(403) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Forgets a server.
pub(crate) fn logout(ctx: &mut Context, address: Option<&str>) -> Result<(), CliError> {
    let mut config = Config::load(&ctx.env)?;
    let given = address.or(ctx.globals.url.as_deref());
    let key = match given {
        Some(text) => key_of(&parse_url(text)?),
        None if config.current.is_none() => {
            ctx.note("not logged in");
            return say_admin(ctx);
        }
        None => config.current.clone().unwrap_or_default(),
    };
    let removed = config.servers.remove(&key).is_some();
    if config.current.as_deref() == Some(key.as_str()) {
        config.current = None;
    } else if !removed {
        ctx.note(format!("not logged in to {key}"));
        return Ok(());
    }
    let path = config.save(&ctx.env)?;
    ctx.note(format!(
        "forgot the token for {key} in {}; it stays valid until it is revoked",
        path.display()
    ));
    if let Some(other) = config.servers.keys().next() {
        ctx.note(format!(
            "still known: {other}; `slipway login {other}` makes it the current one"
        ));
    }
    say_admin(ctx)
}

/// On the server's own machine whoever can read its admin token needs no login.
fn say_admin(ctx: &mut Context) -> Result<(), CliError> {
    let target = Target::resolve(&ctx.globals, &ctx.env)?;
    if target.source == Source::ThisMachine && target.token.is_some() {
        ctx.note("commands go on with the admin token of this machine's own server, which you can read");
    }
    Ok(())
}
