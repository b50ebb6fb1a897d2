//! The data plane as a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use slipway_proxy::{Listen, ProxyError, ProxyLimits};
use tokio_util::sync::CancellationToken;

use crate::clock::{SystemClock, SystemEntropy};
use crate::config::Config;
use crate::error::ServerError;
use crate::files;
use crate::serve::VERSION;
use crate::telemetry;

/// Runs the proxy until told to stop. `http` and `https` are sockets that were handed down, if they were.
pub(crate) async fn run(
    config: Config,
    http: Option<TcpListener>,
    https: Option<TcpListener>,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    let state_dir = config.data_dir.join("proxy");
    files::private_directory(&state_dir, "SLIPWAY_DATA_DIR")?;
    let places = [
        (config.http_listen, "SLIPWAY_HTTP_LISTEN"),
        (config.https_listen, "SLIPWAY_HTTPS_LISTEN"),
        (config.proxy_admin_listen, "SLIPWAY_PROXY_ADMIN_LISTEN"),
    ];
    let listen = |given: Option<TcpListener>, address| given.map_or(Listen::Address(address), Listen::Bound);
    let proxy = slipway_proxy::Config {
        http: listen(http, config.http_listen),
        https: listen(https, config.https_listen),
        admin: Some(Listen::Address(config.proxy_admin_listen)),
        https_redirect_port: config.https_port(),
        control_socket: config.control_socket.clone(),
        state_dir,
        trusted_proxies: config.trusted_proxies.clone(),
        trace: config.traces.then_some(telemetry::own_trace),
        version: VERSION.into(),
        limits: ProxyLimits::default(),
    };
    slipway_proxy::run(proxy, Arc::new(SystemClock), Arc::new(SystemEntropy), shutdown)
        .await
        .map_err(|error| refusal(&error, &places))
}

/// Why it does not start, with the setting that would change it.
fn refusal(error: &ProxyError, places: &[(SocketAddr, &str)]) -> ServerError {
    let setting = match error {
        ProxyError::Bind { address, .. } => places.iter().find(|(place, _)| place == address),
        _ => None,
    };
    ServerError::Setup(match setting {
        Some((_, name)) => format!("{error} with {name}"),
        None => error.to_string(),
    })
}
