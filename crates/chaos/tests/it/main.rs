//! The load against servers with good and bad manners, and the proxies between real sockets.

mod backend;
mod engine;
mod faults_http;
mod faults_postgres;
mod load;
mod server;
mod sockets;

use std::time::Duration;

/// A wait with an end.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .unwrap_or_else(|_| panic!("not within 20 s: {what}"))
}
