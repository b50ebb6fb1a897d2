//! The commands, one concern per file. Each calls the REST API and prints; none decides what the platform does.

mod alerts;
mod apps;

mod audit;
mod backups;
mod certs;
mod databases;
mod deploy;
mod deployments;
mod dns;
mod domains;
mod environments;
mod instances;
mod logs;
mod manifest;
mod operations;
mod registries;
mod secrets;
mod session;
mod spec;
mod status;
mod teams;
mod tokens;
mod trust;
mod variables;
mod watch;

use slipway_domain::quantity::Span;

use crate::args::{
    ActArgs, AppsCommand, CertsCommand, Command, CronCommand, DbCommand, DeploymentsCommand, DnsCommand,
    DomainsCommand, EnvCommand, EnvironmentsCommand, ListArgs, OperationsCommand, RegistriesCommand, SecretsCommand,
    SpecCommand, TeamArg, TeamsCommand, TokensCommand, ZoneOwnerArgs,
};
use crate::context::Context;
use crate::error::CliError;

/// Runs one command.
pub(crate) async fn dispatch(ctx: &mut Context, command: Command) -> Result<(), CliError> {
    ctx.limit = limit(&command);
    match command {
        Command::Login { address, token_stdin } => session::login(ctx, address, token_stdin).await,
        Command::Logout { address } => session::logout(ctx, address.as_deref()),
        Command::Apps { command } => apps::run(ctx, command.unwrap_or(AppsCommand::List(ListArgs::default()))).await,
        Command::Deploy(args) => deploy::deploy(ctx, args).await,
        Command::Deployments { command } => {
            deployments::run(ctx, command.unwrap_or(DeploymentsCommand::List(ListArgs::default()))).await
        }
        Command::Releases(list) => deployments::releases(ctx, list).await,
        Command::Rollback { release, wait } => deploy::rollback(ctx, release, wait).await,
        Command::Promote { from, to, wait } => deploy::promote(ctx, &from, &to, wait).await,
        Command::Status(app) => status::run(ctx, app).await,
        Command::Logs(args) => logs::run(ctx, args).await,
        Command::Ps(app) => instances::list(ctx, app).await,
        Command::Scale { count, act } => instances::scale(ctx, count, act).await,
        Command::Restart(args) => instances::act(ctx, instances::Act::Restart, args).await,
        Command::Stop(args) => instances::stop(ctx, args).await,
        Command::Start(args) => instances::act(ctx, instances::Act::Start, args).await,
        Command::Secrets { command } => secrets::run(ctx, command.unwrap_or(SecretsCommand::List)).await,
        Command::Env { command } => variables::run(ctx, command.unwrap_or(EnvCommand::List)).await,
        Command::Spec { command } => spec::run(ctx, command.unwrap_or(SpecCommand::Show)).await,
        Command::Plan(args) => manifest::plan(ctx, args).await,
        Command::Apply { manifest, wait } => manifest::apply(ctx, manifest, wait).await,
        Command::Certs { command } => certs::run(ctx, command.unwrap_or(CertsCommand::List)).await,
        Command::Dns { command } => {
            let list = DnsCommand::List {
                owner: ZoneOwnerArgs::default(),
            };
            dns::run(ctx, command.unwrap_or(list)).await
        }
        Command::Db { command } => databases::run(ctx, command.unwrap_or(DbCommand::List)).await,
        Command::Domains { command } => domains::run(ctx, command.unwrap_or(DomainsCommand::List)).await,
        Command::Registries { command } => {
            let list = || RegistriesCommand::List {
                team: TeamArg::default(),
            };
            registries::run(ctx, command.unwrap_or_else(list)).await
        }
        Command::Tokens { command } => tokens::run(ctx, command.unwrap_or(TokensCommand::List)).await,
        Command::Teams { command } => teams::run(ctx, command.unwrap_or(TeamsCommand::List)).await,
        Command::Alerts { all, list } => alerts::run(ctx, all, list).await,
        Command::Audit { verify, list } => audit::run(ctx, verify, list).await,
        Command::Run(args) => operations::run(ctx, args).await,
        Command::Cron { command } => operations::cron(ctx, command.unwrap_or(CronCommand::List)).await,
        Command::Operations { command } => {
            let list = OperationsCommand::List(ListArgs::default());
            operations::operations(ctx, command.unwrap_or(list)).await
        }
        Command::Environments { command } => environments::run(ctx, command.unwrap_or(EnvironmentsCommand::List)).await,
        Command::Completions { shell } => {
            let script = crate::completion_script(shell, &mut crate::client_command());
            ctx.print(script.trim_end())
        }
    }
}

/// The `--timeout` of the commands that have one.
fn limit(command: &Command) -> Option<Span> {
    match command {
        Command::Deploy(args) => Some(args.wait.timeout),
        Command::Rollback { wait, .. }
        | Command::Promote { wait, .. }
        | Command::Scale {
            act: ActArgs { wait, .. },
            ..
        }
        | Command::Apply { wait, .. }
        | Command::Restart(ActArgs { wait, .. })
        | Command::Stop(ActArgs { wait, .. })
        | Command::Start(ActArgs { wait, .. })
        | Command::Secrets {
            command: Some(SecretsCommand::Set { wait, .. } | SecretsCommand::Unset { wait, .. }),
        }
        | Command::Env {
            command: Some(EnvCommand::Set { wait, .. } | EnvCommand::Unset { wait, .. }),
        }
        | Command::Spec {
            command: Some(SpecCommand::Set { wait, .. } | SpecCommand::Unset { wait, .. }),
        } => Some(wait.timeout),
        Command::Deployments {
            command: Some(DeploymentsCommand::Follow { timeout, .. }),
        } => Some(*timeout),
        _ => None,
    }
}
