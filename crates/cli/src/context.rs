//! What every command has at hand: the options, the world, the streams, the server.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::sync::Arc;

use serde_json::{Value, json};
use slipway_domain::Timestamp;
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_domain::quantity::Span;
use slipway_domain::secret::Secret;
use slipway_wire::page::LIMIT_MAX;

use crate::args::{AppArg, Globals};
use crate::client::{Answer, Call, Client};
use crate::env::{Env, Io};
use crate::error::CliError;
use crate::manifest;
use crate::retry::Patience;
use crate::show;
use crate::style::Style;
use crate::target::Target;

/// The manifest's name in an app's folder.
pub(crate) const MANIFEST: &str = "slipway.toml";

/// Everything a command works with.
pub(crate) struct Context {
    pub(crate) globals: Globals,
    pub(crate) env: Env,
    pub(crate) io: Io,
    /// How results look.
    pub(crate) out: Style,
    /// How progress and errors look.
    pub(crate) err: Style,
    /// How long the command may go on trying, if it says so.
    pub(crate) limit: Option<Span>,
    client: Option<Arc<Client>>,
}

/// More entries than a list has that is read as a whole.
const WHOLE_LIST_MAX: usize = 10_000;

/// A list, as far as it was asked for.
pub(crate) struct Listing {
    pub(crate) items: Vec<Value>,
    next: Option<String>,
}

impl Context {
    pub(crate) fn new(globals: Globals, env: Env, io: Io) -> Self {
        let out = Style::of(io.stdout_terminal, &env);
        let err = Style::of(io.stderr_terminal, &env);
        Self {
            globals,
            env,
            io,
            out,
            err,
            limit: None,
            client: None,
        }
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.env.clock.now()
    }

    /// The client for the server that was chosen.
    pub(crate) fn client(&mut self) -> Result<Arc<Client>, CliError> {
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let target = Target::resolve(&self.globals, &self.env)?;
        let client = Arc::new(Client::new(target, self.patience())?);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// How long calls are tried again, from now on, and where that is said.
    pub(crate) fn patience(&self) -> Patience {
        let stderr = (!self.globals.quiet).then(|| self.io.stderr.clone());
        Patience::new(stderr, self.limit.map(Span::to_std))
    }

    /// Makes one call.
    pub(crate) async fn send(&mut self, call: Call) -> Result<Answer, CliError> {
        self.client()?.send(call).await
    }

    /// The app to act on, if one is known.
    pub(crate) fn app_if_known(&self) -> Result<Option<AppName>, CliError> {
        if let Some(app) = &self.globals.app {
            return Ok(Some(app.clone()));
        }
        let (text, origin) = match self.env.var("SLIPWAY_APP") {
            Some(text) => (text.to_owned(), "SLIPWAY_APP"),
            None => match manifest::app_of(&self.env.cwd.join(MANIFEST))? {
                Some(text) => (text, MANIFEST),
                None => return Ok(None),
            },
        };
        text.parse()
            .map(Some)
            .map_err(|e| CliError::usage(format!("{origin}: {e}"), "name the app with --app"))
    }

    /// An app that a command names by itself comes before the one of the folder or the variable.
    pub(crate) fn take_app(&mut self, named: AppArg) {
        if named.name.is_some() {
            self.globals.app = named.name;
        }
    }

    /// The app to act on.
    pub(crate) fn app(&self) -> Result<AppName, CliError> {
        self.app_if_known()?.ok_or_else(|| {
            if self.env.cwd.join(MANIFEST).exists() {
                return CliError::usage(
                    format!("{MANIFEST} names no app"),
                    "add `app = \"name\"` as its first line, or give --app NAME",
                );
            }
            CliError::usage(
                "which app?",
                format!("give --app NAME (`slipway apps` lists them), set SLIPWAY_APP, or run this in a folder with a {MANIFEST}"),
            )
        })
    }

    /// Whether no app is named and nothing here could name one.
    pub(crate) fn is_about_all_apps(&self) -> Result<bool, CliError> {
        Ok(self.app_if_known()?.is_none() && !self.env.cwd.join(MANIFEST).exists())
    }

    /// The environment to act on, if one was named.
    pub(crate) fn environment_if_named(&self) -> Result<Option<EnvironmentName>, CliError> {
        match (&self.globals.environment, self.env.var("SLIPWAY_ENVIRONMENT")) {
            (Some(name), _) => Ok(Some(name.clone())),
            (None, Some(text)) => text.parse().map(Some).map_err(|e| {
                CliError::usage(
                    format!("SLIPWAY_ENVIRONMENT: {e}"),
                    "name the environment with --environment",
                )
            }),
            (None, None) => Ok(None),
        }
    }

    /// The environment to act on; `production` if none was named.
    pub(crate) fn environment(&self) -> Result<EnvironmentName, CliError> {
        Ok(self.environment_if_named()?.unwrap_or_else(EnvironmentName::production))
    }

    /// A call on the app, for the environment.
    pub(crate) fn app_scope(&self) -> Result<(AppName, EnvironmentName), CliError> {
        Ok((self.app()?, self.environment()?))
    }

    /// A fresh idempotency key.
    pub(crate) fn key(&self) -> String {
        self.env.idempotency_key()
    }

    /// A line of result.
    pub(crate) fn print(&mut self, line: impl AsRef<str>) -> Result<(), CliError> {
        writeln!(self.io.stdout, "{}", line.as_ref())?;
        Ok(())
    }

    /// A line besides the result, for people only.
    pub(crate) fn note(&mut self, line: impl AsRef<str>) {
        if !self.globals.quiet {
            self.say(line);
        }
    }

    /// A line that even `--quiet` wants to see.
    pub(crate) fn say(&mut self, line: impl AsRef<str>) {
        // A closed stderr is no reason to stop what was asked for.
        let _ = writeln!(self.io.stderr, "{}", line.as_ref());
    }

    /// A document as the result.
    pub(crate) fn print_json(&mut self, value: &Value) -> Result<(), CliError> {
        let text = if self.io.stdout_terminal {
            format!("{value:#}")
        } else {
            value.to_string()
        };
        self.print(text)
    }

    /// A table as the result, or a word if there is nothing to list.
    pub(crate) fn print_table(&mut self, headings: &[&str], rows: &[Vec<String>], none: &str) -> Result<(), CliError> {
        if rows.is_empty() {
            self.note(none);
            return Ok(());
        }
        self.print(show::table(headings, rows))
    }

    /// A list as the result: the documents for scripts, the rows for people.
    pub(crate) fn print_list(
        &mut self,
        listing: &Listing,
        headings: &[&str],
        row: impl Fn(&Value, Timestamp) -> Vec<String>,
        none: &str,
    ) -> Result<(), CliError> {
        if self.globals.json {
            return self.print_json(&json!({ "items": listing.items, "next_cursor": listing.next }));
        }
        let now = self.now();
        let rows: Vec<_> = listing.items.iter().map(|item| row(item, now)).collect();
        self.print_table(headings, &rows, none)?;
        if listing.next.is_some() {
            self.note(format!(
                "these are the first {}; `--limit N` shows more (after `list`, where there is a `list`)",
                listing.items.len()
            ));
        }
        Ok(())
    }

    /// Reads a list page by page, up to so many entries.
    pub(crate) async fn list(&mut self, call: Call, limit: u32) -> Result<Listing, CliError> {
        self.pages(call, usize::try_from(limit).unwrap_or(usize::MAX), true)
            .await
    }

    /// Reads a list that is short by its nature as a whole.
    pub(crate) async fn list_all(&mut self, call: Call) -> Result<Listing, CliError> {
        self.pages(call, WHOLE_LIST_MAX, false).await
    }

    async fn pages(&mut self, call: Call, wanted: usize, sized: bool) -> Result<Listing, CliError> {
        let mut listing = Listing {
            items: Vec::new(),
            next: None,
        };
        // Each round brings at least one entry or ends: so the number of rounds is bounded by what is wanted.
        while listing.items.len() < wanted {
            let rest = u32::try_from(wanted - listing.items.len())
                .unwrap_or(LIMIT_MAX)
                .min(LIMIT_MAX);
            let page = call
                .clone()
                .query_opt("limit", sized.then_some(rest))
                .query_opt("cursor", listing.next.take());
            let mut body = self.send(page).await?.body;
            let Some(Value::Array(items)) = body.get_mut("items").map(Value::take) else {
                return Err(CliError::failed("the server's answer is not a list"));
            };
            listing.next = body.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
            let ended = items.is_empty() || listing.next.is_none();
            listing.items.extend(items);
            if ended {
                break;
            }
        }
        Ok(listing)
    }

    /// A secret value: asked for without echo when a person is there, else all of standard input.
    pub(crate) fn secret_value(&mut self, what: &str) -> Result<Secret, CliError> {
        let value = if self.io.stdin_terminal {
            let ask = self.env.ask.as_ref().ok_or_else(|| no_terminal(what))?;
            Secret::new(ask(what).map_err(|_| no_terminal(what))?)
        } else {
            self.io
                .read_value()
                .map_err(|e| CliError::failed(format!("cannot read the {what}: {e}")))?
        };
        if value.expose().is_empty() {
            return Err(CliError::usage(
                format!("the {what} is empty"),
                "pipe it in (`printf %s VALUE | slipway …`) or type it when asked",
            ));
        }
        Ok(value)
    }

    /// Makes sure that something is really to be deleted: its name must be typed.
    pub(crate) fn confirm(&mut self, what: &str, name: &str, yes: bool) -> Result<(), CliError> {
        self.confirm_that(("deletes", "deleted"), what, name, yes)
    }

    /// The same of something else that cannot be undone, in two forms of its verb.
    pub(crate) fn confirm_that(
        &mut self,
        (does, done): (&str, &str),
        what: &str,
        name: &str,
        yes: bool,
    ) -> Result<(), CliError> {
        if yes {
            return Ok(());
        }
        if !self.io.stdin_terminal {
            return Err(CliError::usage(
                format!("it {does} {what} `{name}`, which asks for confirmation"),
                "add --yes",
            ));
        }
        write!(self.io.stderr, "This {does} {what} `{name}`. Type its name to go on: ")?;
        self.io.stderr.flush()?;
        let mut typed = String::new();
        io::BufReader::new((&mut self.io.stdin).take(1024)).read_line(&mut typed)?;
        if typed.trim() == name {
            Ok(())
        } else {
            Err(CliError::failed(format!("not {done}: the name does not match")))
        }
    }
}

fn no_terminal(what: &str) -> CliError {
    CliError::usage(
        format!("there is no terminal to ask for the {what}"),
        "pipe it into standard input",
    )
}
