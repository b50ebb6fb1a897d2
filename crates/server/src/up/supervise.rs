//! The parent: sockets first, then Postgres, control plane and proxy.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::child::Spec;
use super::lock;
use super::log::SharedLog;
use crate::config::Config;
use crate::error::ServerError;
use crate::files;
use crate::postgres::{self, Cluster};

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
    /// `PATH`, to find Postgres.
    pub path: String,
    /// Whether this is root.
    pub is_root: bool,
    /// Where the children's output goes; else where this process's goes.
    pub log: Option<SharedLog>,
}

/// Runs the platform until told to stop.
pub async fn run(up: UpConfig, shutdown: CancellationToken) -> Result<(), ServerError> {
    let config = &up.config;
    let fail = || ServerError::io("a pipe for the log cannot be made");
    files::private_directory(&config.data_dir, "SLIPWAY_DATA_DIR")?;
    let _lock = lock::take(&config.data_dir)?;
    let api = bind(config.api_listen, "SLIPWAY_API_LISTEN")?;
    let http = bind(config.http_listen, "SLIPWAY_HTTP_LISTEN")?;
    let https = bind(config.https_listen, "SLIPWAY_HTTPS_LISTEN")?;
    for (address, setting) in
        [(config.admin_listen, "SLIPWAY_ADMIN_LISTEN"), (config.proxy_admin_listen, "SLIPWAY_PROXY_ADMIN_LISTEN")]
    {
        // The children open these themselves; a port that is taken is better said now.
        drop(bind(address, setting)?);
    }
    let cluster = match &config.database_url {
        Some(_) => None,
        None => Some(prepare_postgres(&up)?),
    };

    let (output, pump) = up.log.as_ref().map(SharedLog::pipe).transpose().map_err(fail())?.unzip();
    let copy = || output.as_ref().map(OwnedFd::try_clone).transpose();
    let sockets = vec![("http", http.into()), ("https", https.into())];
    let proxy = child(&up, "proxy", PROXY_STOP_MAX, sockets, Vec::new(), copy().map_err(fail())?);
    let mut variables = Vec::new();
    if let Some(cluster) = &cluster {
        variables.push(("SLIPWAY_DATABASE_URL".to_owned(), cluster.url()));
        variables.push(("SLIPWAY_PG_BIN".to_owned(), cluster.binaries().dir.display().to_string()));
    }
    let serve = child(&up, "serve", SERVE_STOP_MAX, vec![("api", api.into())], variables, copy().map_err(fail())?);

    let database_stop = CancellationToken::new();
    let (written, told) = (CancellationToken::new(), CancellationToken::new());
    let (database_output, database_pump) = match &cluster {
        Some(_) => Some(SharedLog::open(&config.data_dir, "postgres")?.pipe().map_err(fail())?).unzip(),
        None => (None, None),
    };
    let database = async {
        keep_postgres(cluster.as_ref(), database_output.as_ref(), &database_stop).await;
        written.cancel();
    };
    let planes = async {
        tokio::join!(proxy.keep(&shutdown), async {
            if let Some(cluster) = &cluster {
                tokio::select! {
                    ready = cluster.wait_ready() => if let Err(error) = ready { tracing::error!(%error, "postgres.not_ready"); },
                    () = shutdown.cancelled() => return,
                }
            }
            serve.keep(&shutdown).await;
        });
        // The database last: the control plane may still be writing.
        database_stop.cancel();
        told.cancel();
    };
    let carry = async {
        tokio::join!(
            async { if let Some(pump) = pump { pump.run(&told).await } },
            async { if let Some(pump) = database_pump { pump.run(&written).await } },
        )
    };
    tokio::join!(planes, database, carry);
    Ok(())
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
    Spec { name, program: up.program.clone(), arguments, variables, sockets, output, signal: Signal::TERM, stop_max }
}

fn prepare_postgres(up: &UpConfig) -> Result<Cluster, ServerError> {
    let setup = |e: postgres::PostgresError| ServerError::Setup(e.to_string());
    let found = postgres::find(&up.path).map_err(setup)?;
    Cluster::prepare_below(&found, &up.config.data_dir, up.is_root).map_err(setup)
}

/// Keeps Postgres running; it is made ready anew each time, since its pid file is its own matter.
async fn keep_postgres(cluster: Option<&Cluster>, output: Option<&OwnedFd>, stop: &CancellationToken) {
    let Some(cluster) = cluster else { return };
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

fn start_postgres(cluster: &Cluster, output: Option<&OwnedFd>) -> std::io::Result<tokio::process::Child> {
    let mut command = cluster.command().map_err(std::io::Error::other)?;
    if let Some(output) = output {
        command.stdout(output.try_clone()?).stderr(output.try_clone()?);
    }
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    tokio::process::Command::from(command).spawn()
}

/// A fast shutdown (SIGINT): clients are cut off, the data is written.
async fn stop_postgres(mut child: tokio::process::Child) {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::INT);
    }
    if tokio::time::timeout(POSTGRES_STOP_MAX, child.wait()).await.is_err() {
        tracing::warn!("postgres.killed: it did not stop in time");
        let _ = child.kill().await;
    }
}

fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, ServerError> {
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
