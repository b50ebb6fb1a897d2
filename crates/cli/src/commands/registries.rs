//! `slipway registries`: pull credentials, which only ever go in.

use slipway_wire::registries::NewRegistry;

use crate::args::RegistriesCommand;
use crate::client::{Call, SLOW_CALL_TIMEOUT, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell};

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: RegistriesCommand) -> Result<(), CliError> {
    match command {
        RegistriesCommand::List { team } => {
            let listing = ctx
                .list_all(Call::get(&["registries"]).query_opt("team", team.team))
                .await?;
            let row = |item: &_, now| {
                let mut row = ["host", "username", "updated_by"].map(|path| cell(item, path)).to_vec();
                row.push(age_cell(item, "updated_at", now));
                row
            };
            ctx.print_list(
                &listing,
                &["HOST", "USERNAME", "SET BY", "SET"],
                row,
                "no registry credentials",
            )
        }
        RegistriesCommand::Set { host, username, team } => {
            let password = ctx.secret_value("password")?;
            let body = body(&NewRegistry {
                username,
                password: password.expose().to_owned(),
            });
            let call = Call::put(&["registries", host.as_str()], body)
                .query_opt("team", team.team)
                .timeout(SLOW_CALL_TIMEOUT);
            let answer = ctx.send(call).await?;
            if ctx.globals.json {
                return ctx.print_json(&answer.body);
            }
            ctx.note(format!("stored the credentials for {host}"));
            Ok(())
        }
        RegistriesCommand::Delete { host, team } => {
            let call = Call::delete(&["registries", host.as_str()]).query_opt("team", team.team);
            ctx.send(call).await?;
            ctx.note(format!("forgot the credentials for {host}"));
            Ok(())
        }
    }
}
