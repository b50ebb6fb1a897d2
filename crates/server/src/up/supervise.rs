//! The parent: sockets first, then Postgres, control plane and proxy.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::child::Spec;
use super::log::{Pump, SharedLog};
use super::{in_force, lock, stand_in};
use crate::bootstrap;
use crate::clock::{SystemClock, SystemEntropy};
use crate::config::Config;
use crate::error::ServerError;
use crate::files;
use crate::postgres::{self, Cluster};
use slipway_domain::clock::Clock as _;

/// The proxy drains for 30 s at most.
const PROXY_STOP_MAX: Duration = Duration::from_secs(35);
const SERVE_STOP_MAX: Duration = Duration::from_secs(20);
const POSTGRES_STOP_MAX: Duration = Duration::from_mins(1);

/// What `up` is told beyond the configuration.
#[derive(Debug, Clone)]
pub struct UpConfig {
    /// The configuration.
    pub config: Config,
    /// This program.
    pub program: PathBuf,
    /// Flags of settings, passed on to the children.
    pub arguments: Vec<String>,
    /// Where PostgreSQL is looked for.
    pub postgres_places: Vec<PathBuf>,
    /// Whether this is root.
    pub is_root: bool,
    /// Where the children's output goes; else where this process's goes.
    pub log: Option<SharedLog>,
    /// Cancelled when the lock and all addresses are ours: who answers there from now on is this platform.
    pub begun: CancellationToken,
}

/// The listening sockets of the platform.
struct Sockets {
    api: TcpListener,
    http: TcpListener,
    https: TcpListener,
}

impl Sockets {
    fn open(config: &Config) -> Result<Self, ServerError> {
        let sockets = Self {
            api: bind(config.api_listen, "SLIPWAY_API_LISTEN")?,
            http: bind(config.http_listen, "SLIPWAY_HTTP_LISTEN")?,
            https: bind(config.https_listen, "SLIPWAY_HTTPS_LISTEN")?,
        };
        // The children open these themselves; a port that is taken is better said now.
        drop(bind(config.admin_listen, "SLIPWAY_ADMIN_LISTEN")?);
        drop(bind(config.proxy_admin_listen, "SLIPWAY_PROXY_ADMIN_LISTEN")?);
        Ok(sockets)
    }
}

/// The lock and the sockets, or neither; and no directory that was not there before.
fn begin(config: &Config) -> Result<(lock::Lock, Sockets), ServerError> {
    let existed = config.data_dir.exists();
    files::private_directory(&config.data_dir, "SLIPWAY_DATA_DIR")?;
    let lock = lock::take(&config.data_dir)?;
    match Sockets::open(config) {
        Ok(sockets) => Ok((lock, sockets)),
        Err(error) => {
            if !existed {
                drop(lock);
                lock::forget(&config.data_dir);
                let _ = std::fs::remove_dir(&config.data_dir);
            }
            Err(error)
        }
    }
}

/// Runs the platform until told to stop.
pub async fn run(up: UpConfig, shutdown: CancellationToken) -> Result<(), ServerError> {
    let config = &up.config;
    let fail = || ServerError::io("a pipe for the log cannot be made");
    let (lock, Sockets { api, http, https }) = begin(config)?;
    let stand_in = api.try_clone().map_err(fail())?;
    let cluster = match &config.database_url {
        Some(_) => None,
        None => Some(prepare_postgres(&up).await?),
    };
    let database_log = match &cluster {
        Some(_) => Some(SharedLog::open(&config.data_dir, "postgres")?.pipe().map_err(fail())?),
        None => None,
    };
    in_force::record(config)?;
    // Whatever becomes of the start: `slipway uninstall` knows by it that this directory is ours.
    bootstrap::installation(&config.data_dir, SystemClock.now(), &SystemEntropy)?;
    up.begun.cancel();

    let pipe = up.log.as_ref().map(SharedLog::pipe).transpose();
    let (shared, pump) = pipe.map_err(fail())?.unzip();
    let copy = || shared.as_ref().map(OwnedFd::try_clone).transpose();
    let sockets = vec![("http", http.into()), ("https", https.into())];
    let output = copy().map_err(fail())?;
    let proxy = child(&up, "proxy", PROXY_STOP_MAX, sockets, Vec::new(), output);
    let sockets = vec![("api", api.into())];
    let mut variables = cluster.as_ref().map(variables).unwrap_or_default();
    let holder = slipway_domain::ids::uuid_v7(SystemClock.now(), &SystemEntropy);
    variables.push((super::HOLDER_VARIABLE.to_owned(), holder.to_string()));
    let output = copy().map_err(fail())?;
    let serve = child(&up, "serve", SERVE_STOP_MAX, sockets, variables, output);

    let (refusals, told) = tokio::sync::watch::channel(false);
    let (stop_database, ended) = (CancellationToken::new(), CancellationToken::new());
    let planes = async {
        tokio::join!(proxy.keep(&shutdown, |_| ()), async {
            if wait_for(cluster.as_ref(), &shutdown).await {
                let refuses = |yes: bool| {
                    lock.tell(yes.then_some("the control plane"));
                    refusals.send_replace(yes);
                };
                serve.keep(&shutdown, refuses).await;
            }
        });
        // The database last: the control plane may still be writing.
        stop_database.cancel();
        ended.cancel();
    };
    let carry = async {
        if let Some(pump) = pump {
            pump.run(&ended).await;
        }
    };
    let database = run_postgres(cluster.as_ref().zip(database_log), &stop_database);
    tokio::select! {
        _ = async { tokio::join!(planes, database, carry) } => {}
        never = stand_in::answer(stand_in, told) => match never {},
    }
    Ok(())
}

/// What the control plane must know of a private Postgres.
fn variables(cluster: &Cluster) -> Vec<(String, String)> {
    // Paths and numbers: there is nothing that could not be written.
    let programs = serde_json::to_string(cluster.programs()).unwrap_or_default();
    vec![
        ("SLIPWAY_DATABASE_URL".to_owned(), cluster.url()),
        (super::PROGRAMS_VARIABLE.to_owned(), programs),
    ]
}

/// Waits until a private Postgres is ready; `false` when told to stop before.
async fn wait_for(cluster: Option<&Cluster>, shutdown: &CancellationToken) -> bool {
    let Some(cluster) = cluster else { return true };
    tokio::select! {
        ready = cluster.wait_ready() => {
            if let Err(error) = ready {
                // The control plane waits for it too, and says so.
                tracing::error!(%error, "postgres.not_ready");
            }
            true
        }
        () = shutdown.cancelled() => false,
    }
}

/// Runs a private Postgres, with a log of its own, until told to stop.
async fn run_postgres(database: Option<(&Cluster, (OwnedFd, Pump))>, stop: &CancellationToken) {
    let Some((cluster, (output, pump))) = database else {
        return;
    };
    let ended = CancellationToken::new();
    let keep = async {
        keep_postgres(cluster, &output, stop).await;
        ended.cancel();
    };
    tokio::join!(keep, pump.run(&ended));
}

fn child(
    up: &UpConfig,
    name: &'static str,
    stop_max: Duration,
    sockets: Vec<(&'static str, OwnedFd)>,
    variables: Vec<(String, String)>,
    output: Option<OwnedFd>,
) -> Spec {
    let mut arguments = vec![name.to_owned()];
    arguments.extend(up.arguments.iter().cloned());
    Spec {
        name,
        program: up.program.clone(),
        arguments,
        variables,
        sockets,
        output,
        signal: Signal::TERM,
        stop_max,
    }
}

async fn prepare_postgres(up: &UpConfig) -> Result<Cluster, ServerError> {
    let setup = |e: postgres::PostgresError| ServerError::Setup(e.to_string());
    let config = &up.config;
    let mut found = postgres::find(&up.postgres_places);
    if !postgres::suffice(&found, &config.data_dir) {
        tracing::info!(image = config.postgres_image.as_given(), "postgres.in_a_container");
        match postgres::in_image(config, &up.program).await {
            Ok(image) => found.push(image),
            Err(error) if found.is_empty() => return Err(setup(error)),
            // That those here do not fit is what the operator can mend best.
            Err(error) => tracing::warn!(%error, "postgres.no_image"),
        }
    }
    Cluster::prepare_below(&found, &config.data_dir, up.is_root).map_err(setup)
}

/// Keeps Postgres running; it is made ready anew each time, since its pid file is its own matter.
async fn keep_postgres(cluster: &Cluster, output: &OwnedFd, stop: &CancellationToken) {
    loop {
        match start_postgres(cluster, output) {
            Ok(mut child) => {
                tracing::info!(pid = child.id(), "postgres.started");
                tokio::select! {
                    status = child.wait() => {
                        let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
                        tracing::warn!(%status, "postgres.ended: it is started again");
                    }
                    () = stop.cancelled() => {
                        stop_postgres(child).await;
                        return;
                    }
                }
            }
            Err(error) => tracing::error!(%error, "postgres.not_started"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn start_postgres(cluster: &Cluster, output: &OwnedFd) -> std::io::Result<tokio::process::Child> {
    let mut command = cluster.command().map_err(std::io::Error::other)?;
    command.stdout(output.try_clone()?).stderr(output.try_clone()?);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    tokio::process::Command::from(command).spawn()
}

/// A fast shutdown (SIGINT): clients are cut off, the data is written.
async fn stop_postgres(mut child: tokio::process::Child) {
    if let Some(pid) = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, Signal::INT);
    }
    if tokio::time::timeout(POSTGRES_STOP_MAX, child.wait()).await.is_err() {
        tracing::warn!("postgres.killed: it did not stop in time");
        let _ = child.kill().await;
    }
}

/// Opens an address, or says who may be in the way and which setting changes it.
pub(crate) fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => ServerError::Setup(format!(
            "{address} is in use by another program (`ss -ltnp` shows which): stop it, or choose another address with {setting}"
        )),
        std::io::ErrorKind::PermissionDenied => ServerError::Setup(format!(
            "{address} may not be opened by this user: choose a port above 1023 with {setting}, or run as root"
        )),
        _ => ServerError::Setup(format!("{address} cannot be opened: {error}; change it with {setting}")),
    })
}
