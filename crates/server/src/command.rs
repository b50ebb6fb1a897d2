//! The operator's commands and how they are run.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Args, FromArgMatches, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, SETTINGS, Sources};
use crate::error::ServerError;
use crate::postgres::{self, Contained};
use crate::serve::{Role, ServeOptions, VERSION};
use crate::{doctor, proxy_role, serve, telemetry, uninstall, up};

/// What a command ends with that was given wrongly, as the client's do.
const USAGE: u8 = 2;

/// A flag for each setting, and the file.
#[derive(Debug, Clone, Default)]
pub struct SettingFlags {
    file: Option<PathBuf>,
    values: BTreeMap<String, String>,
}

impl SettingFlags {
    /// The same flags, to be passed on to a child.
    fn arguments(&self) -> Vec<String> {
        let file = self
            .file
            .iter()
            .flat_map(|f| ["--config".to_owned(), f.display().to_string()]);
        file.chain(
            self.values
                .iter()
                .flat_map(|(k, v)| [format!("--{}", k.replace('_', "-")), v.clone()]),
        )
        .collect()
    }
}

impl Args for SettingFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .help("The configuration file (slipway-server.toml)")
            .help_heading("Settings")
            .value_parser(clap::value_parser!(PathBuf));
        SETTINGS
            .iter()
            .filter(|s| !s.is_secret())
            .fold(command.arg(file), |command, s| {
                let default = if s.default.is_empty() {
                    String::new()
                } else {
                    format!(" Default: {}.", s.default)
                };
                command.arg(
                    Arg::new(s.key)
                        .long(s.key.replace('_', "-"))
                        .value_name("VALUE")
                        .help(format!("{}{default} Variable: {}", s.help, s.variable()))
                        .hide_short_help(true)
                        .help_heading("Settings"),
                )
            })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.file = matches.get_one::<PathBuf>("config").cloned();
        for setting in SETTINGS.iter().filter(|s| !s.is_secret()) {
            if let Some(value) = matches.get_one::<String>(setting.key) {
                self.values.insert(setting.key.to_owned(), value.clone());
            }
        }
        Ok(())
    }
}

/// The operator's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: a private Postgres, the control plane and the proxy
    Up {
        /// Run in the background; returns when the platform is ready
        #[arg(long)]
        detach: bool,
        /// Told by `--detach` to the process it starts
        #[arg(long, hide = true, conflicts_with = "detach")]
        in_background: bool,
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Stop what `slipway up` started; the apps run on
    Down {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Run the control plane alone, against `SLIPWAY_DATABASE_URL`
    Serve {
        /// Refuse to start with pending migrations rather than apply them
        #[arg(long)]
        no_migrate: bool,
        /// What this process does; all of it if not given
        #[arg(long, value_name = "ROLES", value_delimiter = ',', value_enum)]
        roles: Vec<Role>,
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Run the proxy alone
    Proxy {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Bring the database's schema up to this version
    Migrate {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Say what is missing and how to mend it
    Doctor {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Check the configuration, or print an example of it
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the OpenAPI document of the REST API
    Openapi,
    /// Stands for a program of PostgreSQL that runs in a container
    #[command(hide = true)]
    InContainer {
        /// How, as JSON
        told: String,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<String>,
    },
    /// Stop the platform and remove what it made on the engine
    #[command(group(clap::ArgGroup::new("data").required(true).args(["keep_data", "delete_data"])))]
    Uninstall {
        /// Keep the data directory and the apps' volumes
        #[arg(long)]
        keep_data: bool,
        /// Remove the data directory and the apps' volumes too: nothing can be brought back
        #[arg(long)]
        delete_data: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        settings: SettingFlags,
    },
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read it and say whether it can be used
    Check {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Print a file with every setting and its default
    Example,
    /// Print the JSON Schema of the file
    Schema,
}

/// Runs a command on a runtime that fits it.
pub fn run(command: Command, json: bool) -> ExitCode {
    // Whoever is first wins; it is the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let is_child = matches!(command, Command::Serve { .. }) && variables().contains_key(up::PARENT_VARIABLE);
    let result = match command {
        Command::Up {
            detach: true, settings, ..
        } => detach(&settings),
        Command::Up {
            in_background,
            settings,
            ..
        } => run_up(in_background, &settings),
        Command::Down { settings } => load(&settings).and_then(|c| block(down(c))),
        Command::Serve {
            no_migrate,
            roles,
            settings,
        } => load(&settings).and_then(|c| {
            let roles = if roles.is_empty() { Role::ALL.to_vec() } else { roles };
            run_serve(c, ServeOptions { no_migrate, roles })
        }),
        Command::Proxy { settings } => load(&settings).and_then(run_proxy),
        Command::Migrate { settings } => load(&settings).and_then(|c| block(migrate(c))),
        Command::Doctor { settings } => load(&settings).and_then(|c| block(run_doctor(c, json))),
        Command::Config { command } => run_config(command, json),
        Command::Openapi => run_openapi(),
        Command::InContainer { told, program } => block(in_container(told, program)),
        Command::Uninstall {
            keep_data: _,
            delete_data,
            yes,
            settings,
        } => load(&settings).and_then(|c| block(run_uninstall(c, delete_data, yes))),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            say_error(&error);
            // A parent need not wait for what trying again does not mend; people and scripts know 1.
            if is_child && error.needs_mending() {
                ExitCode::from(up::REFUSED)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn say_error(error: &ServerError) {
    // In one piece: others write into the same pipe. The last resort: there is nowhere to say that this did not work.
    let _ = std::io::stderr().write_all(format!("slipway: {error}\n").as_bytes());
}

fn say(text: &str) -> Result<(), ServerError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(ServerError::io("the standard output")),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The one place that reads the environment.
fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect()
}

fn postgres_places() -> Vec<PathBuf> {
    postgres::places(&variables().remove("PATH").unwrap_or_default())
}

fn load(flags: &SettingFlags) -> Result<Config, ServerError> {
    let sources = Sources {
        file: flags.file.clone(),
        flags: flags.values.clone(),
        variables: variables(),
        is_root: is_root(),
        is_terminal: std::io::stderr().is_terminal(),
    };
    Ok(Config::load(sources)?)
}

fn runtime(workers: Option<usize>) -> Result<tokio::runtime::Runtime, ServerError> {
    let mut builder = match workers {
        None => tokio::runtime::Builder::new_current_thread(),
        Some(n) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(n);
            builder
        }
    };
    builder
        .enable_all()
        .max_blocking_threads(16)
        .build()
        .map_err(ServerError::io("the runtime cannot be started"))
}

fn block(work: impl Future<Output = Result<ExitCode, ServerError>>) -> Result<ExitCode, ServerError> {
    runtime(None)?.block_on(work)
}

/// Cancelled by SIGTERM or SIGINT.
fn stop_signal() -> Result<CancellationToken, ServerError> {
    use tokio::signal::unix::{SignalKind, signal};
    let fail = || ServerError::io("signals cannot be received");
    let mut term = signal(SignalKind::terminate()).map_err(fail())?;
    let mut int = signal(SignalKind::interrupt()).map_err(fail())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("shutdown: asked to stop");
        stop.cancel();
    });
    Ok(token)
}

fn own_program() -> Result<PathBuf, ServerError> {
    std::env::current_exe().map_err(ServerError::io("this program's own path is unknown"))
}

fn detach(flags: &SettingFlags) -> Result<ExitCode, ServerError> {
    let config = load(flags)?;
    let program = own_program()?;
    block(async {
        bring_postgres(&config).await?;
        say_database(&config).await?;
        up::detach(&config, &program, &flags.arguments()).await?;
        say(&up::screen(&config))?;
        say_engine(&config).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Where PostgreSQL has to come out of an image, that is pulled while somebody looks on: it may take minutes.
async fn bring_postgres(config: &Config) -> Result<(), ServerError> {
    let needless = config.database_url.is_some() || up::running(&config.data_dir).is_some();
    if needless || !postgres::find(&postgres_places()).is_empty() {
        return Ok(());
    }
    let terminal = std::io::stderr().is_terminal();
    let progress = move |done: u64, total: u64| {
        if terminal {
            // The last resort: there is nowhere to say that this did not work.
            let _ = write!(std::io::stderr(), "\r{} of {} MiB", done >> 20, total >> 20);
        }
    };
    say(&format!(
        "PostgreSQL is not installed: it runs in a container of {}.\n",
        config.postgres_image.as_given()
    ))?;
    let pulled = postgres::bring_image(config, std::sync::Arc::new(progress)).await;
    if pulled.map_err(|e| ServerError::Setup(e.to_string()))? {
        say("\nThe image is here.\n")?;
    }
    Ok(())
}

/// The control plane waits for an external database that does not answer yet: that is said to whom it keeps waiting.
async fn say_database(config: &Config) -> Result<(), ServerError> {
    let Some(url) = &config.database_url else {
        return Ok(());
    };
    match slipway_store::Store::connect(url, slipway_store::StoreOptions::default()).await {
        Err(error @ slipway_store::StoreError::Unavailable(_)) => say(&format!(
            "SLIPWAY_DATABASE_URL: {error}. Waiting for it, {} s at most.\n",
            serve::DATABASE_WAIT.as_secs()
        )),
        // What waiting does not help, the control plane refuses with a reason.
        _ => Ok(()),
    }
}

/// Without an engine the platform runs and can do nothing: that is said where somebody looks on.
async fn say_engine(config: &Config) -> Result<(), ServerError> {
    match doctor::engine_trouble(config).await {
        Some(trouble) => say(&format!("\nNothing can be deployed yet: {trouble}\n")),
        None => Ok(()),
    }
}

fn run_up(in_background: bool, flags: &SettingFlags) -> Result<ExitCode, ServerError> {
    let config = load(flags)?;
    let program = own_program()?;
    let arguments = flags.arguments();
    let postgres_places = postgres_places();
    let mut log = None;
    if in_background {
        // Fails only for a process that leads a group already, which is as good as a session.
        let _ = rustix::process::setsid();
        log = Some(up::SharedLog::open(&config.data_dir, "slipway")?);
    }
    let output = log.clone().map_or(telemetry::Output::Stderr, telemetry::Output::File);
    runtime(None)?.block_on(async {
        let _telemetry = telemetry::init("slipway-up", &config.log, config.log_format, output, false)?;
        let shutdown = stop_signal()?;
        let told = shutdown.child_token();
        let shown = config.clone();
        let begun = CancellationToken::new();
        let tell = async {
            tokio::select! {
                () = begun.cancelled() => {}
                () = told.cancelled() => return Ok(()),
            }
            if up::ready(&shown, &told).await && !in_background {
                say(&up::screen(&shown))?;
                say_engine(&shown).await?;
            }
            Ok(())
        };
        let run = async {
            let ended = up::run(
                up::UpConfig {
                    config,
                    program,
                    arguments,
                    postgres_places,
                    is_root: is_root(),
                    log,
                    begun: begun.clone(),
                },
                shutdown,
            )
            .await;
            told.cancel();
            ended
        };
        let (ended, said) = tokio::join!(run, tell);
        ended.and(said).map(|()| ExitCode::SUCCESS)
    })
}

async fn down(config: Config) -> Result<ExitCode, ServerError> {
    say(match up::down(&config.data_dir).await? {
        up::Stopped::Platform => "The platform has stopped; the apps run on.\n",
        up::Stopped::Leftover => "The platform did not run; the Postgres that it had left has stopped.\n",
        up::Stopped::Nothing => "The platform does not run.\n",
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Sockets that were handed down, in order (`sd_listen_fds(3)`).
fn inherited<const N: usize>() -> [Option<TcpListener>; N] {
    let mut given = listenfd::ListenFd::from_env();
    std::array::from_fn(|i| given.take_tcp_listener(i).ok().flatten())
}

fn run_serve(config: Config, options: ServeOptions) -> Result<ExitCode, ServerError> {
    if !up::die_with(config.parent) {
        return Ok(ExitCode::FAILURE);
    }
    let [api] = inherited();
    runtime(Some(2))?.block_on(async {
        let otlp = config.traces;
        let _telemetry = telemetry::init(
            "slipway-control",
            &config.log,
            config.log_format,
            telemetry::Output::Stderr,
            otlp,
        )?;
        serve::run(config, options, api, stop_signal()?).await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn run_proxy(config: Config) -> Result<ExitCode, ServerError> {
    if !up::die_with(config.parent) {
        return Ok(ExitCode::FAILURE);
    }
    let [http, https] = inherited();
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    runtime(Some(workers))?.block_on(async {
        let otlp = config.traces;
        let _telemetry = telemetry::init(
            "slipway-proxy",
            &config.log,
            config.log_format,
            telemetry::Output::Stderr,
            otlp,
        )?;
        proxy_role::run(config, http, https, stop_signal()?).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn in_container(told: String, program: Vec<String>) -> Result<ExitCode, ServerError> {
    let setup = |error: String| ServerError::Setup(error);
    let contained: Contained = serde_json::from_str(&told).map_err(|e| setup(e.to_string()))?;
    let code = contained.run(program).await.map_err(|e| setup(e.to_string()))?;
    Ok(ExitCode::from(code))
}

async fn migrate(config: Config) -> Result<ExitCode, ServerError> {
    let url = config
        .database_url
        .ok_or_else(|| ServerError::Setup("set SLIPWAY_DATABASE_URL; `slipway up` migrates its own".into()))?;
    let store = slipway_store::Store::connect(&url, slipway_store::StoreOptions::default()).await?;
    let applied = store.migrate().await?;
    say(&format!("{applied} migrations applied; the schema is current.\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn run_doctor(config: Config, json: bool) -> Result<ExitCode, ServerError> {
    let findings = doctor::examine(&config, &postgres_places()).await;
    let well = findings.iter().all(|f| f.ok != Some(false));
    let code = if well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if json {
        let items: Vec<_> = findings.iter().map(doctor::Finding::to_json).collect();
        say(&pretty(&serde_json::json!({"ok": well, "findings": items}))?)?;
        return Ok(code);
    }
    let mut text = String::new();
    for f in &findings {
        let mark = match f.ok {
            Some(true) => "ok  ",
            Some(false) => "FAIL",
            None => "note",
        };
        // Writing to a String cannot fail.
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{mark}  {:<17} {}\n", f.what, f.detail));
    }
    say(&text)?;
    Ok(code)
}

fn run_config(command: ConfigCommand, json: bool) -> Result<ExitCode, ServerError> {
    match command {
        ConfigCommand::Check { settings } => {
            let config = load(&settings)?;
            if json {
                let found = serde_json::json!({"ok": true, "data_dir": config.data_dir, "notes": config.notes()});
                say(&pretty(&found)?)?;
                return Ok(ExitCode::SUCCESS);
            }
            say(&format!(
                "The configuration can be used; the data directory is {}.\n",
                config.data_dir.display()
            ))?;
            for note in config.notes() {
                say(&format!("Note: {note}\n"))?;
            }
        }
        ConfigCommand::Example => say(&config::example())?,
        ConfigCommand::Schema => say(&pretty(&config::schema())?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_openapi() -> Result<ExitCode, ServerError> {
    let document = serde_json::to_value(slipway_api::openapi()).map_err(|e| ServerError::Setup(e.to_string()))?;
    say(&pretty(&document)?)?;
    Ok(ExitCode::SUCCESS)
}

fn pretty(value: &serde_json::Value) -> Result<String, ServerError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| ServerError::Setup(e.to_string()))?;
    Ok(text + "\n")
}

async fn run_uninstall(config: Config, delete: bool, yes: bool) -> Result<ExitCode, ServerError> {
    if !yes && !std::io::stdin().is_terminal() {
        // The command line is what is wrong.
        say_error(&ServerError::Setup(
            "not asked on a terminal: add --yes if you mean it".into(),
        ));
        return Ok(ExitCode::from(USAGE));
    }
    if !yes && !confirmed(&config, delete)? {
        say("Nothing was changed.\n")?;
        return Ok(ExitCode::FAILURE);
    }
    let removed = uninstall::run(&config, delete).await?;
    let what = if delete {
        "containers, networks and volumes"
    } else {
        "containers and networks"
    };
    let data = match removed.directory {
        uninstall::Directory::Kept => "is still there, and so are the volumes",
        uninstall::Directory::Gone => "is gone",
        uninstall::Directory::Emptied => {
            "has nothing of the platform in it any more; look at what is left, and remove it"
        }
    };
    let database = match (&config.database_url, delete) {
        (Some(_), true) => "The database of SLIPWAY_DATABASE_URL was left alone: drop it if nothing else is in it.\n",
        _ => "",
    };
    say(&format!(
        "Removed {} {what}. The data directory {} {data}.\n{database}Slipway {VERSION} itself is one file: remove {} to be rid of it.\n",
        removed.things,
        config.data_dir.display(),
        std::env::current_exe().map_or_else(|_| "it".into(), |p| p.display().to_string()),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn confirmed(config: &Config, delete: bool) -> Result<bool, ServerError> {
    let what = if delete {
        "all apps with their volumes and all data"
    } else {
        "all running apps (volumes and data stay)"
    };
    say(&format!(
        "This stops the platform and removes {what} of {}. Type yes: ",
        config.data_dir.display()
    ))?;
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(ServerError::io("the answer cannot be read"))?;
    Ok(answer.trim() == "yes")
}
