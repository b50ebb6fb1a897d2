//! `slipway`: the server's roles and the client in one program.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

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
    let cli = Cli::parse();
    match cli.command {
        Command::Server(command) => slipway_server::run(command, cli.globals.json),
        Command::Client(slipway_cli::Command::Completions { shell }) => {
            slipway_cli::completions(shell, &mut Cli::command());
            ExitCode::SUCCESS
        }
        Command::Client(command) => client(command, cli.globals),
    }
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
