//! The client commands of `slipway`, over the REST API only.
//!
//! Promises: exit codes 0 done, 1 failed, 2 usage, 3 timed out, 130 interrupted while waiting; results on standard
//! output, everything else on standard error; `--json` prints what the API answered. Nothing here reads the process's
//! environment, clock or terminal but through [`Env`] and [`Io`].

mod args;
mod client;
mod commands;
mod config;
mod context;
mod diff;
mod env;
mod error;
mod follow;
mod manifest;
mod model;
mod problem;
mod progress;
mod retry;
mod show;
mod sse;
mod style;
mod target;
#[cfg(test)]
mod testing;
mod transport;
mod values;
mod verdict;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use clap_complete::Shell;

pub use args::{
    AppsCommand, Command, DeployArgs, DeploymentsCommand, EnvCommand, EnvironmentsCommand, Globals, ListArgs, LogsArgs,
    ManifestArgs, RegistriesCommand, SecretsCommand, SpecCommand, StageArgs, TeamsCommand, TokensCommand, WaitArgs,
};
pub use env::{Ask, Env, Interrupt, Io, Writer};
pub use values::{Assignment, MaybeAssignment, Moment};

use context::Context;
use error::CliError;

/// The client alone, without the server's commands.
#[derive(Parser)]
#[command(
    name = "slipway",
    version,
    about = "Deploy images and look after apps on a Slipway server"
)]
struct ClientOnly {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Runs one command in the process's own world.
pub async fn run(command: Command, globals: Globals) -> ExitCode {
    ExitCode::from(execute(command, globals, Env::of_process(), Io::of_process()).await)
}

/// Runs one command line (the first word is the program's name) in a world of the caller's making and gives the exit
/// code.
pub async fn run_with<I, T>(args: I, env: Env, mut io: Io) -> u8
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    match ClientOnly::try_parse_from(args) {
        Ok(parsed) => execute(parsed.command, parsed.globals, env, io).await,
        Err(error) => {
            let text = error.render();
            let stream = if error.use_stderr() {
                &mut io.stderr
            } else {
                &mut io.stdout
            };
            let _ = write!(stream, "{text}");
            u8::try_from(error.exit_code()).unwrap_or(2)
        }
    }
}

/// Prints a completion script for the shell to standard output.
pub fn completions(shell: Shell, cmd: &mut clap::Command) {
    // A reader that is gone already is no failure.
    let _ = std::io::stdout().write_all(completion_script(shell, cmd).as_bytes());
}

fn completion_script(shell: Shell, cmd: &mut clap::Command) -> String {
    let mut script = Vec::new();
    let name = cmd.get_name().to_owned();
    clap_complete::generate(shell, cmd, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn client_command() -> clap::Command {
    ClientOnly::command()
}

async fn execute(command: Command, globals: Globals, env: Env, io: Io) -> u8 {
    let mut ctx = Context::new(globals, env, io);
    let outcome = commands::dispatch(&mut ctx, command)
        .await
        .and_then(|()| Ok(ctx.io.stdout.flush()?));
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            report(&mut ctx, &error);
            error.exit_code()
        }
    }
}

/// Tells a failure: to people on standard error, with `--json` also as a document on standard output.
fn report(ctx: &mut Context, error: &CliError) {
    if ctx.globals.json
        && let Some(document) = error.to_json()
    {
        let _ = ctx.print_json(&document);
    }
    let (fields, hint, request_id) = match error {
        CliError::Told(_) | CliError::BrokenPipe => return,
        CliError::Usage(m) | CliError::Failed(m) | CliError::TimedOut(m) => (&[][..], m.hint.clone(), None),
        CliError::Refused(p) => (&p.errors[..], p.next(), p.request_id.clone()),
    };
    let (style, told) = (ctx.err, error.to_string());
    ctx.say(format!("{} {}", style.bad("error:"), readable(&told)));
    // What the sentence says already is not said again.
    for field in fields
        .iter()
        .filter(|f| f.detail.is_empty() || !told.contains(&f.detail))
    {
        ctx.say(format!(
            "  {}: {}",
            style::clean(&field.pointer),
            style::clean(&field.detail)
        ));
    }
    if let Some(hint) = hint {
        ctx.say(format!("{} {}", style.strong("hint:"), readable(&hint)));
    }
    if let Some(id) = request_id {
        ctx.say(style.dim(format!("request id: {}", style::clean(&id))));
    }
}

/// Text of several lines, each made safe for a terminal.
fn readable(text: &str) -> String {
    text.lines().map(style::clean).collect::<Vec<_>>().join("\n")
}
