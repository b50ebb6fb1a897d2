//! `slipway teams`: list, create.

use slipway_wire::teams::NewTeam;

use crate::args::TeamsCommand;
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell};

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: TeamsCommand) -> Result<(), CliError> {
    match command {
        TeamsCommand::List => {
            let listing = ctx.list_all(Call::get(&["teams"])).await?;
            let row = |item: &_, now| vec![cell(item, "name"), cell(item, "id"), age_cell(item, "created_at", now)];
            ctx.print_list(&listing, &["NAME", "ID", "CREATED"], row, "no teams")
        }
        TeamsCommand::Create { name } => {
            let answer = ctx
                .send(Call::post(
                    &["teams"],
                    Some(body(&NewTeam { name: name.clone() })),
                    ctx.key(),
                ))
                .await?;
            if ctx.globals.json {
                return ctx.print_json(&answer.body);
            }
            ctx.note(format!("created the team {name}"));
            Ok(())
        }
    }
}
