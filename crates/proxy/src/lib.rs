//! The data plane: TLS by name, HTTP/1.1 and HTTP/2 to clients, HTTP/1.1 to the instances of apps.
//!
//! Promises:
//! - it reads a snapshot and nothing else: no database, no engine, and with the control plane away it serves on,
//!   even after a restart, from the copy it keeps on disk;
//! - a change to one app touches no connection of another;
//! - bodies are streamed frame by frame in both directions; every buffer, queue, wait and table has a bound;
//! - time and randomness are arguments; it never relies on process-wide defaults.

mod access_log;
mod admin;
mod app_io;
mod balance;
mod body;
mod client_io;
mod config;
mod dice;
mod disk;
mod drain;
mod error;
mod feed;
mod forward;
mod framing;
mod goodbye;
mod headers;
mod host;
mod listen;
mod load;
mod metrics;
mod on_demand;
mod pages;
mod phases;
mod proxy;
mod redirect;
mod rescue;
mod serve;
mod sticky;
mod sync;
mod table;
mod tls;
mod trace;
mod tunnel;
mod upstream;
mod visitors;

use std::sync::Arc;

use slipway_domain::clock::{Clock, Entropy};
use tokio_util::sync::CancellationToken;

pub use crate::config::{Config, Listen, ProxyLimits, SpanTrace};
pub use crate::error::ProxyError;

/// Serves until `shutdown` is cancelled, then lets what is under way finish within `drain_ms_max`.
///
/// Must run inside a Tokio runtime with time and I/O enabled; which kind is the caller's choice.
///
/// # Errors
/// When a listener cannot be opened, the state directory cannot be used, or TLS cannot be set up. Once it serves,
/// nothing makes it return but `shutdown`.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    shutdown: CancellationToken,
) -> Result<(), ProxyError> {
    proxy::run(config, clock, entropy, shutdown).await
}
