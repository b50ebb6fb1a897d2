//! What can be typed: the client's commands and the options they all share.
//!
//! Promises: every value with a meaning is parsed here, once, by the type of the domain that it is; the environment is
//! never read behind the caller's back (it is an argument, see [`crate::env`]), only named in the help.

mod databases;
mod domains;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use clap_complete::Shell;
use slipway_domain::ReleaseNumber;
use slipway_domain::access::Scope;
use slipway_domain::image::{ImageReference, RegistryHost};
use slipway_domain::name::{AppName, CronName, EnvironmentName, TeamName, TokenName, VariableName};
use slipway_domain::quantity::{Bytes, MilliCpu, Span};
use slipway_domain::spec::Strategy;

pub(crate) use databases::{DatabaseArgs, DbCommand};
pub(crate) use domains::{
    CertsCommand, DnsCommand, DomainWatchArgs, DomainsCommand, RevocationReason, Switch, ZoneOwnerArgs,
};

use crate::values::{Assignment, MaybeAssignment, Moment, SpecKey, SpecPart, parse_replicas, parse_strategy};

/// Options of every client command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Client options")]
pub struct Globals {
    /// Address of the Slipway API, such as `https://console.example.com` [env: `SLIPWAY_URL`]
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
    /// Token to act with; prefer `slipway login` or the variable, which other users of the machine do not see
    /// [env: `SLIPWAY_TOKEN`]
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// App to act on; without it the app of `slipway.toml` in this folder [env: `SLIPWAY_APP`]
    #[arg(long, short, global = true, value_name = "NAME")]
    pub app: Option<AppName>,
    /// Environment to act on; `production` if not given [env: `SLIPWAY_ENVIRONMENT`]
    #[arg(long, short, global = true, value_name = "NAME")]
    pub environment: Option<EnvironmentName>,
    /// Print JSON as the API answers it
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results and errors only, no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// PEM file of a certificate authority to trust besides the system's [env: `SLIPWAY_CACERT`]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub cacert: Option<PathBuf>,
}

/// Whether to stay until a deployment has ended.
#[derive(Debug, Clone, Copy, Args)]
pub struct WaitArgs {
    /// Wait until the deployment has ended (the default)
    #[arg(long, overrides_with = "no_wait")]
    pub wait: bool,
    /// Return as soon as the deployment is accepted
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait; the deployment goes on after that
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub timeout: Span,
}

impl WaitArgs {
    /// The longest wait, or none.
    pub(crate) fn limit(&self) -> Option<Span> {
        (self.wait || !self.no_wait).then_some(self.timeout)
    }
}

/// How much of a list.
#[derive(Debug, Clone, Copy, Args)]
pub struct ListArgs {
    /// The most entries to show
    #[arg(long, value_name = "N", default_value_t = ListArgs::default().limit, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
}

impl Default for ListArgs {
    fn default() -> Self {
        Self { limit: 50 }
    }
}

/// The app by itself, for commands that are about one.
#[derive(Debug, Clone, Default, Args)]
pub struct AppArg {
    /// The app, as with `--app`
    #[arg(value_name = "NAME", conflicts_with = "app")]
    pub name: Option<AppName>,
}

/// The app, and whether to stay.
#[derive(Debug, Clone, Args)]
pub struct ActArgs {
    #[command(flatten)]
    pub app: AppArg,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Whether a change waits for the next release.
#[derive(Debug, Clone, Copy, Args)]
pub struct StageArgs {
    /// Keep the change for the next release instead of starting one now
    #[arg(long)]
    pub stage: bool,
}

/// The client commands, over the REST API only. A command about many things that is not told what to do lists them.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Store an address and a token for later commands
    Login {
        /// Address of the Slipway API
        #[arg(value_name = "URL", value_hint = ValueHint::Url)]
        address: Option<String>,
        /// Read the token from standard input
        #[arg(long)]
        token_stdin: bool,
    },
    /// Forget the stored token of the current (or given) server
    Logout {
        /// Address to forget
        #[arg(value_name = "URL", value_hint = ValueHint::Url)]
        address: Option<String>,
    },
    /// Apps: list, create, show, delete
    Apps {
        #[command(subcommand)]
        command: Option<AppsCommand>,
    },
    /// Bring an image into service and watch it
    Deploy(DeployArgs),
    /// Deployments: list, show, abort, approve, promote, follow
    Deployments {
        #[command(subcommand)]
        command: Option<DeploymentsCommand>,
    },
    /// List the releases of an app, newest first; of all environments, unless one is named
    Releases(ListArgs),
    /// Go back to an earlier release
    Rollback {
        /// The release, such as `v7`; without it the last one that was good before the current
        release: Option<ReleaseNumber>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Deploy the image of one environment to another: the same digest, never a rebuild
    Promote {
        /// Environment to take the image from
        #[arg(long, value_name = "NAME")]
        from: EnvironmentName,
        /// Environment to bring it to
        #[arg(long, value_name = "NAME")]
        to: EnvironmentName,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// One screen about an app: where it answers, what runs, how the last deployment went; without one, the state of all
    Status(AppArg),
    /// Show or follow what an app writes
    Logs(LogsArgs),
    /// List the instances of an app
    Ps(AppArg),
    /// Set the number of instances
    Scale {
        /// How many, at least 1
        #[arg(value_parser = parse_replicas)]
        count: u32,
        #[command(flatten)]
        act: ActArgs,
    },
    /// Replace every instance by a new one: makes a new release of the same contents
    Restart(ActArgs),
    /// Stop an app; its data and settings stay
    Stop(ActArgs),
    /// Start a stopped app
    Start(ActArgs),
    /// Secrets: set, list, unset
    Secrets {
        #[command(subcommand)]
        command: Option<SecretsCommand>,
    },
    /// Plain variables: list, set, unset
    Env {
        #[command(subcommand)]
        command: Option<EnvCommand>,
    },
    /// The spec of an environment: show, set, unset
    Spec {
        #[command(subcommand)]
        command: Option<SpecCommand>,
    },
    /// Show what `slipway apply` would change
    Plan(ManifestArgs),
    /// Make the app what `slipway.toml` says, and deploy its image
    Apply {
        #[command(flatten)]
        manifest: ManifestArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Managed databases: list, create, show, attach, detach, backup, backups, recovery, restore, delete
    Db {
        #[command(subcommand)]
        command: Option<DbCommand>,
    },
    /// Domains of your own: list, add, check, remove
    Domains {
        #[command(subcommand)]
        command: Option<DomainsCommand>,
    },
    /// Zones that the platform may change, to answer CAs in DNS: list, set, check, delete
    Dns {
        #[command(subcommand)]
        command: Option<DnsCommand>,
    },
    /// Certificates, when they end and what is being tried: list, upload, renew, revoke, try
    Certs {
        #[command(subcommand)]
        command: Option<CertsCommand>,
    },
    /// Pull credentials: list, set, delete
    Registries {
        #[command(subcommand)]
        command: Option<RegistriesCommand>,
    },
    /// API tokens: list, create, revoke
    Tokens {
        #[command(subcommand)]
        command: Option<TokensCommand>,
    },
    /// Teams: list, create, limits
    Teams {
        #[command(subcommand)]
        command: Option<TeamsCommand>,
    },
    /// Show what is wrong now: apps that end again and again, releases that the database does not know
    Alerts {
        /// Show what is over too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show who did what, newest first
    Audit {
        /// Check the hash chain of the whole log instead
        #[arg(long)]
        verify: bool,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Run a command once, with the image, variables and secrets of what serves; ends with its exit code
    Run(RunArgs),
    /// Commands by the clock: list, history
    Cron {
        #[command(subcommand)]
        command: Option<CronCommand>,
    },
    /// One-off commands: list, show, cancel
    Operations {
        #[command(subcommand)]
        command: Option<OperationsCommand>,
    },
    /// Environments of an app: list, create, delete
    Environments {
        #[command(subcommand)]
        command: Option<EnvironmentsCommand>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// `slipway apps`
#[derive(Debug, Clone, Subcommand)]
pub enum AppsCommand {
    /// List the apps this token may see
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Create an app
    Create {
        /// Its name
        name: AppName,
        /// The team it belongs to
        #[arg(long, value_name = "NAME")]
        team: Option<TeamName>,
    },
    /// Show one app
    Show {
        /// Its name
        name: Option<AppName>,
    },
    /// Delete an app with all its environments
    Delete {
        /// Its name
        name: AppName,
        /// Delete even what the platform would rather keep
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// What a new environment begins with.
#[derive(Debug, Clone, Args)]
pub struct BeginningArgs {
    /// Begin with the spec of this environment, variables included; not with its secrets
    #[arg(long, value_name = "NAME")]
    pub from: Option<EnvironmentName>,
    /// Delete it so long after the last deploy: 10m to 90d
    #[arg(long, value_name = "DURATION")]
    pub expires_in: Option<Span>,
}

/// `slipway deploy`
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// The image, such as `registry.example.com/app:4f2c1ab`; without it the one of `slipway.toml`
    pub image: Option<ImageReference>,
    /// Take an image that only the engine of the server has, without a registry
    #[arg(long)]
    pub local: bool,
    /// How traffic moves this once: `rolling`, `bluegreen`, `canary` or `recreate`; as the spec says if not given
    #[arg(long, value_name = "STRATEGY", value_parser = parse_strategy)]
    pub strategy: Option<Strategy>,
    #[command(flatten)]
    pub beginning: BeginningArgs,
    /// A line for the record
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// Key that makes a repeated call the same call; one is made for each invocation if not given
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `slipway deployments`
#[derive(Debug, Clone, Subcommand)]
pub enum DeploymentsCommand {
    /// List deployments, newest first; of all environments, unless one is named
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show one deployment and why it ended as it did
    Show {
        /// Its identifier
        id: String,
    },
    /// Call off a deployment; what serves goes on serving
    Abort {
        /// Its identifier
        id: String,
    },
    /// Approve a deployment that waits for it; not with the token that asked for it
    Approve {
        /// Its identifier
        id: String,
    },
    /// End a canary early: the new release gets all traffic
    Promote {
        /// Its identifier
        id: String,
    },
    /// Watch a deployment until it has ended
    Follow {
        /// Its identifier; without it the newest one of the app
        id: Option<String>,
        /// How long to watch
        #[arg(long, value_name = "DURATION", default_value = "15m")]
        timeout: Span,
    },
}

/// `slipway run`
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// After so long it is stopped: 1s to 24h
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<Span>,
    /// Return as soon as it is accepted
    #[arg(long)]
    pub no_wait: bool,
    /// The program and its arguments; no shell reads them
    #[arg(
        required = true,
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,
}

/// `slipway cron`
#[derive(Debug, Clone, Subcommand)]
pub enum CronCommand {
    /// List the commands by the clock, with the next time and the last run
    #[command(visible_alias = "ls")]
    List,
    /// List what the clock called for and what came of it, newest first
    History {
        /// Only those of this one
        name: Option<CronName>,
        #[command(flatten)]
        list: ListArgs,
    },
}

/// `slipway operations`
#[derive(Debug, Clone, Subcommand)]
pub enum OperationsCommand {
    /// List one-off commands, newest first
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show one, with what it wrote
    Show {
        /// Its identifier
        id: String,
    },
    /// Call one off
    Cancel {
        /// Its identifier
        id: String,
    },
}

/// `slipway logs`
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    pub app: AppArg,
    /// Go on as new lines come
    #[arg(long, short)]
    pub follow: bool,
    /// From then on: a time (`2026-01-31T12:00:00Z`) or so long ago (`10m`)
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Moment>,
    /// Up to then
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    pub until: Option<Moment>,
    /// Only lines that contain this
    #[arg(long, value_name = "TEXT")]
    pub query: Option<String>,
    /// Only this stream
    #[arg(long, value_name = "STREAM", value_parser = ["stdout", "stderr"])]
    pub stream: Option<String>,
    /// Only this release
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<ReleaseNumber>,
    /// Begin with the last so many lines
    #[arg(short = 'n', long = "lines", value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub lines: Option<u32>,
}

/// `slipway secrets`
#[derive(Debug, Clone, Subcommand)]
pub enum SecretsCommand {
    /// Set secrets; a value that is not given is read from standard input or asked for without echo
    Set {
        /// `NAME` or `NAME=VALUE`
        #[arg(required = true, value_name = "NAME[=VALUE]")]
        secrets: Vec<MaybeAssignment>,
        #[command(flatten)]
        stage: StageArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// List names, versions and fingerprints; values are never shown
    #[command(visible_alias = "ls")]
    List,
    /// Remove secrets
    Unset {
        /// Their names
        #[arg(required = true)]
        names: Vec<VariableName>,
        #[command(flatten)]
        stage: StageArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

/// `slipway env`
#[derive(Debug, Clone, Subcommand)]
pub enum EnvCommand {
    /// List variables
    #[command(visible_alias = "ls")]
    List,
    /// Set variables
    Set {
        /// `NAME=VALUE`
        #[arg(required = true, value_name = "NAME=VALUE")]
        variables: Vec<Assignment>,
        #[command(flatten)]
        stage: StageArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Remove variables
    Unset {
        /// Their names
        #[arg(required = true)]
        names: Vec<VariableName>,
        #[command(flatten)]
        stage: StageArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

/// `slipway spec`
#[derive(Debug, Clone, Subcommand)]
pub enum SpecCommand {
    /// Print the spec as TOML
    Show,
    /// Replace the spec by that of a TOML or JSON file (`-`: standard input), or change single keys of it
    Set {
        /// The file, or keys with their values, such as `scale.min=2` or `health.path=/up`
        #[arg(required = true, value_name = "FILE|KEY=VALUE", value_hint = ValueHint::FilePath)]
        what: Vec<SpecPart>,
        #[command(flatten)]
        stage: StageArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Take keys out of it: each is at its default again
    Unset {
        /// The keys, such as `deploy.promote_to`
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<SpecKey>,
        #[command(flatten)]
        stage: StageArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

/// Where the manifest is and which image it is for.
#[derive(Debug, Clone, Args)]
pub struct ManifestArgs {
    /// The manifest
    #[arg(long, short, value_name = "FILE", default_value = "slipway.toml", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The image, if not the one of the manifest
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<ImageReference>,
}

/// `slipway registries`
#[derive(Debug, Clone, Subcommand)]
pub enum RegistriesCommand {
    /// List registries with stored credentials
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        team: TeamArg,
    },
    /// Store pull credentials; the password is read from standard input or asked for without echo
    Set {
        /// Host and port, such as `registry.example.com`
        host: RegistryHost,
        /// The user name
        #[arg(long, short, value_name = "NAME")]
        username: String,
        #[command(flatten)]
        team: TeamArg,
    },
    /// Forget pull credentials
    Delete {
        /// Host and port
        host: RegistryHost,
        #[command(flatten)]
        team: TeamArg,
    },
}

/// Whose things are meant, for an administrator
#[derive(Debug, Clone, Default, Args)]
pub struct TeamArg {
    /// The team, for an administrator; the token's own if not given
    #[arg(long, value_name = "NAME")]
    pub team: Option<TeamName>,
}

/// `slipway tokens`
#[derive(Debug, Clone, Subcommand)]
pub enum TokensCommand {
    /// List tokens; their text is never shown again
    #[command(visible_alias = "ls")]
    List,
    /// Create a token and print it once
    Create {
        /// What to call it
        name: TokenName,
        /// What it may do, such as `deploy:app`; may be repeated
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// Only these apps
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        apps: Vec<AppName>,
        /// Only these environments
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        environments: Vec<EnvironmentName>,
        /// How long it lives; `90d` if not given
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<Span>,
        /// The team it belongs to; only an administrator may name another than the own one
        #[arg(long, value_name = "NAME")]
        team: Option<TeamName>,
    },
    /// End a token at once
    Revoke {
        /// Its identifier, as `slipway tokens list` shows it, or its name, if only one valid token has it
        which: String,
    },
}

/// `slipway teams`
#[derive(Debug, Clone, Subcommand)]
pub enum TeamsCommand {
    /// List teams
    #[command(visible_alias = "ls")]
    List,
    /// Create a team
    Create {
        /// Its name
        name: TeamName,
    },
    /// Replace what a team may use in all, counted at the most that its specs allow; what is not given is not limited
    Limits {
        /// Its name
        name: TeamName,
        /// Instances
        #[arg(long, value_name = "N")]
        instances: Option<u32>,
        /// Memory of all instances, such as `8GiB`
        #[arg(long, value_name = "SIZE")]
        memory: Option<Bytes>,
        /// CPU of all instances, in cores
        #[arg(long, value_name = "CORES")]
        cpu: Option<MilliCpu>,
    },
}

/// `slipway environments`
#[derive(Debug, Clone, Subcommand)]
pub enum EnvironmentsCommand {
    /// List the environments of an app
    #[command(visible_alias = "ls")]
    List,
    /// Create an environment
    Create {
        /// Its name
        name: EnvironmentName,
        #[command(flatten)]
        beginning: BeginningArgs,
    },
    /// Delete an environment and all that runs in it
    Delete {
        /// Its name
        name: EnvironmentName,
        /// Delete even what the platform would rather keep
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}
