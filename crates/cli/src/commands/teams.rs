//! `slipway teams`: list, create, limits.

use slipway_wire::teams::{Limits, NewTeam};

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
            let row = |item: &_, now| {
                let mut row = ["name", "id"].map(|path| cell(item, path)).to_vec();
                row.push(age_cell(item, "created_at", now));
                row.extend(["limits.instances", "limits.memory", "limits.cpu"].map(|path| cell(item, path)));
                row
            };
            let headings = ["NAME", "ID", "CREATED", "INSTANCES", "MEMORY", "CPU"];
            ctx.print_list(&listing, &headings, row, "no teams")
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
        TeamsCommand::Limits {
            name,
            instances,
            memory,
            cpu,
        } => {
            let limits = Limits { instances, memory, cpu };
            let call = Call::put(&["teams", name.as_str(), "limits"], body(&limits));
            let answer = ctx.send(call).await?;
            if ctx.globals.json {
                return ctx.print_json(&answer.body);
            }
            let said = |what: &str, limit: Option<String>| limit.map(|limit| format!("{what} {limit}"));
            let given = [
                said("instances", instances.map(|n| n.to_string())),
                said("memory", memory.map(|m| m.to_string())),
                said("cpu", cpu.map(|c| c.to_string())),
            ];
            let given: Vec<String> = given.into_iter().flatten().collect();
            ctx.note(if given.is_empty() {
                format!("{name}: not limited")
            } else {
                format!("{name}: at most {}", given.join(", "))
            });
            Ok(())
        }
    }
}
