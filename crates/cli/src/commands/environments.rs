//! `slipway environments`: list, create, delete.

use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_wire::apps::NewEnvironment;

use crate::args::EnvironmentsCommand;
use crate::client::{Call, body};
use crate::context::Context;
use crate::error::CliError;
use crate::show::{age_cell, cell, release_cell};

/// Runs one of them.
pub(crate) async fn run(ctx: &mut Context, command: EnvironmentsCommand) -> Result<(), CliError> {
    let app = ctx.app()?;
    match command {
        EnvironmentsCommand::List => {
            let listing = ctx.list_all(Call::get(&["apps", app.as_str(), "environments"])).await?;
            ctx.print_list(
                &listing,
                &["NAME", "RELEASE", "STATE", "URL", "CREATED", "EXPIRES"],
                row,
                "no environments",
            )
        }
        EnvironmentsCommand::Create { name, beginning } => {
            let body = body(&NewEnvironment {
                name: name.clone(),
                from: beginning.from,
                expires_in: beginning.expires_in,
            });
            let answer = ctx
                .send(Call::post(
                    &["apps", app.as_str(), "environments"],
                    Some(body),
                    ctx.key(),
                ))
                .await?;
            if ctx.globals.json {
                return ctx.print_json(&answer.body);
            }
            ctx.note(format!(
                "created {name}; next: `slipway deploy IMAGE -a {app} -e {name}`"
            ));
            Ok(())
        }
        EnvironmentsCommand::Delete { name, force, yes } => {
            ctx.confirm("the environment", name.as_str(), yes)?;
            let call = Call::delete(&["apps", app.as_str(), "environments", name.as_str()]);
            ctx.send(if force { call.query("force", true) } else { call }).await?;
            ctx.note(format!("deleted {name} of {app}"));
            Ok(())
        }
    }
}

fn row(item: &Value, now: Timestamp) -> Vec<String> {
    vec![
        cell(item, "name"),
        release_cell(item, "release"),
        cell(item, "state"),
        cell(item, "url"),
        age_cell(item, "created_at", now),
        cell(item, "expires_at"),
    ]
}
