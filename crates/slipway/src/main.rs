//! `slipway`: the server's roles and the client in one program.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

/// Commands that a later version has.
const NOT_THERE_YET: [&str; 3] = ["backup", "exec", "flags"];

/// Hosts small apps on your own machine: an image goes in by one call and serves HTTPS.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    globals: slipway_cli::Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Server(slipway_server::Command),
    #[command(flatten)]
    Client(slipway_cli::Command),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => refuse(&error),
    };
    match cli.command {
        Command::Server(command) => slipway_server::run(command, cli.globals.json),
        Command::Client(slipway_cli::Command::Completions { shell }) => {
            slipway_cli::completions(shell, &mut Cli::command());
            ExitCode::SUCCESS
        }
        Command::Client(command) => client(command, cli.globals),
    }
}

/// Ends with what is wrong with the command line; a command that is only not there yet is not taken for a mistyped one.
fn refuse(error: &clap::Error) -> ! {
    let given = match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(given))) => given.as_str(),
        _ => error.exit(),
    };
    if !NOT_THERE_YET.contains(&given) {
        error.exit()
    }
    let message = format!("`slipway {given}` is not there yet in this version; README.md says what is\n");
    Cli::command().error(ErrorKind::InvalidSubcommand, message).exit()
}

fn client(command: slipway_cli::Command, globals: slipway_cli::Globals) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(slipway_cli::run(command, globals)),
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_server_and_client_do_not_collide() {
        Cli::command().debug_assert();
    }
}
